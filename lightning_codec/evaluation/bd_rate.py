"""Bjøntegaard delta rate: how many more bytes a codec needs than another for the same quality, on average.

Between two curves of a metric, log10 of the rate is interpolated as a function of the metric and averaged over the
interval that both reach (Bjøntegaard, VCEG-M33, 2001), by the package `bjontegaard`. MS-SSIM goes in as
-10 log10(1 - MS-SSIM), so that its interval is not crowded at 1.
"""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import bjontegaard

from lightning_codec.errors import UserError
from lightning_codec.evaluation.curves import Curve
from lightning_codec.metrics.protocol import require_same_protocol

Method = Literal["akima", "pchip", "cubic"]
LEAST_POINTS = 4


class BDRate(NamedTuple):
    """A codec against an anchor."""

    percent: float
    """Negative where the codec needs fewer bytes than the anchor."""
    low: float
    """The interval of the metric that the average runs over; of MS-SSIM in dB."""
    high: float
    method: Method


def bd_rate(anchor: Curve, test: Curve, method: Method, higher_is_better: bool) -> BDRate:
    """Compare two curves of one metric on one set.

    A point that is no better than a cheaper one of its curve does not count: a codec would not be used there, and
    the rate has to be a function of the metric.

    Args:
        anchor: what is compared with.
        test: the codec.
        method: of interpolation; "cubic" fits one polynomial to all points, as the original method does.
        higher_is_better: direction of the metric.

    Raises:
        UserError: unlike sets, metrics or protocols, fewer than 4 points that count, or no common interval.
        ValueError: an unknown method.
    """
    if method not in get_args(Method):
        raise ValueError(f"method {method!r}: it must be one of {', '.join(get_args(Method))}")
    if (anchor.dataset, anchor.metric) != (test.dataset, test.metric):
        raise UserError(
            f"{test.codec} on {test.dataset} by {test.metric} and {anchor.codec} on {anchor.dataset} by "
            f"{anchor.metric} are not comparable: set and metric must be the same"
        )
    require_same_protocol(anchor.metric, anchor.protocol, test.protocol)
    anchor_rates, anchor_values = _front(anchor, higher_is_better)
    test_rates, test_values = _front(test, higher_is_better)
    low, high = max(anchor_values[0], test_values[0]), min(anchor_values[-1], test_values[-1])
    if not low < high:
        raise UserError(
            f"{anchor.metric}: the curves of {test.codec} and {anchor.codec} do not overlap on {anchor.dataset}: "
            "choose settings that reach the same quality"
        )
    percent = bjontegaard.bd_rate(
        anchor_rates,
        anchor_values,
        test_rates,
        test_values,
        method=method,
        require_matching_points=False,
        min_overlap=0,
    )
    interval = (low, high) if higher_is_better else (-high, -low)
    return BDRate(float(percent), *interval, method)


def _front(curve: Curve, higher_is_better: bool) -> tuple[list[float], list[float]]:
    """Rates and values of the points that count, both strictly ascending; values turned so that higher is better."""
    rates: list[float] = []
    values: list[float] = []
    for point in sorted(curve.points):
        value = _in_decibels(point.value) if curve.metric == "ms_ssim" else point.value
        value = value if higher_is_better else -value
        if not math.isfinite(value) or (values and value <= values[-1]):
            continue
        if rates and point.bpp == rates[-1]:
            values[-1] = value
            continue
        rates.append(point.bpp)
        values.append(value)
    if len(rates) < LEAST_POINTS:
        raise UserError(
            f"{curve.metric}: {curve.codec} has {len(rates)} points on {curve.dataset} that are better than every "
            f"cheaper one: a BD-rate needs {LEAST_POINTS} or more"
        )
    return rates, values


def _in_decibels(ms_ssim: float) -> float:
    return -10 * math.log10(1 - ms_ssim) if ms_ssim < 1 else math.inf


class BDRow(NamedTuple):
    """A line of the table of BD-rates; either the numbers or the reason is None."""

    dataset: str
    metric: str
    codec: str
    anchor: str
    method: Method
    percent: float | None
    low: float | None
    high: float | None
    reason: str | None


def bd_table(curves: Sequence[Curve], anchor: str, method: Method, higher_is_better: bool) -> list[BDRow]:
    """The BD-rate of every codec against the anchor, or why it has none.

    Args:
        curves: of one set by one metric.
        anchor: name of the codec that the others are compared with.
        method: as in `bd_rate`.
        higher_is_better: as in `bd_rate`.
    """
    anchors = [curve for curve in curves if curve.codec == anchor]
    rows = []
    for curve in curves:
        if curve.codec == anchor:
            continue
        name = (curve.dataset, curve.metric, curve.codec, anchor, method)
        try:
            if not anchors:
                raise UserError(f"{curve.metric}: {anchor} has no values on {curve.dataset}")
            result = bd_rate(anchors[0], curve, method, higher_is_better)
            rows.append(BDRow(*name, result.percent, result.low, result.high, None))
        except UserError as error:
            rows.append(BDRow(*name, None, None, None, str(error)))
    return rows
