"""What the members of a sweep save of the bytes of others, image by image."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import NamedTuple

from lightning_codec.cluster.grid import Axis
from lightning_codec.cluster.images import PARAMETERS
from lightning_codec.cluster.sweep import Sweep
from lightning_codec.errors import UserError
from lightning_codec.evaluation.compare import mean_interval
from lightning_codec.files import write_csv

TABLE = "savings.csv"
SEED = "seed_everything"
Place = tuple[tuple[str, str], ...]
"""key and value of every setting of a member"""
Row = dict[str, str]


class Saving(NamedTuple):
    """Members that differ in their seed alone, against those that have the value which is compared with."""

    settings: dict[str, str]
    """value by key, without the seed"""
    against: str
    """the value that is compared with"""
    dataset: str
    images: int
    seeds: int
    trained_parameters: int | None
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


def write_savings(sweep: Sweep, images: Sequence[Row], against: Axis) -> Path:
    """Compare every member with those that have another value of one key and are otherwise the same.

    Args:
        sweep: into whose folder the table goes.
        images: every image of its members, as `write_images` returns them.
        against: the key, of an axis of the sweep, and those of its values that are compared with.

    Returns:
        The table that was written.

    Raises:
        UserError: as `check_baselines`, nothing to be compared is finished, or images were not coded.
    """
    axes = [Axis(key, (*values, *(row[key] for row in images))) for key, values in sweep.axes]
    check_baselines([Axis(key, tuple(dict.fromkeys(values))) for key, values in axes], against)
    members = _by_member(images, [axis.key for axis in axes])
    savings = [saving for value in against.values for saving in _savings(members, against.key, value)]
    if not savings:
        wanted = f"{against.key}={','.join(against.values)}"
        raise UserError(f"{sweep.folder}: no member and its counterpart with {wanted} are both finished")
    header = [*savings[0].settings, *Saving._fields[1:]]
    write_csv(sweep.folder / TABLE, header, ([*saving.settings.values(), *saving[1:]] for saving in savings))
    return sweep.folder / TABLE


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


def _savings(members: Mapping[Place, Mapping[str, Mapping[str, Row]]], key: str, value: str) -> Iterator[Saving]:
    pairs: dict[Place, list[tuple[Place, Place]]] = defaultdict(list)
    for place in members:
        other = tuple((name, value if name == key else own) for name, own in place)
        if other != place and other in members:
            pairs[tuple(setting for setting in place if setting[0] != SEED)].append((place, other))
    for settings, twins in pairs.items():
        rows = [(members[mine], members[other]) for mine, other in twins]
        for dataset in sorted(set.intersection(*(set(part) for pair in rows for part in pair))):
            paired = [(mine[dataset], others[dataset]) for mine, others in rows]
            yield _saving(dict(settings), value, dataset, paired)


def _saving(
    settings: dict[str, str], against: str, dataset: str, seeds: Sequence[tuple[Mapping[str, Row], Mapping[str, Row]]]
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
        trained_parameters=int(count) if (count := next(iter(seeds[0][0].values()))[PARAMETERS]) else None,
        bpp=mean("bpp"),
        saved_percent=fmean(by_image),
        low=low,
        high=high,
        between_seeds=stdev(means) if len(means) > 1 else None,
        psnr_change=mean("psnr") - mean("psnr", 1),
        encode_seconds=mean("encode_seconds"),
        decode_seconds=mean("decode_seconds"),
    )
