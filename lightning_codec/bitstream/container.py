"""The container `.lcb`: one image, its size, the model it needs, and its coded segments.

All integers are little endian; a varint is an unsigned LEB128 integer below 2^32 in its shortest form.

    offset  bytes  field
    0       3      magic: 4C 43 42 ("LCB")
    3       1      format version: 01
    4       4      fingerprint of the weights (first bytes of their SHA-256)
    8       1-5    height of the image in pixels, varint, at least 1
    .       1-5    width of the image in pixels, varint, at least 1
    .       1      n, number of segments, 1 to 255
    .       1-5 n  length of each segment in bytes, varints
    .       4      CRC32 of the decoded integer symbols (latents)
    .       4 n    CRC32 of each segment, each one computed over everything above followed by the segment
    .       ...    the segments, one after the other, up to the end of the file

The header is under the CRC of every segment, so damage to it is noticed without a checksum of its own: 29
bytes in all for a 768x512 image in two segments shorter than 16 KiB. CRC32 is that of zlib.

A reader checks in this order: magic, version, image size, lengths against the size of the file, checksums.
Until the checksums have passed it allocates nothing whose size is taken from the header.
"""

import zlib
from typing import NamedTuple

from lightning_codec.bitstream.errors import (
    CorruptError,
    ImplausibleSizeError,
    NotACodecFileError,
    TruncatedError,
    UnknownVersionError,
)
from lightning_codec.bitstream.varint import read_varint, write_varint

MAGIC = b"LCB"
VERSION = 1
FINGERPRINT_BYTES = 4
MAX_SEGMENTS = 255
MAX_PIXELS = 2**28
"""Largest height x width that is read by default: 268 megapixels, 16384 x 16384."""


class Container(NamedTuple):
    """What a file holds.

    `fingerprint` names the weights (4 bytes); `height`, `width` are those of the image in pixels;
    `latents_crc` is the CRC32 of the decoded symbols, in [0, 2^32); `segments` are the 1 to 255 coded
    streams, in decoding order.
    """

    fingerprint: bytes
    height: int
    width: int
    latents_crc: int
    segments: tuple[bytes, ...]


class Header(NamedTuple):
    """What the first bytes of a file say, before any checksum is looked at.

    `segment_lengths` are in bytes; `header_bytes` is the size of everything before the first segment;
    `covered_bytes` that of the part of it which the segments' checksums cover.
    """

    version: int
    fingerprint: bytes
    height: int
    width: int
    segment_lengths: tuple[int, ...]
    latents_crc: int
    segment_crcs: tuple[int, ...]
    covered_bytes: int
    header_bytes: int


def pack(container: Container) -> bytes:
    """Lay a container out as the bytes of a file.

    Raises:
        ValueError: a field cannot be written: no segment or more than 255, a size of zero, a fingerprint that
            is not 4 bytes long.
    """
    fingerprint, height, width, latents_crc, segments = container
    if len(fingerprint) != FINGERPRINT_BYTES:
        raise ValueError(f"the fingerprint has {len(fingerprint)} bytes, not {FINGERPRINT_BYTES}")
    if height < 1 or width < 1:
        raise ValueError(f"the image size is {height} x {width}, not at least 1 x 1")
    if not 1 <= len(segments) <= MAX_SEGMENTS:
        raise ValueError(f"there are {len(segments)} segments, not 1 to {MAX_SEGMENTS}")
    covered = b"".join(
        (
            MAGIC,
            bytes((VERSION,)),
            fingerprint,
            write_varint(height),
            write_varint(width),
            bytes((len(segments),)),
            *(write_varint(len(segment)) for segment in segments),
            _u32(latents_crc),
        )
    )
    crcs = (_u32(zlib.crc32(segment, zlib.crc32(covered))) for segment in segments)
    return b"".join((covered, *crcs, *segments))


def unpack(data: bytes, max_pixels: int = MAX_PIXELS) -> Container:
    """Read the bytes of a whole file; the inverse of `pack`.

    Args:
        data: the file.
        max_pixels: largest height x width that is believed.

    Raises:
        CodecError: one of its kinds, see `errors`; `TruncatedError` for every strict prefix of a valid file.
    """
    header = read_header(data, max_pixels)
    damaged = damaged_segments(data, header)
    if damaged:
        names = ", ".join(str(index + 1) for index in damaged)
        raise CorruptError(
            f"the checksum of segment {names} of {len(header.segment_lengths)} does not match: "
            "the file was damaged after it was written, get it again"
        )
    return Container(
        header.fingerprint, header.height, header.width, header.latents_crc, tuple(_segments(data, header))
    )


def read_header(data: bytes, max_pixels: int = MAX_PIXELS) -> Header:
    """Read and check everything of a file but its checksums.

    Raises:
        CodecError: one of its kinds, see `errors`.
    """
    if not data.startswith(MAGIC[: len(data)]):
        raise NotACodecFileError(
            f"the file begins with {data[:3].hex(' ')}, not with {MAGIC.hex(' ')} as .lcb files do"
        )
    _need(data, len(MAGIC) + 1)
    version = data[len(MAGIC)]
    if version != VERSION:
        raise UnknownVersionError(f"the file has format version {version}, this program reads {VERSION}: update it")
    at = len(MAGIC) + 1 + FINGERPRINT_BYTES
    _need(data, at)
    fingerprint = data[at - FINGERPRINT_BYTES : at]
    height, at = read_varint(data, at)
    width, at = read_varint(data, at)
    if not 1 <= height * width <= max_pixels:
        raise ImplausibleSizeError(
            f"the header says {width} x {height} pixels, not 1 to {max_pixels} in all: get the file again"
        )
    _need(data, at + 1)
    count, at = data[at], at + 1
    if count == 0:
        raise CorruptError("the header says 0 segments, not 1 to 255: get the file again")
    lengths = []
    for _ in range(count):
        length, at = read_varint(data, at)
        lengths.append(length)
    covered_bytes = at + 4
    header_bytes = covered_bytes + 4 * count
    _need(data, header_bytes + sum(lengths))
    if len(data) > header_bytes + sum(lengths):
        raise CorruptError(f"the file has {len(data)} bytes, {header_bytes + sum(lengths)} are announced: get it again")
    latents_crc, *crcs = (int.from_bytes(data[i : i + 4], "little") for i in range(at, header_bytes, 4))
    return Header(
        version,
        fingerprint,
        height,
        width,
        tuple(lengths),
        latents_crc,
        tuple(crcs),
        covered_bytes,
        header_bytes,
    )


def damaged_segments(data: bytes, header: Header) -> tuple[int, ...]:
    """Indexes of the segments whose checksum does not match: all of them when the header is damaged."""
    seed = zlib.crc32(data[: header.covered_bytes])
    checked = zip(header.segment_crcs, _segments(data, header), strict=True)
    return tuple(index for index, (crc, segment) in enumerate(checked) if zlib.crc32(segment, seed) != crc)


def _segments(data: bytes, header: Header) -> list[bytes]:
    segments, at = [], header.header_bytes
    for length in header.segment_lengths:
        segments.append(data[at : at + length])
        at += length
    return segments


def _need(data: bytes, size: int) -> None:
    if len(data) < size:
        raise TruncatedError(f"the file ends at byte {len(data)}, at least {size} are announced: get it again")


def _u32(value: int) -> bytes:
    return value.to_bytes(4, "little")
