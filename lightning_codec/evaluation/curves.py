"""Rate-distortion and rate-perception curves: means over a set for every setting of a codec."""

import csv
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from lightning_codec.errors import UserError
from lightning_codec.evaluation.records import Record

PUBLISHED_COLUMNS = ("codec", "dataset", "metric", "bpp", "value", "source")
PUBLISHED_PROTOCOL = "published"
"""The protocol of points from papers, whatever it was: comparable with each other at the reader's risk, never with
our own."""


class Point(NamedTuple):
    """One setting of a codec on a set."""

    bpp: float
    value: float
    setting: str


class Curve(NamedTuple):
    """What a codec reaches on a set, by one metric."""

    codec: str
    dataset: str
    metric: str
    protocol: str
    """Key of the metric's protocol."""
    points: tuple[Point, ...]
    """Ascending in bpp."""
    source: str = ""
    """Where published points are from; empty for measured ones."""


class SettingMeans(NamedTuple):
    """The means of one setting over the images of a set."""

    codec: str
    setting: str
    dataset: str
    images: int
    bpp: float
    """Mean of the images' bpp."""
    values: dict[str, float | None]
    """Mean by metric over the images that have a value; None where none has."""
    counts: dict[str, int]
    """How many images have a value."""
    encode_seconds: float
    decode_seconds: float


def natural_key(text: str) -> tuple[tuple[int, float, str], ...]:
    """A key that sorts texts with the numbers in them by value: 9 before 10, 0.5 before 1."""
    parts = re.split(r"(\d+(?:\.\d+)?)", text)
    return tuple((0, float(part), "") if i % 2 else (1, 0.0, part) for i, part in enumerate(parts) if part)


def setting_means(records: Iterable[Record]) -> list[SettingMeans]:
    """Average the records of every setting, in the order of codec, set and rate.

    The means depend neither on the order of the records nor on who measured them.
    """
    groups: dict[tuple[str, str, str], list[Record]] = defaultdict(list)
    for record in records:
        groups[record.codec, record.setting, record.dataset].append(record)
    means = [_means(group) for group in groups.values()]
    return sorted(means, key=lambda mean: (mean.codec, mean.dataset, mean.bpp, natural_key(mean.setting)))


def _means(records: Sequence[Record]) -> SettingMeans:
    first = records[0]
    present = {metric: [r.values[metric] for r in records] for metric in first.values}
    numbers = {metric: [value for value in values if value is not None] for metric, values in present.items()}
    return SettingMeans(
        codec=first.codec,
        setting=first.setting,
        dataset=first.dataset,
        images=len(records),
        bpp=fmean([record.bpp for record in records]),
        values={metric: fmean(values) if values else None for metric, values in numbers.items()},
        counts={metric: len(values) for metric, values in numbers.items()},
        encode_seconds=fmean([record.encode_seconds for record in records]),
        decode_seconds=fmean([record.decode_seconds for record in records]),
    )


def curves(means: Iterable[SettingMeans], metric: str, protocol: str) -> list[Curve]:
    """The curve of every codec and set that has a value of the metric.

    Args:
        means: of the settings; those without a value are left out.
        metric: which.
        protocol: key of the protocol that all of them were measured by.
    """
    points: dict[tuple[str, str], list[Point]] = defaultdict(list)
    for row in means:
        value = row.values.get(metric)
        if value is not None:
            points[row.codec, row.dataset].append(Point(row.bpp, value, row.setting))
    return [Curve(codec, dataset, metric, protocol, tuple(sorted(found))) for (codec, dataset), found in points.items()]


def read_published(path: Path) -> list[Curve]:
    """Read published points: a CSV with the columns codec, dataset, metric, bpp, value, source.

    Rows without a rate are no points of a curve and are left out. Metrics are named as ours are: "ms-ssim" becomes
    "ms_ssim". Points of one codec from several sources are several curves.

    Raises:
        UserError: no such file, other columns, or a cell that is not a number.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file with published points")
    points: dict[tuple[str, str, str, str], list[Point]] = defaultdict(list)
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != PUBLISHED_COLUMNS:
            raise UserError(f"{path}: the columns of published points must be {','.join(PUBLISHED_COLUMNS)}")
        for row in reader:
            if not row["bpp"]:
                continue
            try:
                bpp, value = float(row["bpp"]), float(row["value"])
            except (ValueError, TypeError):
                raise UserError(f"{path}, line {reader.line_num}: bpp and value must be numbers") from None
            key = (row["codec"], row["dataset"], row["metric"].replace("-", "_"), row["source"])
            points[key].append(Point(bpp, value, ""))
    return [
        Curve(codec, dataset, metric, PUBLISHED_PROTOCOL, tuple(sorted(found)), source)
        for (codec, dataset, metric, source), found in points.items()
    ]
