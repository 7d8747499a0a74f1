"""Decoding a large picture in overlapping tiles: where they lie and how they are put together."""

import math
from typing import NamedTuple

import torch
from torch import Tensor


class Tile(NamedTuple):
    """A rectangle of the picture, and how much it counts there: row_weights * column_weights."""

    rows: range
    columns: range
    row_weights: Tensor
    """[len(rows), 1] in [0, 1]"""
    column_weights: Tensor
    """[len(columns)] in [0, 1]; over all tiles, the products add up to 1 at every pixel"""


def cover(height: int, width: int, pixels: int, unit: int, overlap: int) -> list[Tile]:
    """Cover a picture with tiles of at most `pixels` pixels; a single one where that is enough.

    In the outer quarter of an overlap, where a tile knows least of what lies beyond its edge, its weight is 0; in the
    half between it rises linearly, as that of its neighbour falls.

    Args:
        height: of the picture.
        width: of the picture.
        pixels: of one tile, at least `smallest_tile(overlap)`.
        unit: tiles begin at its multiples.
        overlap: of neighbours, in pixels, one to eight times `unit`.

    Returns:
        Row by row.
    """
    rows, columns = _size(height, width, pixels, unit)
    return [
        Tile(y, x, y_weights[:, None], x_weights)
        for y, y_weights in _spans(height, rows, unit, overlap)
        for x, x_weights in _spans(width, columns, unit, overlap)
    ]


def smallest_tile(overlap: int) -> int:
    """Pixels of the smallest tile: its two overlaps along a side fill it."""
    return (2 * overlap) ** 2


def _size(height: int, width: int, pixels: int, unit: int) -> tuple[int, int]:
    """Rows and columns of the largest tile, as square as the picture allows."""
    rows = min(height, math.isqrt(pixels) // unit * unit)
    columns = min(width, pixels // rows // unit * unit)
    return max(rows, min(height, pixels // columns // unit * unit)), columns


def _spans(length: int, size: int, unit: int, overlap: int) -> list[tuple[range, Tensor]]:
    """Cover 0 .. length - 1 with ranges of at most `size`, each with its weights."""
    if size >= length:
        return [(range(length), torch.ones(length))]
    count = math.ceil((length - overlap) / (size - overlap))
    step = math.ceil((length - overlap) / count / unit) * unit  # tiles alike, rather than a small one at the end
    rise = (2.0 * (torch.arange(overlap) + 0.5) / overlap - 0.5).clamp(0.0, 1.0)
    spans = []
    for begin in range(0, length - overlap, step):
        span = range(begin, min(begin + step + overlap, length))
        weights = torch.ones(len(span))
        if span.start > 0:
            weights[:overlap] = rise
        if span.stop < length:
            weights[-overlap:] = 1.0 - rise
        spans.append((span, weights))
    return spans
