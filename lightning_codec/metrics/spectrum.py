"""Power spectra of decoded pictures against their originals: missing detail, grids, grain in flat regions.

A learned distance can be pleased by grain, or by a grid that nobody would accept in a picture. These numbers are not.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_codec.images import LUMA
from lightning_codec.metrics.contract import check_images
from lightning_codec.metrics.protocol import Protocol

BLOCK = 32
RINGS = 8
FLAT_BLOCK = 16
FLAT_SHARE = 0.1
GREY = 1e-12  # power below which there is no colour but rounding
_GUARD = 3  # bins at which the window has let go of a peak
# Luminance, blue and red difference of BT.601.
YCBCR = (LUMA, (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))

SPECTRUM_PROTOCOL = Protocol(
    "spectrum-ycbcr8-v3",
    f"luminance (BT.601) of 8-bit pictures; mean periodogram of {BLOCK}x{BLOCK} blocks, half overlapping, mean "
    "removed, Hann window, summed over the set; rings of equal width up to the Nyquist frequency, over the originals'; "
    "colour: the same of the sum of both colour differences (BT.601); "
    f"peaks: the period of two pixels over the mean of the bins at distance {_GUARD} along its own axis, for the "
    "checkerboard along both; flat: mean standard deviation of "
    f"the {FLAT_BLOCK}x{FLAT_BLOCK} blocks that are the flattest tenth of the original",
)


class Peaks(NamedTuple):
    """Power at the period of two pixels, over that of its neighbours."""

    vertical: float
    """Rows that alternate."""
    horizontal: float
    """Columns that alternate."""
    diagonal: float
    """A checkerboard."""


class Spectra(NamedTuple):
    """What the pictures of a set have in common with their originals."""

    rings: tuple[float, ...]
    """Power of the luminance over that of the originals, from the lowest frequencies to the Nyquist frequency."""
    colour_rings: tuple[float, ...] | None
    """That of the colour differences; None where the originals lack colour at some frequency."""
    peaks: Peaks
    peaks_of_originals: Peaks
    flat: float
    """Mean standard deviation, in grey levels, where the originals are flattest."""
    flat_of_originals: float


def ycbcr(image: Tensor) -> Tensor:
    """[1, 3, H, W] in [0, 1] to float64 [3, H, W]: luminance in 0 .. 255, colour differences in -127.5 .. 127.5."""
    matrix = torch.tensor(YCBCR, dtype=torch.float64, device=image.device)
    return torch.einsum("dc,chw->dhw", matrix, 255.0 * image[0].double())


def power_spectrum(luma: Tensor) -> Tensor:
    """Mean periodogram of a picture's blocks (Welch, 1967).

    Args:
        luma: [H, W], H and W at least 32.

    Returns:
        float64 [32, 32]; frequency k along each side is k / 32 periods a pixel, the period of two pixels is at 16.
    """
    blocks = luma.double().unfold(0, BLOCK, BLOCK // 2).unfold(1, BLOCK, BLOCK // 2)
    blocks = blocks - blocks.mean((-2, -1), keepdim=True)
    window = torch.hann_window(BLOCK, periodic=True, dtype=torch.float64, device=luma.device)
    spectra = torch.fft.fft2(blocks * window[:, None] * window).abs().square()
    spectrum: Tensor = spectra.mean((0, 1)) / window.square().sum() ** 2
    return spectrum


def ring_power(spectrum: Tensor) -> Tensor:
    """Sum of a spectrum [32, 32] over rings of equal width up to the Nyquist frequency: float64 [8].

    What lies beyond it, in the corners, is left out.
    """
    frequency = torch.fft.fftfreq(BLOCK, dtype=torch.float64, device=spectrum.device)
    radius = 2.0 * torch.hypot(frequency[:, None], frequency)
    ring = (radius * RINGS).ceil().long() - 1
    ring[0, 0] = 0
    return torch.stack([spectrum[ring == index].sum() for index in range(RINGS)])


def nyquist_peaks(spectrum: Tensor) -> Peaks:
    """How far the period of two pixels stands out of a spectrum [32, 32]: at most 1 where it does not."""
    half = BLOCK // 2

    def peak(y: int, x: int) -> float:
        # Along the axes only: the power of most pictures lies there, and less of it beside them.
        around = [spectrum[(y + sign * _GUARD) % BLOCK, x] for sign in (-1, 1) if y == half]
        around += [spectrum[y, (x + sign * _GUARD) % BLOCK] for sign in (-1, 1) if x == half]
        return float(spectrum[y, x] / torch.stack(around).mean())

    return Peaks(peak(half, 0), peak(0, half), peak(half, half))


def flat_deviations(x_hat: Tensor, x: Tensor) -> tuple[float, float]:
    """Mean standard deviation where the original is flattest, of a picture and of the original, in grey levels.

    Args:
        x_hat: luminance of the decoded picture, [H, W] in 0 .. 255.
        x: that of the original.
    """
    deviations = [
        y.unfold(0, FLAT_BLOCK, FLAT_BLOCK).unfold(1, FLAT_BLOCK, FLAT_BLOCK).std((-2, -1), correction=0).flatten()
        for y in (x_hat, x)
    ]
    count = max(1, int(FLAT_SHARE * len(deviations[1])))
    flattest = deviations[1].topk(count, largest=False).indices
    decoded, original = (float(deviation[flattest].mean()) for deviation in deviations)
    return decoded, original


def compare_spectra(pairs: Iterable[tuple[Tensor, Tensor]]) -> Spectra:
    """The spectra of a set: power is summed over the pictures, flat regions are averaged over them.

    Args:
        pairs: decoded picture and original, each [3, H, W] or [1, 3, H, W] in [0, 1], as they are in an 8-bit file.

    Raises:
        ValueError: no pair, a side below 32 pixels, or pictures that break the image contract.
    """
    spectra = torch.zeros(2, 3, BLOCK, BLOCK, dtype=torch.float64)
    flats = []
    for pair in pairs:
        decoded, original = (ycbcr(image) for image in check_images(*pair))
        height, width = decoded.shape[1:]
        if min(height, width) < BLOCK:
            raise ValueError(f"spectra need sides of at least {BLOCK} pixels, not {width}x{height}")
        both = torch.stack([power_spectrum(component) for component in (*decoded, *original)])
        spectra += both.reshape(spectra.shape).cpu()
        flats.append(flat_deviations(decoded[0], original[0]))
    if not flats:
        raise ValueError("spectra need at least one picture")
    luma, colour = spectra[:, 0], spectra[:, 1:].sum(1)
    rings = ring_power(luma[0]) / ring_power(luma[1])
    there, wanted = ring_power(colour[0]), ring_power(colour[1])
    flat, flat_of_originals = (math.fsum(column) / len(flats) for column in zip(*flats, strict=True))
    return Spectra(
        tuple(rings.tolist()),
        tuple((there / wanted).tolist()) if bool((wanted > GREY).all()) else None,
        nyquist_peaks(luma[0]),
        nyquist_peaks(luma[1]),
        flat,
        flat_of_originals,
    )
