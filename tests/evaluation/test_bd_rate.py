import csv
import math
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.interpolate import PchipInterpolator

from lightning_codec.errors import UserError
from lightning_codec.evaluation.bd_rate import Method, bd_rate
from lightning_codec.evaluation.curves import Curve, Point, read_published
from tests.photos import photos

LOWER_IS_BETTER = {"lpips_alex", "dists", "fid256", "kid256"}


def curve(rates: list[float], values: list[float], codec: str = "x", metric: str = "psnr", key: str = "v1") -> Curve:
    points = tuple(Point(rate, value, f"{i}") for i, (rate, value) in enumerate(zip(rates, values, strict=True)))
    return Curve(codec, "kodak", metric, key, points)


RATES = [0.1, 0.25, 0.5, 0.9, 1.5]
VALUES = [26.0, 29.0, 31.5, 34.0, 36.0]


@pytest.mark.parametrize("method", get_args(Method))
def test_a_codec_against_itself_and_against_one_of_twice_its_bytes(method):
    result = bd_rate(curve(RATES, VALUES), curve(RATES, VALUES), method, True)
    assert result[:3] == pytest.approx((0, 26.0, 36.0), abs=1e-9)
    assert result.method == method
    half = curve([rate / 2 for rate in RATES], VALUES)
    assert bd_rate(curve(RATES, VALUES), half, method, True).percent == pytest.approx(-50, abs=1e-9)
    assert bd_rate(half, curve(RATES, VALUES), method, True).percent == pytest.approx(100, abs=1e-9)


def test_it_is_the_mean_difference_of_log_rates_over_the_common_interval():
    other = curve([0.2, 0.4, 0.8, 1.6], [28.0, 31.0, 33.0, 37.0])
    result = bd_rate(curve(RATES, VALUES), other, "pchip", True)
    assert (result.low, result.high) == (28.0, 36.0)
    anchor = PchipInterpolator(VALUES, np.log(RATES))
    test = PchipInterpolator([28.0, 31.0, 33.0, 37.0], np.log([0.2, 0.4, 0.8, 1.6]))
    integral, _ = quad(lambda v: test(v) - anchor(v), 28.0, 36.0, points=[29.0, 31.0, 31.5, 33.0, 34.0])
    assert result.percent == pytest.approx(100 * (math.exp(integral / 8.0) - 1), abs=1e-6)


def test_lower_is_better_gives_the_same_rate_and_the_interval_unturned():
    down = [1 / value for value in VALUES]
    result = bd_rate(
        curve(RATES, down, metric="dists"), curve([2 * r for r in RATES], down, metric="dists"), "akima", False
    )
    assert result[:3] == pytest.approx((100, 1 / 36, 1 / 26))


def test_ms_ssim_is_compared_in_decibels():
    decibels = [10.0, 12.0, 15.0, 17.0, 20.0]
    anchor = curve(RATES, [1 - 10 ** (-d / 10) for d in decibels], metric="ms_ssim")
    other = [0.2, 0.3, 0.5, 0.8, 1.7]
    test = anchor._replace(points=curve(other, [p.value for p in anchor.points]).points)
    result = bd_rate(anchor, test, "akima", True)
    expected = bd_rate(curve(RATES, decibels), curve(other, decibels), "akima", True)
    assert result.percent == pytest.approx(expected.percent, abs=1e-9)
    assert (result.low, result.high) == pytest.approx((10, 20))
    lossless = anchor._replace(points=(*anchor.points, Point(9.0, 1.0, "100")))
    assert bd_rate(anchor, lossless, "akima", True).percent == pytest.approx(0, abs=1e-9)


def test_points_that_are_no_better_than_cheaper_ones_do_not_count():
    clean = curve(RATES, VALUES)
    bent = curve([*RATES, 0.3, 2.0, 0.5], [*VALUES, 28.9, 36.0, 31.0])
    assert bd_rate(clean, bent, "akima", True).percent == pytest.approx(0, abs=1e-9)
    with pytest.raises(UserError, match=r"psnr: bad has 3 points on kodak that are better than every cheaper one"):
        bd_rate(clean, curve([0.1, 0.2, 0.3, 0.4], [26.0, 30.0, 29.0, 33.0], "bad"), "akima", True)


@pytest.mark.parametrize(
    ("test", "message"),
    [
        (curve([0.1, 0.2, 0.3, 0.4], [36.0, 37.0, 38.0, 39.0], "far"), "the curves of far and x do not overlap"),
        (curve(RATES, VALUES, key="v2"), "psnr: measured by v1 in one and by v2 in the other"),
        (curve(RATES, VALUES, metric="dists"), "set and metric must be the same"),
        (curve(RATES, VALUES)._replace(dataset="clic"), "set and metric must be the same"),
        (curve(RATES[:3], VALUES[:3], "short"), "short has 3 points"),
    ],
)
def test_curves_that_cannot_be_compared_are_refused(test, message):
    with pytest.raises(UserError, match=message):
        bd_rate(curve(RATES, VALUES), test, "akima", True)
    with pytest.raises(ValueError, match="method 'linear': it must be one of akima, pchip, cubic"):
        bd_rate(curve(RATES, VALUES), curve(RATES, VALUES), "linear", True)  # type: ignore[arg-type]


def published(folder: Path) -> dict[tuple[str, str, str], Curve]:
    """Every curve of the fixture; a codec's MS-SSIM in dB too, where its curve is not published in dB already."""
    found = {(c.codec, c.dataset, c.metric): c for c in read_published(folder / "rd_points.csv")}
    for (codec, dataset, metric), c in list(found.items()):
        if metric == "ms_ssim":
            points = tuple(p._replace(value=-10 * math.log10(1 - p.value)) for p in c.points)
            found.setdefault((codec, dataset, "ms_ssim_db"), c._replace(metric="ms_ssim_db", points=points))
    return found


@pytest.mark.data
def test_published_figures_agree_with_an_independent_computation():
    folder = photos("reference")
    curves = published(folder)
    with (folder / "bd_rates.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 380
    for row in rows:
        metric = row["metric"].replace("-", "_")
        anchor, test = (curves[row[role], row["dataset"], metric] for role in ("anchor", "codec"))
        if int(row["n_points"]) < 4:
            with pytest.raises(UserError, match="a BD-rate needs 4 or more"):
                bd_rate(anchor, test, "akima", metric not in LOWER_IS_BETTER)
            continue
        for method in get_args(Method):
            result = bd_rate(anchor, test, method, metric not in LOWER_IS_BETTER)
            assert result.percent == pytest.approx(float(row[f"bdrate_{method}_pct"]), abs=0.05), row
            interval = sorted(abs(float(row[bound])) for bound in ("overlap_lo", "overlap_hi"))
            assert [result.low, result.high] == pytest.approx(interval, abs=1e-4), row
