"""A start for g_a and g_s: the linear transform coder that they can become by themselves, slowly."""

import math

import torch
from torch import Tensor, nn

from lightning_codec.transforms.analysis import AnalysisTransform
from lightning_codec.transforms.layers import ResUnit
from lightning_codec.transforms.synthesis import SynthesisLadder

NEIGHBOUR_CORRELATION = 0.9
"""Of neighbouring pixels, in the usual first-order Markov model of pictures."""
COLOUR_CORRELATION = ((1.0, 0.99, 0.98), (0.99, 1.0, 0.99), (0.98, 0.99, 1.0))
"""Between R, G and B: that of details, which is closer than that of whole pictures."""


# The orthonormal scaling filter of four taps of Daubechies, and its wavelet: neighbouring blocks overlap, so that there
# are none to be seen. Four taps are what both kinds of kernel have room for.
_ROOT = math.sqrt(3.0)
SCALING = tuple(tap / (4.0 * math.sqrt(2.0)) for tap in (1 + _ROOT, 3 + _ROOT, 3 - _ROOT, 1 - _ROOT))
WAVELET = (SCALING[3], -SCALING[2], SCALING[1], -SCALING[0])


def quantizer_step(lmbda: float) -> float:
    """The step of a uniform quantiser of orthonormal coefficients, of pixels in [0, 1], that `lmbda` calls for.

    At high rates a coefficient of distortion d, the mean over the three colours being d / 3, costs bits that change
    with d by -1 / (2 ln 2 d), and d = step^2 / 12. The minimum of bpp + lmbda 255^2 MSE is at
    step^2 = 18 / (ln 2 * 255^2 lmbda).
    """
    return math.sqrt(18.0 / (math.log(2.0) * 255.0**2 * lmbda))


@torch.no_grad()
def start_linearly(g_a: AnalysisTransform, g_s: SynthesisLadder, step: float) -> None:
    """Give both transforms weights by which they are orthonormal, linear and each other's inverse, as far as M goes.

    Every stage is a step of the wavelet transform with the filters of Daubechies, and takes the principal components of
    the four bands of all channels, of a separable Markov model of photographs. The first latent channels have the most
    variance, as uneven channel groups expect. Residual units begin as identities. Channels for which there is no
    component keep the random weights that they have, and nothing reads them yet. At the borders of a picture the
    zero padding of the convolutions takes a part of it away.

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
    kernels = principal_components(tuple(layer.out_channels for layer in down))
    for kernel, conv, transposed in zip(kernels, down, up, strict=True):
        n_out, n_in = kernel.shape[:2]
        assert conv.bias is not None
        assert transposed.bias is not None
        conv.weight[:n_out] = 0.0
        conv.weight[:, n_in:] = 0.0
        conv.weight[:n_out, :n_in, 1:5, 1:5] = kernel  # of the five taps the last four, where the other kernel's lie
        transposed.weight[:, :n_in] = 0.0
        transposed.weight[n_out:] = 0.0
        transposed.weight[:n_out, :n_in] = kernel
        conv.bias.zero_()
        transposed.bias.zero_()
    down[-1].weight.div_(step)
    up[-1].weight.mul_(step)


def principal_components(widths: tuple[int, ...]) -> list[Tensor]:
    """The kernels of the stages of an orthonormal transform: [n_s, n_(s-1), 4, 4], of stride 2, n_0 = 3.

    Args:
        widths: the most components that each stage may keep.
    """
    filters = torch.tensor((SCALING, WAVELET), dtype=torch.float64)
    bands = torch.einsum("ar,bc->abrc", filters, filters).flatten(0, 1)  # [4, row, column]
    kernels = []
    reached = torch.eye(3, dtype=torch.float64)[:, None, None, :]  # component, row, column, colour
    for stage, width in enumerate(widths):
        count, side = reached.shape[:2]
        stride = 2**stage  # of the components in pixels
        extent = side + 3 * stride
        measured = torch.zeros(4, count, extent, extent, 3, dtype=torch.float64)
        for row in range(4):
            for column in range(4):
                rows = slice(row * stride, row * stride + side)
                columns = slice(column * stride, column * stride + side)
                measured[:, :, rows, columns] += bands[:, row, column, None, None, None, None] * reached
        measured = measured.flatten(0, 1)
        kept = _leading(_covariance(measured), min(width, len(measured)))
        kernels.append(torch.einsum("obn,brc->onrc", kept.reshape(len(kept), 4, count), bands).float())
        reached = torch.tensordot(kept, measured, dims=1)
    return kernels


def _covariance(patches: Tensor) -> Tensor:
    """Of linear measurements [n, side, side, 3] of pixels under the model: [n, n]."""
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
