"""What the members of a sweep save of the bytes of others, image by image."""

import csv
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple

from lightning_codec.cluster.grid import Axis, Member
from lightning_codec.cluster.sweep import Sweep, newest_run
from lightning_codec.errors import UserError
from lightning_codec.evaluation.compare import mean_interval
from lightning_codec.files import write_csv

TABLE = "savings.csv"
SEED = "seed_everything"


class Saving(NamedTuple):
    """Members that differ in their seed alone, against those that have the value which is compared with."""

    settings: dict[str, str]
    """value by key, without the seed"""
    against: str
    """the value that is compared with"""
    dataset: str
    images: int
    seeds: int
    bpp: float
    saved_percent: float
    """100 (1 - bytes / bytes of the other), mean over the images of the mean over the seeds"""
    low: float | None
    """95 % percentile bootstrap over the images; None for a single one"""
    high: float | None
    between_seeds: float | None
    """standard deviation of the seeds' means; None for a single one"""
    psnr_change: float
    """dB, mean over the images and seeds"""
    encode_seconds: float
    """of an image, as is the next"""
    decode_seconds: float


def check_baselines(sweep: Sweep, against: Axis) -> None:
    """Refuse what no member of a sweep can be compared with.

    Raises:
        UserError: the sweep has no such axis, or one of the values not.
    """
    values = {axis.key: axis.values for axis in sweep.axes}
    for value in against.values:
        if value not in values.get(against.key, ()):
            known = "; ".join(f"{name}={','.join(others)}" for name, others in values.items())
            raise UserError(f"{against.key}={value}: not a value of this sweep, which has {known}")


def write_savings(sweep: Sweep, against: Axis) -> Path:
    """Compare every finished member with those that have another value of one key and are otherwise the same.

    Args:
        sweep: finished, or in part.
        against: the key, of an axis of the sweep, and those of its values that are compared with.

    Returns:
        The table that was written.

    Raises:
        UserError: as `check_baselines`, nothing to be compared is finished, or there are no bytes.
    """
    check_baselines(sweep, against)
    savings = [saving for value in against.values for saving in _savings(sweep, against.key, value)]
    if not savings:
        wanted = f"{against.key}={','.join(against.values)}"
        raise UserError(f"{sweep.folder}: no member and its counterpart with {wanted} are both finished")
    header = [*savings[0].settings, *Saving._fields[1:]]
    write_csv(sweep.folder / TABLE, header, ([*saving.settings.values(), *saving[1:]] for saving in savings))
    return sweep.folder / TABLE


def _savings(sweep: Sweep, key: str, value: str) -> Iterator[Saving]:
    members = {_place(member.settings): member for member in sweep.members}
    pairs: dict[tuple[tuple[str, str], ...], list[tuple[Member, Member]]] = defaultdict(list)
    for member in sweep.members:
        other = members[_place({**member.settings, key: value})]
        if member.settings[key] != value and sweep.finished(member) and sweep.finished(other):
            pairs[_place({k: v for k, v in member.settings.items() if k != SEED})].append((member, other))
    for settings, twins in pairs.items():
        rows = [(_rows(sweep, member), _rows(sweep, other)) for member, other in twins]
        for dataset in sorted(set.intersection(*(set(part) for pair in rows for part in pair))):
            paired = [(mine[dataset], others[dataset]) for mine, others in rows]
            yield _saving(dict(settings), value, dataset, paired)


def _saving(
    settings: dict[str, str], against: str, dataset: str, seeds: list[tuple[dict[str, Any], dict[str, Any]]]
) -> Saving:
    """Of the rows by image of each seed's member and of its counterpart."""
    saved = [
        [100.0 * (1.0 - float(row["bytes"]) / float(others[name]["bytes"])) for name, row in sorted(mine.items())]
        for mine, others in seeds
    ]
    by_image = [fmean(column) for column in zip(*saved, strict=True)]
    means = [fmean(row) for row in saved]
    low, high = mean_interval(by_image)

    def mean(column: str, which: int = 0) -> float:
        return fmean(float(row[column]) for pair in seeds for row in pair[which].values() if row[column])

    return Saving(
        settings=settings,
        against=against,
        dataset=dataset,
        images=len(by_image),
        seeds=len(seeds),
        bpp=mean("bpp"),
        saved_percent=fmean(by_image),
        low=low,
        high=high,
        between_seeds=stdev(means) if len(means) > 1 else None,
        psnr_change=mean("psnr") - mean("psnr", 1),
        encode_seconds=mean("encode_seconds"),
        decode_seconds=mean("decode_seconds"),
    )


def _place(settings: dict[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(settings.items())


def _rows(sweep: Sweep, member: Member) -> dict[str, dict[str, dict[str, str]]]:
    """What `test` measured of every image, by set and name."""
    found: dict[str, dict[str, dict[str, str]]] = {}
    for path in sorted((newest_run(sweep.folder / member.name / "test") / "metrics").glob("test_*.csv")):
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        if rows and "bytes" in rows[0]:
            if any(not row["bytes"] for row in rows):
                raise UserError(f"{path}: has images that were not coded, so there are no bytes to compare")
            found[rows[0]["dataset"]] = {row["name"]: row for row in rows}
    return found
