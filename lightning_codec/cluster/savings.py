"""What the members of a sweep save of the bytes of others, image by image."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from lightning_codec.cluster.images import PARAMETERS
from lightning_codec.cluster.pairing import Pair, spread
from lightning_codec.files import write_csv

TABLE = "savings.csv"


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
    """as in `Spread`"""
    high: float | None
    between_seeds: float | None
    psnr_change: float
    """dB, mean over the images and seeds"""
    encode_seconds: float
    """of an image, as is the next"""
    decode_seconds: float


def write_savings(folder: Path, pairs: Sequence[Pair]) -> Path:
    """Write what each saves of the bytes of its counterpart; returns the table."""
    savings = [_saving(pair) for pair in pairs]
    header = [*savings[0].settings, *Saving._fields[1:]]
    write_csv(folder / TABLE, header, ([*saving.settings.values(), *saving[1:]] for saving in savings))
    return folder / TABLE


def _saving(pair: Pair) -> Saving:
    saved = [
        [100.0 * (1.0 - float(row["bytes"]) / float(others[name]["bytes"])) for name, row in sorted(mine.items())]
        for mine, others in pair.seeds
    ]
    total = spread(saved)

    def mean(column: str, which: int = 0) -> float:
        return fmean(float(row[column]) for seed in pair.seeds for row in seed[which].values() if row[column])

    count = next(iter(pair.seeds[0][0].values()))[PARAMETERS]
    return Saving(
        settings=pair.settings,
        against=pair.against,
        dataset=pair.dataset,
        images=len(saved[0]),
        seeds=len(pair.seeds),
        trained_parameters=int(count) if count else None,
        bpp=mean("bpp"),
        saved_percent=total.mean,
        low=total.low,
        high=total.high,
        between_seeds=total.between_seeds,
        psnr_change=mean("psnr") - mean("psnr", 1),
        encode_seconds=mean("encode_seconds"),
        decode_seconds=mean("decode_seconds"),
    )
