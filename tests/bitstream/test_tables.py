import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_codec.bitstream.tables import CdfTables, build_tables

masses = st.lists(st.floats(0, 1e6), min_size=2, max_size=300).filter(any)


@given(masses)
def test_every_entry_can_be_coded_and_they_fill_the_range(mass: list[float]) -> None:
    tables = build_tables([np.array(mass[:-1], dtype=np.float64)], [mass[-1]], [-3])
    cdf = np.array(tables.cdfs[0])
    assert cdf[0] == 0
    assert cdf[-1] == 65536
    assert np.diff(cdf).min() >= 1
    assert tables.sizes == [len(mass) + 1]
    assert tables.offsets == [-3]
    assert tables.tail_entries.tolist() == [len(mass) - 1]


def test_frequencies_are_the_probabilities_to_a_unit() -> None:
    """One unit each, 65533 shared as 0.5 : 0.25 : 0.25 = 32766.5, 16383.25, 16383.25."""
    cdf = build_tables([np.array([0.5, 0.25])], [0.25], [0]).cdfs[0]
    assert np.diff(cdf).tolist() == [32768, 16384, 16384]


def test_a_pmf_that_does_not_sum_to_one_is_normalised() -> None:
    pmf = np.array([0.1, 0.2, 0.3])
    sevenfold: npt.NDArray[np.float64] = 7.0 * pmf
    assert build_tables([sevenfold], [0.7], [0]) == build_tables([pmf], [0.1], [0])


def test_the_loss_of_quantisation_is_near_its_bound() -> None:
    """A Gaussian of deviation 30 in 361 entries: the table costs at most 0.1 % more than its entropy."""
    edges = [math.erf((k - 0.5) / 30 / 2**0.5) / 2 for k in range(-180, 182)]
    pmf = np.diff(np.array(edges))
    frequencies = np.diff(build_tables([pmf], [1e-9], [-180]).cdfs[0])[:-1]
    entropy = -(pmf * np.log2(pmf)).sum()
    assert 0 < -(pmf * np.log2(frequencies / 65536)).sum() - entropy < 0.001 * entropy


def test_the_cheapest_symbol_is_the_most_probable_of_any_table() -> None:
    tables = build_tables([np.array([1.0]), np.array([3.0, 0.0])], [1.0, 1.0], [0, 0])
    assert tables.least_bits == pytest.approx(-math.log2(0.75), abs=1e-4)


@pytest.mark.parametrize(
    "mass", [[-0.1, 1.1], [float("nan"), 1.0], [float("inf"), 1.0], [0.0, 0.0], [1.0], [1.0] * 65536]
)
def test_probabilities_that_are_none_are_refused(mass: list[float]) -> None:
    with pytest.raises(ValueError, match="table 0"):
        build_tables([np.array(mass[:-1], dtype=np.float64)], [mass[-1]], [0])


@pytest.mark.parametrize(
    ("cdf", "size", "offset"),
    [
        ([0, 65536], 2, 0),
        ([0, 1, 65536], 4, 0),
        ([1, 2, 65536], 3, 0),
        ([0, 2, 65535], 3, 0),
        ([0, 9, 9, 65536], 4, 0),
        ([0, 1, 65536], 3, 2**30 + 1),
    ],
)
def test_a_table_that_would_break_the_coder_cannot_be_made(cdf: list[int], size: int, offset: int) -> None:
    with pytest.raises(ValueError, match="table 0"):
        CdfTables([cdf], [size], [offset])
    assert CdfTables([[0, 1, 65536]], [3], [2**30]).least_bits > 0
