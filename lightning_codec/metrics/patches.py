"""Cutting pictures into patches, the samples of the distances between sets (HiFiC's rule; Mentzer et al., 2020)."""

import torch
from torch import Tensor


def patches(x: Tensor, size: int) -> Tensor:
    """Cut a picture into square patches that do not overlap, and a second time half a patch further in both axes.

    The first grid starts at the upper left corner; what is left over at the right and at the bottom is dropped. The
    second grid is cut where both sides have at least 1.5 patches. Kodak gives 192 patches of 256 pixels.

    Args:
        x: uint8 [3, H, W].
        size: pixels along a side of a patch.

    Returns:
        uint8 [n, 3, size, size], row by row, the first grid before the second; n is 0 where a side is too short.

    Raises:
        ValueError: another shape or dtype.
    """
    if x.dtype != torch.uint8 or x.dim() != 3 or x.shape[0] != 3:
        raise ValueError(f"patches are cut from uint8 [3, H, W], not from {x.dtype} {tuple(x.shape)}")
    if min(x.shape[1:]) < size:
        return x.new_empty(0, 3, size, size)
    grids = [_grid(x, size)]
    half = size // 2
    if min(x.shape[1:]) >= size + half:
        grids.append(_grid(x[:, half:, half:], size))
    return torch.cat(grids)


def _grid(x: Tensor, size: int) -> Tensor:
    cells = x.unfold(1, size, size).unfold(2, size, size)  # [3, rows, columns, size, size]
    return cells.permute(1, 2, 0, 3, 4).reshape(-1, 3, size, size)
