"""Relative position biases of the global context: Laplacian (the paper's), learned (Swin's), or none."""

import torch
from torch import Tensor, nn

from lightning_codec.entropy.config import BiasKind

AMPLITUDE_INIT = 1.5
NARROWEST_INIT = 0.5
EPSILON = 1e-6


def window_offsets(window: int) -> tuple[Tensor, Tensor]:
    """Row and column offsets (query minus key) of all pairs of sites of a window: two int64 [P^2, P^2]."""
    rows, columns = torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")
    rows, columns = rows.flatten(), columns.flatten()
    return rows[:, None] - rows[None, :], columns[:, None] - columns[None, :]


class LaplacianBias(nn.Module):
    """b(delta) = A^2 exp(-delta / (2 B^2)), delta the L1 distance in latent sites (paper; B^2 + 1e-6 for B = 0).

    A and B are learned per head; every layer of every channel group owns a module of its own. b lies in (0, A^2],
    halves every 2 ln 2 B^2 sites, and after the softmax the nearest key is preferred by at most a factor e^(A^2).

    Args:
        heads: n_h. B^2 starts geometric from 0.5 to P over the heads, A at 1.5 (A = 0 is a stationary point).
        window: P.
    """

    distance: Tensor

    def __init__(self, heads: int, window: int) -> None:
        super().__init__()
        rows, columns = window_offsets(window)
        self.register_buffer("distance", (rows.abs() + columns.abs()).float(), persistent=False)
        self.amplitude = nn.Parameter(torch.full((heads,), AMPLITUDE_INIT))
        exponents = torch.linspace(0.0, 1.0, heads) if heads > 1 else torch.tensor([0.5])
        squared_width = NARROWEST_INIT * (window / NARROWEST_INIT) ** exponents
        self.width = nn.Parameter(squared_width.sqrt())

    def forward(self) -> Tensor:
        """The bias of every head: [n_h, P^2, P^2]."""
        A2 = (self.amplitude**2)[:, None, None]
        B2 = (self.width**2 + EPSILON)[:, None, None]
        return A2 * torch.exp(-0.5 * self.distance / B2)


class LearnedBias(nn.Module):
    """A free value per head and offset: the (2P-1) x (2P-1) table of Swin (Liu et al., ICCV 2021), for comparison."""

    index: Tensor

    def __init__(self, heads: int, window: int) -> None:
        super().__init__()
        span = 2 * window - 1
        rows, columns = window_offsets(window)
        self.register_buffer("index", (rows + window - 1) * span + columns + window - 1, persistent=False)
        self.table = nn.Parameter(torch.zeros(heads, span * span))

    def forward(self) -> Tensor:
        """The bias of every head: [n_h, P^2, P^2]."""
        return self.table[:, self.index]


class NoBias(nn.Module):
    """No bias: attention does not know where its keys are."""

    def forward(self) -> Tensor:
        """A zero that broadcasts: [1, 1, 1]."""
        return torch.zeros(1, 1, 1)


def position_bias(kind: BiasKind, heads: int, window: int) -> nn.Module:
    """The bias module of one attention layer.

    Raises:
        ValueError: unknown kind.
    """
    if kind == "laplacian":
        return LaplacianBias(heads, window)
    if kind == "laplacian-shared":
        return LaplacianBias(1, window)
    if kind == "learned":
        return LearnedBias(heads, window)
    if kind == "none":
        return NoBias()
    raise ValueError(f"position_bias is {kind!r}: choose laplacian, laplacian-shared, learned or none")
