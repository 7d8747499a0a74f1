"""Levels of missing texture as a segment of a file: small integers that resemble their neighbours."""

from collections.abc import Iterator
from functools import cache

import numpy as np
import torch
from torch import Tensor

from lightning_codec.bitstream.errors import CorruptError
from lightning_codec.bitstream.rans import SymbolDecoder, SymbolEncoder
from lightning_codec.bitstream.tables import CdfTables, build_tables

# How often which level is found, in thousandths, by the sum of the levels to the left and above: of 60 pictures of
# BSDS500/train, coded at the three lowest rates that ship.
FREQUENCIES = (
    (773, 207, 16, 3, 1),
    (464, 492, 40, 4, 1),
    (147, 726, 112, 14, 2),
    (69, 524, 337, 63, 6),
    (38, 318, 466, 155, 22),
    (12, 170, 418, 319, 81),
    (8, 83, 269, 469, 171),
    (10, 26, 138, 410, 417),
    (3, 24, 60, 205, 708),
)
LEVELS = len(FREQUENCIES[0])
FIRST = 2  # the sum that the first one is coded with


def encode_levels(levels: Tensor) -> bytes:
    """Code levels diagonal by diagonal, so that a decoder knows the neighbours of all of a diagonal.

    Args:
        levels: int64 [h, w] in [0, LEVELS), h and w at least 1.
    """
    encoder = SymbolEncoder()
    for rows, columns in _diagonals(*levels.shape):
        encoder.put(levels[rows, columns].to(torch.int32), _sums(levels, rows, columns), _tables())
    return encoder.finish()


def decode_levels(data: bytes, height: int, width: int) -> Tensor:
    """Undo `encode_levels`: int64 [h, w].

    Raises:
        CodecError: not the levels of so many blocks.
    """
    decoder = SymbolDecoder(data, height * width)
    levels = torch.zeros(height, width, dtype=torch.int64)
    for rows, columns in _diagonals(height, width):
        symbols = decoder.get(_sums(levels, rows, columns), _tables())
        if not bool(((symbols >= 0) & (symbols < LEVELS)).all()):
            raise CorruptError("a level of texture is out of range: the file is damaged")
        levels[rows, columns] = symbols.long()
    return levels


def least_bits() -> float:
    """Cost of the cheapest level, above 0."""
    return _tables().least_bits


@cache
def _tables() -> CdfTables:
    return build_tables(
        [np.array(row, dtype=np.float64) for row in FREQUENCIES], [0.0] * len(FREQUENCIES), [0] * len(FREQUENCIES)
    )


def _diagonals(height: int, width: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows and columns of the blocks of each antidiagonal."""
    for total in range(height + width - 1):
        rows = torch.arange(max(0, total - width + 1), min(height, total + 1))
        yield rows, total - rows


def _sums(levels: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Of the levels to the left and above, int32; at the border one of them counts twice."""
    if len(rows) == 1 and int(rows) == int(columns) == 0:
        return torch.full((1,), FIRST, dtype=torch.int32)
    above = torch.where(rows > 0, levels[rows - 1, columns], levels[rows, columns - 1])
    left = torch.where(columns > 0, levels[rows, columns - 1], levels[rows - 1, columns])
    return (above + left).to(torch.int32)
