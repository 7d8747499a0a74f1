"""`lightning-codec info`: the header of a .lcb file, without the weights of any model."""

import json
from pathlib import Path
from typing import NamedTuple

from lightning_codec.bitstream.container import damaged_segments, read_header
from lightning_codec.bitstream.errors import CodecError, CorruptError
from lightning_codec.commands.parser import CommandParser
from lightning_codec.shipped.catalogue import shipped


class FileInfo(NamedTuple):
    """What `info --json` prints.

    `shipped_model` is the name of the model where it comes with the package; `damaged_segments` counts from 1 and is
    empty when all checksums match.
    """

    file: str
    format_version: int
    fingerprint: str
    shipped_model: str | None
    height: int
    width: int
    file_bytes: int
    header_bytes: int
    segment_bytes: tuple[int, ...]
    bpp: float
    latents_crc32: str
    damaged_segments: tuple[int, ...]


def run(name: str, arguments: list[str]) -> int:
    """Print what a file says about itself; returns the exit code."""
    parser = CommandParser(
        name,
        "Print what the header of a .lcb file says: size in pixels and bytes, the model it needs, the state "
        "of its checksums. Loads no model. The exit code is 2 for a file that is damaged.",
        "lightning-codec info photo.lcb --json",
    )
    parser.add_argument("file", metavar="FILE", type=Path, help=".lcb file")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    info = read_info(options.file)
    print(json.dumps(info._asdict(), indent=2) if options.json else _table(info))
    if info.damaged_segments:
        raise CorruptError(f"{options.file}: damaged, {_damage(info)}")
    return 0


def read_info(path: Path) -> FileInfo:
    """Read a file and check its checksums.

    Raises:
        CodecError: not a whole .lcb file; the message names it.
        UserError: the card of a model that ships is damaged.
        OSError: the file cannot be read.
    """
    data = path.read_bytes()
    try:
        header = read_header(data)
    except CodecError as error:
        raise type(error)(f"{path}: {error}") from error
    fingerprint = header.fingerprint.hex()
    model = shipped().codec_with(fingerprint)
    return FileInfo(
        file=str(path),
        format_version=header.version,
        fingerprint=fingerprint,
        shipped_model=None if model is None else model.card.name,
        height=header.height,
        width=header.width,
        file_bytes=len(data),
        header_bytes=header.header_bytes,
        segment_bytes=header.segment_lengths,
        bpp=8 * len(data) / (header.height * header.width),
        latents_crc32=f"{header.latents_crc:08x}",
        damaged_segments=tuple(index + 1 for index in damaged_segments(data, header)),
    )


def _damage(info: FileInfo) -> str:
    numbers = ", ".join(map(str, info.damaged_segments))
    return f"wrong checksum of segment {numbers} of {len(info.segment_bytes)}"


def _table(info: FileInfo) -> str:
    rows = {
        "file": info.file,
        "image": f"{info.width} x {info.height} pixels",
        "size": f"{info.file_bytes} bytes, {info.bpp:.4f} bits per pixel",
        "header": f"{info.header_bytes} bytes",
        "segments": " + ".join(map(str, info.segment_bytes)) + " bytes",
        "model": info.fingerprint if info.shipped_model is None else f"{info.fingerprint}, {info.shipped_model}",
        "format": f"version {info.format_version}",
        "latents": f"CRC32 {info.latents_crc32}",
        "checksums": _damage(info) if info.damaged_segments else "correct",
    }
    return "\n".join(f"{name:<9}  {value}" for name, value in rows.items())
