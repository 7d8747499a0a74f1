"""By how much the pictures of a sweep's members are better or worse than those of others, image by image."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from lightning_codec.cluster.images import metrics
from lightning_codec.cluster.pairing import Pair, spread
from lightning_codec.files import write_csv

TABLE = "changes.csv"


class Change(NamedTuple):
    """One metric of members that differ in their seed alone, minus that of those they are compared with."""

    settings: dict[str, str]
    """value by key, without the seed"""
    against: str
    """the value that is compared with"""
    dataset: str
    metric: str
    images: int
    """which have a value in all members"""
    seeds: int
    mean: float
    """over the images and seeds"""
    change: float
    """mean minus that of the counterpart"""
    low: float | None
    """of the change, as in `Spread`"""
    high: float | None
    between_seeds: float | None


def write_changes(folder: Path, pairs: Sequence[Pair]) -> Path:
    """Write the differences of every metric of the pictures, in the metric's own unit; returns the table."""
    found = [_change(pair, metric) for pair in pairs for metric in metrics(next(iter(pair.seeds[0][0].values())))]
    changes = [change for change in found if change is not None]
    header = [*pairs[0].settings, *Change._fields[1:]]
    write_csv(folder / TABLE, header, ([*change.settings.values(), *change[1:]] for change in changes))
    return folder / TABLE


def _change(pair: Pair, metric: str) -> Change | None:
    """None where no image has a value in all members."""
    everyone = [rows for seed in pair.seeds for rows in seed]
    names = sorted(name for name in everyone[0] if all(rows.get(name, {}).get(metric) for rows in everyone))
    if not names:
        return None
    values = [[float(mine[name][metric]) for name in names] for mine, _ in pair.seeds]
    differences = [[float(mine[n][metric]) - float(others[n][metric]) for n in names] for mine, others in pair.seeds]
    total = spread(differences)
    return Change(
        settings=pair.settings,
        against=pair.against,
        dataset=pair.dataset,
        metric=metric,
        images=len(names),
        seeds=len(pair.seeds),
        mean=fmean(map(fmean, values)),
        change=total.mean,
        low=total.low,
        high=total.high,
        between_seeds=total.between_seeds,
    )
