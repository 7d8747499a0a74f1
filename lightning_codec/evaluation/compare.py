"""Two evaluations image by image: differences of paired numbers with bootstrap confidence intervals."""

from collections.abc import Sequence
from statistics import fmean
from typing import NamedTuple

import numpy as np
from scipy.stats import bootstrap

from lightning_codec.errors import UserError
from lightning_codec.evaluation.curves import natural_key
from lightning_codec.evaluation.records import Record, Table
from lightning_codec.metrics.protocol import require_same_protocol
from lightning_codec.metrics.rows import BPP_PROTOCOL

RESAMPLES = 10_000
CONFIDENCE = 0.95
SEED = 0


class SettingName(NamedTuple):
    """A setting of a codec, as a table names it."""

    codec: str
    setting: str

    def __str__(self) -> str:
        return f"{self.codec}:{self.setting}"


class Difference(NamedTuple):
    """One column of two settings over the images that have a value in both."""

    metric: str
    """Or "bpp"."""
    protocol: str
    images: int
    mean_a: float
    mean_b: float
    difference: float
    """Mean of B - A over the images."""
    low: float | None
    """Percentile bootstrap interval of the difference, 95 %; None for a single image."""
    high: float | None


class Comparison(NamedTuple):
    """Two settings on the images that both have."""

    a: SettingName
    b: SettingName
    differences: list[Difference]
    absent: dict[str, str]
    """Why a metric is not compared."""
    only_a: list[str]
    """Images, as dataset/name, that B does not have."""
    only_b: list[str]


def compare(a: Table, b: Table, pairs: Sequence[tuple[SettingName, SettingName]]) -> list[Comparison]:
    """Compare pairs of settings, the first of each from `a`, the second from `b`.

    Raises:
        UserError: a table does not have a setting, the settings share no image, an image has another size in the
            other table, or a metric was measured by another protocol.
    """
    return [_compare(_of(a, x, "the first"), _of(b, y, "the second"), x, y) for x, y in pairs]


def common_settings(a: Table, b: Table, codec: str | None) -> list[SettingName]:
    """The settings that both tables have, of one codec or of all, numbers in order.

    Raises:
        UserError: there is none.
    """
    names = [{SettingName(r.codec, r.setting) for r in table.records if codec in (None, r.codec)} for table in (a, b)]
    common = sorted(names[0] & names[1], key=lambda name: (name.codec, natural_key(name.setting)))
    if not common:
        what = "the tables" if codec is None else f"the rows of {codec}"
        raise UserError(
            f"{what} have no setting in common; name a pair with --a CODEC:SETTING --b CODEC:SETTING "
            f"(first: {_listed(names[0])}; second: {_listed(names[1])})"
        )
    return common


def _listed(names: set[SettingName]) -> str:
    return ", ".join(sorted(map(str, names))) or "none"


def _of(table: Table, name: SettingName, which: str) -> dict[tuple[str, str], Record]:
    """The rows of a setting by dataset and image."""
    rows = {(r.dataset, r.image): r for r in table.records if (r.codec, r.setting) == name}
    if not rows:
        known = {SettingName(r.codec, r.setting) for r in table.records}
        raise UserError(f"{name} is not in {which} table, which has {_listed(known)}")
    return rows


def _compare(
    a: dict[tuple[str, str], Record], b: dict[tuple[str, str], Record], name_a: SettingName, name_b: SettingName
) -> Comparison:
    common = sorted(a.keys() & b.keys())
    if not common:
        raise UserError(f"{name_a} and {name_b} have no image in common: images are paired by set and name")
    pairs = [(a[key], b[key]) for key in common]
    for first, second in pairs:
        if (first.height, first.width) != (second.height, second.width):
            raise UserError(
                f"{first.dataset}/{first.image} has {first.height} x {first.width} pixels in one table and "
                f"{second.height} x {second.width} in the other: not the same image"
            )
    differences = [_difference("bpp", BPP_PROTOCOL.key, [(first.bpp, second.bpp) for first, second in pairs])]
    absent: dict[str, str] = {}
    for metric in dict.fromkeys([*pairs[0][0].values, *pairs[0][1].values]):
        if metric not in pairs[0][0].values or metric not in pairs[0][1].values:
            absent[metric] = f"only in the {'first' if metric in pairs[0][0].values else 'second'} table"
            continue
        for first, second in pairs:
            if metric in first.protocols and metric in second.protocols:
                require_same_protocol(metric, first.protocols[metric], second.protocols[metric])
        values = [(first.values[metric], second.values[metric]) for first, second in pairs]
        present = [(x, y) for x, y in values if x is not None and y is not None]
        if present:
            differences.append(_difference(metric, pairs[0][0].protocols.get(metric, ""), present))
        else:
            absent[metric] = "no image has a value in both tables"
    only_a, only_b = ([f"{d}/{i}" for d, i in sorted(x.keys() - y.keys())] for x, y in ((a, b), (b, a)))
    return Comparison(name_a, name_b, differences, absent, only_a, only_b)


def _difference(metric: str, protocol: str, values: Sequence[tuple[float, float]]) -> Difference:
    differences = [y - x for x, y in values]
    means = (fmean([x for x, _ in values]), fmean([y for _, y in values]))
    return Difference(metric, protocol, len(values), *means, fmean(differences), *mean_interval(differences))


def mean_interval(values: Sequence[float]) -> tuple[float | None, float | None]:
    """The 95 % percentile bootstrap interval of a mean, by 10,000 resamples, seeded; None of a single value."""
    if len(values) < 2:
        return None, None
    interval = bootstrap(
        (np.array(values),),
        np.mean,
        n_resamples=RESAMPLES,
        confidence_level=CONFIDENCE,
        method="percentile",
        random_state=np.random.default_rng(SEED),
    ).confidence_interval
    return float(interval.low), float(interval.high)
