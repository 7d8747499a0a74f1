import math
from itertools import permutations

import pytest

from lightning_codec.metrics.rows import ImageRow, mean, set_means

CODED = ImageRow("set", "b/one.png", 4, 6, 30, 10.0, 8.0, 30.125, None, 0.25, 0.5)
PLAIN = ImageRow("set", "a, quoted.png", 5, 7, None, None, 0.1, math.inf, 0.9, None, None)


def test_mean_is_correctly_rounded_in_every_order():
    values = [1e16, 1.0, -1e16, 2.0, None]
    assert {mean(order) for order in permutations(values)} == {0.75}
    assert mean([None]) is None


def test_set_means_take_each_value_over_the_rows_that_have_it():
    means = set_means([CODED, PLAIN])
    assert (means.dataset, means.images, means.coded, means.identical) == ("set", 2, 1, 1)
    assert means.psnr == 30.125
    assert means.ms_ssim == 0.9
    assert means.bpp == 10.0
    assert means.bpp_estimated == pytest.approx(4.05)
    assert (means.encode_seconds, means.decode_seconds) == (0.25, 0.5)


def test_gap_compares_bytes_and_estimate_on_the_same_images():
    assert set_means([CODED, PLAIN]).gap_percent == pytest.approx(25.0)
    assert set_means([CODED, CODED._replace(name="c", bpp=2.0, bpp_estimated=4.0)]).gap_percent == pytest.approx(0)
    assert set_means([PLAIN]).gap_percent is None
