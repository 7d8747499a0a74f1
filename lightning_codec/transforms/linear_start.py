"""A start for g_a and g_s: the linear transform coder that they can become by themselves, slowly."""

import torch
from torch import Tensor, nn

from lightning_codec.transforms.analysis import AnalysisTransform
from lightning_codec.transforms.layers import ResUnit
from lightning_codec.transforms.synthesis import SynthesisLadder

NEIGHBOUR_CORRELATION = 0.9
"""Of neighbouring pixels, in the usual first-order Markov model of pictures."""
COLOUR_CORRELATION = ((1.0, 0.99, 0.98), (0.99, 1.0, 0.99), (0.98, 0.99, 1.0))
"""Between R, G and B: that of details, which is closer than that of whole pictures."""


@torch.no_grad()
def start_linearly(g_a: AnalysisTransform, g_s: SynthesisLadder, step: float) -> None:
    """Give both transforms weights by which they are orthonormal, linear and each other's inverse, as far as M goes.

    Every stage takes the principal components of blocks of 2x2 sites, of a separable Markov model of photographs. The
    first latent channels have the most variance, as uneven channel groups expect. Residual units begin as identities.
    Channels for which there is no component keep the random weights that they have, and nothing reads them yet.

    Args:
        g_a: with at least one residual unit a stage, which means without activations in between.
        g_s: with the same widths.
        step: of the quantiser, for pixels in [0, 1]: y is in units of it.

    Raises:
        ValueError: g_a has no residual units.
    """
    down = [layer for layer in g_a.body if isinstance(layer, nn.Conv2d)]
    up = [layer for rung in g_s.rungs[::-1] for layer in rung.children() if isinstance(layer, nn.ConvTranspose2d)]
    if any(isinstance(layer, nn.GELU) for layer in g_a.body):
        raise ValueError("a linear start needs residual units between the convolutions of g_a: set analysis_units")
    for module in (*g_a.modules(), *g_s.modules()):
        if isinstance(module, ResUnit):
            for parameter in module.body[-1].parameters():
                parameter.zero_()
    components = principal_components(tuple(layer.out_channels for layer in down))
    for basis, conv, transposed in zip(components, down, up, strict=True):
        n_out, _, n_in = basis.shape
        blocks = basis.reshape(n_out, 2, 2, n_in).permute(0, 3, 1, 2)  # [n_out, n_in, row, column]
        assert conv.bias is not None
        assert transposed.bias is not None
        conv.weight[:n_out] = 0.0
        conv.weight[:, n_in:] = 0.0
        conv.weight[:n_out, :n_in, 2:4, 2:4] = blocks  # taps 2 and 3 of a kernel with padding 2 are the site's block
        transposed.weight[:, :n_in] = 0.0
        transposed.weight[n_out:] = 0.0
        transposed.weight[:n_out, :n_in, 1:3, 1:3] = blocks
        conv.bias.zero_()
        transposed.bias.zero_()
    down[-1].weight.div_(step)
    up[-1].weight.mul_(step)


def principal_components(widths: tuple[int, ...]) -> list[Tensor]:
    """The stages of an orthonormal transform, each of 2x2 sites: [n_s, 4, n_(s-1)], n_0 = 3, the rows orthonormal.

    Args:
        widths: the most components that each stage may keep.
    """
    stages = []
    reached = torch.eye(3, dtype=torch.float64)[:, None, None, :]  # component, row, column, colour
    for width in widths:
        count, side = len(reached), reached.shape[1]
        block = torch.zeros(2, 2, count, 2 * side, 2 * side, 3, dtype=torch.float64)
        for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
            block[row, column, :, row * side : (row + 1) * side, column * side : (column + 1) * side] = reached
        block = block.flatten(0, 2)
        kept = _leading(_covariance(block), min(width, len(block)))
        stages.append(kept.reshape(len(kept), 4, count).float())
        reached = torch.tensordot(kept, block, dims=1)
    return stages


def _covariance(patches: Tensor) -> Tensor:
    """Of linear measurements [n, side, side, 3] under the model: [n, n]."""
    side = torch.arange(patches.shape[1], dtype=torch.float64)
    along = NEIGHBOUR_CORRELATION ** (side[:, None] - side[None, :]).abs()
    colour = torch.tensor(COLOUR_CORRELATION, dtype=torch.float64)
    seen = torch.einsum("nrck,rs,cd,kl->nsdl", patches, along, along, colour)
    covariance: Tensor = seen.flatten(1) @ patches.flatten(1).T
    return covariance


def _leading(covariance: Tensor, count: int) -> Tensor:
    """The eigenvectors of the largest eigenvalues, as rows, with the sign that makes their sum positive."""
    vectors: Tensor = torch.linalg.eigh(covariance).eigenvectors.flip(1).T[:count]
    return vectors * torch.where(vectors.sum(dim=1, keepdim=True) < 0, -1.0, 1.0)
