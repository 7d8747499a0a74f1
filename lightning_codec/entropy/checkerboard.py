"""The two-pass checkerboard: anchors (row + column even) are coded first, the other sites see them.

Half of the sites are handled as a packed tensor [B, C, h, w/2]: row i of it holds the columns of row i that belong to
the pass, from left to right. Its memory order is channel, row, column: the order in which symbols are coded.
"""

from enum import Enum

import torch
from torch import Tensor


class Sites(Enum):
    """Which sites of the latent grid a pass codes."""

    ALL = "all"
    ANCHOR = "anchor"
    NON_ANCHOR = "non_anchor"


def anchor_mask(height: int, width: int, device: torch.device | None = None) -> Tensor:
    """m_a: bool [height, width], true where row + column is even (paper, Fig. 2a)."""
    rows = torch.arange(height, device=device)[:, None]
    columns = torch.arange(width, device=device)[None, :]
    return (rows + columns) % 2 == 0


def gather(x: Tensor, sites: Sites) -> Tensor:
    """Pack the sites of one pass: [B, C, h, w] -> [B, C, h, w/2] (w even), or `x` itself for `Sites.ALL`."""
    if sites is Sites.ALL:
        return x
    even_rows, odd_rows = _offsets(sites)
    return torch.stack([x[..., 0::2, even_rows::2], x[..., 1::2, odd_rows::2]], dim=-2).flatten(-3, -2)


def scatter(packed: Tensor, sites: Sites) -> Tensor:
    """Undo `gather`: [B, C, h, w/2] -> [B, C, h, w] with zeros at the other sites."""
    if sites is Sites.ALL:
        return packed
    B, C, h, half = packed.shape
    zeros = torch.zeros_like(packed)
    # Column pairs: on even rows an anchor is the first of its pair, on odd rows the second.
    first = (torch.arange(h, device=packed.device) % 2 == _offsets(sites)[0])[:, None]
    pairs = torch.stack([torch.where(first, packed, zeros), torch.where(first, zeros, packed)], dim=-1)
    return pairs.reshape(B, C, h, 2 * half)


def _offsets(sites: Sites) -> tuple[int, int]:
    """First column of the pass in even rows and in odd rows."""
    return (0, 1) if sites is Sites.ANCHOR else (1, 0)
