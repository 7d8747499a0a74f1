"""Quantised probability tables: what the entropy coder needs to know about each symbol's distribution."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

PRECISION_BITS = 16
TOTAL = 1 << PRECISION_BITS
_MAX_OFFSET = 2**30


@dataclass(frozen=True)
class CdfTables:
    """T cumulative distributions in units of 2^-16.

    Table t describes the integers `offsets[t]`, ..., `offsets[t] + sizes[t] - 3` and, as its last entry, the
    tail: every other integer. `cdfs[t]` has `sizes[t]` values, from 0 to 65536, strictly increasing, so that
    every symbol can be coded.

    Raises:
        ValueError: a table breaks one of these rules.
    """

    cdfs: list[list[int]]
    sizes: list[int]
    offsets: list[int]

    def __post_init__(self) -> None:
        if not len(self.cdfs) == len(self.sizes) == len(self.offsets) > 0:
            raise ValueError(
                f"{len(self.cdfs)} cdfs, {len(self.sizes)} sizes, {len(self.offsets)} offsets: not one each"
            )
        for number, (cdf, size, offset) in enumerate(zip(self.cdfs, self.sizes, self.offsets, strict=True)):
            if len(cdf) != size or size < 3:
                raise ValueError(f"table {number} has {len(cdf)} values, not {size} and at least 3")
            if cdf[0] != 0 or cdf[-1] != TOTAL or (np.diff(cdf) < 1).any():
                raise ValueError(f"table {number} does not increase strictly from 0 to {TOTAL}")
            if abs(offset) > _MAX_OFFSET:
                raise ValueError(f"the offset of table {number} is {offset}, beyond {_MAX_OFFSET}")

    @cached_property
    def tail_entries(self) -> npt.NDArray[np.int64]:
        """[T] index of each table's tail entry = how many integers have an entry of their own."""
        return np.array(self.sizes, dtype=np.int64) - 2

    @cached_property
    def first_symbols(self) -> npt.NDArray[np.int64]:
        """[T] the integer of each table's first entry."""
        return np.array(self.offsets, dtype=np.int64)

    @cached_property
    def least_bits(self) -> float:
        """Cost of the cheapest symbol of all tables in bits, above 0; n symbols need n times this."""
        return PRECISION_BITS - math.log2(max(int(np.diff(cdf).max()) for cdf in self.cdfs))


def build_tables(pmfs: Sequence[npt.NDArray[np.float64]], tails: Sequence[float], offsets: Sequence[int]) -> CdfTables:
    """Quantise probability mass functions to 16 bits, each entry at least 1 / 65536.

    Every entry gets one unit; the rest is shared in proportion to the probabilities and rounded by largest
    remainder, in float64 with an exactly rounded sum: the same input gives the same table on every machine.
    (compressai's `pmf_to_quantized_cdf` works in float32 and gives the tail what its rounding leaves over;
    for a discretised Gaussian it loses twice as many bits a symbol.)

    Args:
        pmfs: T arrays [n_t], the probabilities of the integers from `offsets[t]` on, 1 <= n_t < 65535.
        tails: T probabilities of all other integers together. A pmf and its tail are normalised to sum to 1.
        offsets: T integers.

    Raises:
        ValueError: a probability is negative or not finite, all are zero, or a table is empty or too long.
    """
    cdfs = []
    for number, (pmf, tail) in enumerate(zip(pmfs, tails, strict=True)):
        mass = np.append(np.asarray(pmf, dtype=np.float64), tail)
        if not 2 <= len(mass) < TOTAL:
            raise ValueError(f"table {number} has {len(mass) - 1} probabilities, not 1 to {TOTAL - 2}")
        if not np.isfinite(mass).all() or (mass < 0).any() or not mass.any():
            raise ValueError(f"the probabilities of table {number} are not all finite, >= 0 and not all zero")
        cdfs.append([0, *np.cumsum(_frequencies(mass)).tolist()])
    return CdfTables(cdfs, [len(cdf) for cdf in cdfs], [int(offset) for offset in offsets])


def _frequencies(mass: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """[n] mass -> [n] integers >= 1 that sum to 65536."""
    ideal = mass / math.fsum(mass) * (TOTAL - len(mass))
    units = np.floor(ideal).astype(np.int64)
    by_remainder = np.argsort(units - ideal, kind="stable")
    units[by_remainder[: TOTAL - len(mass) - units.sum()]] += 1
    frequencies: npt.NDArray[np.int64] = units + 1
    return frequencies
