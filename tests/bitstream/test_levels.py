"""Levels of missing texture as bytes: nothing is lost, neighbours help, damage is an error."""

import math

import pytest
import torch
from torch import Tensor

from lightning_codec.bitstream.errors import CodecError, CorruptError
from lightning_codec.bitstream.levels import FIRST, FREQUENCIES, LEVELS, decode_levels, encode_levels, least_bits


def levels_of(height: int, width: int, seed: int = 0) -> Tensor:
    return torch.randint(LEVELS, (height, width), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 7), (9, 1), (2, 2), (16, 24), (5, 33)])
def test_levels_come_back(height: int, width: int) -> None:
    levels = levels_of(height, width)
    assert torch.equal(decode_levels(encode_levels(levels), height, width), levels)


def bits(levels: Tensor) -> float:
    """What the table says, level by level: each is coded by the sum of its left and upper neighbours."""
    total = 0.0
    for row in range(levels.shape[0]):
        for column in range(levels.shape[1]):
            left = int(levels[row, column - 1]) if column else None
            above = int(levels[row - 1, column]) if row else None
            known = [level for level in (left, above) if level is not None]
            context = FIRST if not known else sum(known) * 2 // len(known)
            weights = FREQUENCIES[context]
            total -= math.log2(weights[int(levels[row, column])] / sum(weights))
    return total


@pytest.mark.parametrize("seed", range(3))
def test_a_level_costs_what_its_neighbours_leave_open(seed: int) -> None:
    rough = levels_of(30, 40, seed)
    smooth = (torch.arange(30)[:, None] + torch.arange(40)) // 16
    for levels in (rough, smooth):
        expected = bits(levels)
        assert expected <= 8 * len(encode_levels(levels)) <= expected * 1.003 + 64 + 32  # state and whole words
    assert len(encode_levels(smooth)) < 0.5 * len(encode_levels(rough))


def test_no_map_is_cheaper_than_the_least_cost() -> None:
    likeliest = max(max(row) / sum(row) for row in FREQUENCIES)
    assert least_bits() == pytest.approx(-math.log2(likeliest), rel=1e-3)


def test_damage_is_an_error_or_other_levels() -> None:
    levels = levels_of(16, 24)
    data = encode_levels(levels)
    changed = 0
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 0x55
        found = decode_levels(bytes(damaged), 16, 24)
        assert found.shape == (16, 24)
        assert 0 <= int(found.min()) <= int(found.max()) < LEVELS
        changed += not torch.equal(found, levels)
    assert changed > 0.9 * len(data)  # of the state not every bit matters
    for bad in (data[:4], data[:-1], b"\0" * 8):
        with pytest.raises(CodecError):
            decode_levels(bad, 16, 24)


def test_a_level_that_there_is_not_is_refused() -> None:
    levels = levels_of(3, 3)
    levels[1, 1] = LEVELS
    with pytest.raises(CorruptError, match="out of range"):
        decode_levels(encode_levels(levels), 3, 3)
