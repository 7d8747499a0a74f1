"""`results.csv`: one row for every codec setting and image, with all that its numbers depend on."""

import csv
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from lightning_codec.errors import UserError
from lightning_codec.files import write_csv

BEFORE = ("codec", "setting", "dataset", "image", "height", "width", "bytes", "bpp")
"""Columns before those of the metrics."""
AFTER = ("encode_seconds", "decode_seconds", "threads", "device", "versions", "commit", "protocols")
"""Columns after them."""


class Record(NamedTuple):
    """What one codec setting did on one image."""

    codec: str
    """Name of the rate-distortion curve that the setting is a point of."""
    setting: str
    dataset: str
    image: str
    """Path relative to the root of the set, posix; unique in the set."""
    height: int
    """Pixels of the original."""
    width: int
    bytes: int
    """Size of the whole coded file."""
    bpp: float
    """8 x bytes / (height x width)."""
    values: dict[str, float | None]
    """By metric, in the order of the columns; None where a metric is absent or does not apply to the image."""
    encode_seconds: float
    """Wall time, network and entropy coding, no file access."""
    decode_seconds: float
    threads: int
    device: str
    versions: dict[str, str]
    """By library."""
    commit: str
    """Of this program's source; empty where it is not known."""
    protocols: dict[str, str]
    """Key of the protocol by metric, for those that were measured."""


class Table(NamedTuple):
    """The rows of one `results.csv`."""

    metrics: tuple[str, ...]
    records: list[Record]


def write_records(path: Path, metrics: Sequence[str], records: Iterable[Record]) -> None:
    """Write the table, as `write_csv`."""
    write_csv(path, (*BEFORE, *metrics, *AFTER), (_cells(record, metrics) for record in records))


def _cells(record: Record, metrics: Sequence[str]) -> tuple[object, ...]:
    before = (getattr(record, column) for column in BEFORE)
    values = (record.values.get(metric) for metric in metrics)
    tail = (record.encode_seconds, record.decode_seconds, record.threads, record.device)
    return (*before, *values, *tail, _pairs_to_text(record.versions), record.commit, _pairs_to_text(record.protocols))


def read_records(path: Path) -> Table:
    """Read the table that `write_records` wrote.

    Raises:
        UserError: no such file, other columns, a cell that is not what its column holds, no rows, or a setting that
            has an image twice.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; give the results.csv of lightning-codec evaluate")
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        columns = tuple(reader.fieldnames or ())
        metrics = columns[len(BEFORE) : -len(AFTER)]
        if columns[: len(BEFORE)] != BEFORE or columns[-len(AFTER) :] != AFTER:
            raise UserError(
                f"{path}: not a table of lightning-codec evaluate: its columns must be {','.join(BEFORE)}, "
                f"the metrics, {','.join(AFTER)}"
            )
        cells = list(reader)
    if not cells:
        raise UserError(f"{path}: a table without rows")
    try:
        records = [_record(cell, metrics) for cell in cells]
    except (ValueError, TypeError) as error:
        raise UserError(f"{path}: damaged table ({error}); write it anew with lightning-codec evaluate") from error
    seen = set()
    for record in records:
        key = record[:4]
        if key in seen:
            raise UserError(f"{path}: {record.codec} {record.setting} has {record.image} twice")
        seen.add(key)
    return Table(metrics, records)


def _record(cell: dict[str, str], metrics: Sequence[str]) -> Record:
    if None in cell or None in cell.values():
        raise ValueError("a row has more or fewer cells than the header")
    return Record(
        codec=cell["codec"],
        setting=cell["setting"],
        dataset=cell["dataset"],
        image=cell["image"],
        height=int(cell["height"]),
        width=int(cell["width"]),
        bytes=int(cell["bytes"]),
        bpp=_finite(cell["bpp"]),
        values={metric: _finite(cell[metric]) if cell[metric] else None for metric in metrics},
        encode_seconds=_finite(cell["encode_seconds"]),
        decode_seconds=_finite(cell["decode_seconds"]),
        threads=int(cell["threads"]),
        device=cell["device"],
        versions=_text_to_pairs(cell["versions"]),
        commit=cell["commit"],
        protocols=_text_to_pairs(cell["protocols"]),
    )


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is no finite number")
    return value


def _pairs_to_text(pairs: dict[str, str]) -> str:
    return ";".join(f"{name}={value}" for name, value in pairs.items())


def _text_to_pairs(text: str) -> dict[str, str]:
    """Undo `_pairs_to_text`. Raises ValueError for an entry without "="."""
    entries = (entry.partition("=") for entry in text.split(";") if entry)
    pairs = {}
    for name, sign, value in entries:
        if not sign:
            raise ValueError(f"{name!r} where name=value is expected")
        pairs[name] = value
    return pairs
