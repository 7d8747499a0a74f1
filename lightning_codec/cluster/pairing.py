"""The members of a sweep beside those that they are compared with, seed by seed."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean, stdev
from typing import NamedTuple

from lightning_codec.cluster.grid import Axis
from lightning_codec.cluster.sweep import Sweep
from lightning_codec.errors import UserError
from lightning_codec.evaluation.compare import mean_interval

SEED = "seed_everything"
Row = dict[str, str]
"""a line of `images.csv`, text by column"""
Place = tuple[tuple[str, str], ...]
"""key and value of every setting of a member"""


class Pair(NamedTuple):
    """One set of images of members that differ in their seed alone, beside that of those they are compared with."""

    settings: dict[str, str]
    """value by key, without the seed"""
    against: str
    """the value that is compared with"""
    dataset: str
    seeds: list[tuple[Mapping[str, Row], Mapping[str, Row]]]
    """by seed, the lines of the member and of its counterpart, by the name of the image"""


class Spread(NamedTuple):
    """The mean of a number of images and seeds, and how sure it is."""

    mean: float
    low: float | None
    """95 % percentile bootstrap over the images, each the mean of its seeds; None for a single image"""
    high: float | None
    between_seeds: float | None
    """standard deviation of the seeds' means; None for a single one"""


def spread(seeds: Sequence[Sequence[float]]) -> Spread:
    """Of the numbers of the same images by every seed."""
    by_image = [fmean(column) for column in zip(*seeds, strict=True)]
    low, high = mean_interval(by_image)
    return Spread(fmean(by_image), low, high, stdev(map(fmean, seeds)) if len(seeds) > 1 else None)


def check_baselines(axes: Sequence[Axis], against: Axis) -> None:
    """Refuse what no member of a sweep can be compared with.

    Raises:
        UserError: the sweep has no such axis, or one of the values not.
    """
    values = {axis.key: axis.values for axis in axes}
    for value in against.values:
        if value not in values.get(against.key, ()):
            known = "; ".join(f"{name}={','.join(others)}" for name, others in values.items())
            raise UserError(f"{against.key}={value}: not a value of this sweep, which has {known}")


def pairs(sweep: Sweep, images: Sequence[Row], against: Axis) -> list[Pair]:
    """Put every member beside those that have another value of one key and are otherwise the same.

    Args:
        sweep: whose axes there are.
        images: every image of its members, as `write_images` returns them.
        against: the key, of an axis of the sweep, and those of its values that are compared with.

    Raises:
        UserError: as `check_baselines`, nothing to be compared is finished, or images were not coded.
    """
    axes = [Axis(key, (*values, *(row[key] for row in images))) for key, values in sweep.axes]
    check_baselines([Axis(key, tuple(dict.fromkeys(values))) for key, values in axes], against)
    members = _by_member(images, [axis.key for axis in axes])
    found = [pair for value in against.values for pair in _pairs(members, against.key, value)]
    if not found:
        wanted = f"{against.key}={','.join(against.values)}"
        raise UserError(f"{sweep.folder}: no member and its counterpart with {wanted} are both finished")
    return found


def _by_member(images: Sequence[Row], keys: Sequence[str]) -> dict[Place, dict[str, dict[str, Row]]]:
    """Lines by settings, set and name."""
    members: dict[Place, dict[str, dict[str, Row]]] = defaultdict(lambda: defaultdict(dict))
    for row in images:
        if not row["bytes"]:
            raise UserError(
                f"{row['dataset']}/{row['name']} was not coded by a member, so there are no bytes to compare"
            )
        members[tuple((key, row[key]) for key in keys)][row["dataset"]][row["name"]] = row
    return members


def _pairs(members: Mapping[Place, Mapping[str, Mapping[str, Row]]], key: str, value: str) -> Iterator[Pair]:
    twins: dict[Place, list[tuple[Place, Place]]] = defaultdict(list)
    for place in members:
        other = tuple((name, value if name == key else own) for name, own in place)
        if other != place and other in members:
            twins[tuple(setting for setting in place if setting[0] != SEED)].append((place, other))
    for settings, places in twins.items():
        rows = [(members[mine], members[other]) for mine, other in places]
        for dataset in sorted(set.intersection(*(set(part) for pair in rows for part in pair))):
            yield Pair(dict(settings), value, dataset, [(mine[dataset], others[dataset]) for mine, others in rows])
