"""Spectra against closed forms: waves, white noise, grids."""

import math

import pytest
import torch
from scipy import signal
from torch import Tensor

from lightning_codec.metrics.spectrum import (
    YCBCR,
    compare_spectra,
    flat_deviations,
    nyquist_peaks,
    power_spectrum,
    ring_power,
    ycbcr,
)


def noise(height: int, width: int, scale: float = 10.0, seed: int = 0) -> Tensor:
    return 128.0 + scale * torch.randn(height, width, generator=torch.Generator().manual_seed(seed)).double()


def picture(luma: Tensor) -> Tensor:
    """Grey, [3, H, W]."""
    return (luma / 255.0).clamp(0.0, 1.0).expand(3, -1, -1).float()


GRIDS = {
    "vertical": lambda y, x: (-1.0) ** y + 0.0 * x,
    "horizontal": lambda y, x: (-1.0) ** x + 0.0 * y,
    "diagonal": lambda y, x: (-1.0) ** (x + y),
}


def grid(name: str, height: int, width: int) -> Tensor:
    y, x = torch.arange(height)[:, None].double(), torch.arange(width).double()
    pattern: Tensor = GRIDS[name](y, x)
    return pattern


def test_luminance_and_colour_differences_are_those_of_bt601() -> None:
    colours = torch.eye(3)[None].movedim(1, -1)[..., None].reshape(1, 3, 3, 1)  # red, green, blue one below the other
    luma, blue, red = ycbcr(colours)[..., 0].tolist()
    assert luma == pytest.approx([76.245, 149.685, 29.07])
    # (B - Y) / 1.772 and (R - Y) / 1.402
    assert blue == pytest.approx([-76.245 / 1.772, -149.685 / 1.772, (255.0 - 29.07) / 1.772], abs=1e-3)
    assert red == pytest.approx([(255.0 - 76.245) / 1.402, -149.685 / 1.402, -29.07 / 1.402], abs=1e-3)


def test_the_spectrum_is_that_of_scipy() -> None:
    """Welch's method of scipy along rows of equal blocks, for a picture whose columns are all alike."""
    wave = noise(1, 320)[0]
    spectrum = power_spectrum(wave.expand(32, -1))
    _, expected = signal.welch(
        wave.numpy(), window="hann", nperseg=32, noverlap=16, detrend="constant", return_onesided=False
    )
    # Along the other side the window alone is seen: three bins, of which the middle one has two thirds of the power.
    row = spectrum.sum(0)
    assert torch.allclose(row / row.sum(), torch.from_numpy(expected / expected.sum()), rtol=1e-9, atol=1e-12)
    assert float(spectrum[0].sum() / spectrum.sum()) == pytest.approx(2 / 3, abs=1e-9)


def test_a_wave_lies_in_its_ring() -> None:
    x = torch.arange(512).double()
    for index in range(8):
        frequency = math.pi * (index + 0.5) / 8.0
        power = ring_power(power_spectrum(torch.cos(frequency * x).expand(64, -1)))
        assert int(power.argmax()) == index
        assert float(power[index] / power.sum()) > 0.8  # a wave is three bins wide, a ring two


def test_the_period_of_two_pixels_is_in_the_last_ring() -> None:
    for name in ("vertical", "horizontal"):
        spectrum = power_spectrum(grid(name, 64, 64))
        assert float(ring_power(spectrum)[7] / spectrum.sum()) > 0.6  # the rest leaks into the corners


def test_white_noise_fills_the_rings_by_their_areas_and_has_no_peaks() -> None:
    spectrum = sum(power_spectrum(noise(512, 512, seed=seed)) for seed in range(4))
    assert isinstance(spectrum, Tensor)
    power = ring_power(spectrum)
    areas = torch.arange(8) * 2.0 + 1.0
    assert torch.allclose(power[2:] / power[2:].sum(), (areas[2:] / areas[2:].sum()).double(), atol=0.03)
    assert list(nyquist_peaks(spectrum)) == pytest.approx([1.0, 1.0, 1.0], abs=0.2)


def test_power_along_the_axes_is_no_peak() -> None:
    """Rows and columns of any period, as in pictures of houses: there is less power beside the axes, but no grid."""
    rows, columns = noise(512, 1), noise(1, 512, seed=1)
    peaks = nyquist_peaks(power_spectrum(noise(512, 512, scale=1.0, seed=2) + rows + columns))
    assert list(peaks) == pytest.approx([1.0, 1.0, 1.0], abs=0.6)


@pytest.mark.parametrize("name", GRIDS)
def test_a_grid_is_a_peak_of_its_own_direction_only(name: str) -> None:
    original = noise(256, 384)
    peaks = nyquist_peaks(power_spectrum(original + 2.0 * grid(name, 256, 384)))._asdict()
    assert peaks.pop(name) > 10.0
    assert all(peak < 1.5 for peak in peaks.values())


def test_flat_regions_are_those_of_the_original() -> None:
    x = noise(160, 160, scale=20.0)
    x[:16] = noise(16, 160, scale=1.0, seed=1)  # ten flat blocks of a hundred
    x_hat = x.clone()
    x_hat[:16] = 128.0 + 3.0 * (x[:16] - 128.0)
    x_hat[16:32] = 128.0  # flat only in the decoded picture
    decoded, original = flat_deviations(x_hat, x)
    assert decoded == pytest.approx(3.0 * original, rel=1e-9)
    assert original == pytest.approx(1.0, abs=0.05)


def test_a_set_is_compared_by_the_sum_of_its_powers() -> None:
    loud, quiet = picture(noise(96, 96, 30.0)), picture(noise(64, 128, 3.0, seed=1))
    same = compare_spectra([(loud, loud), (quiet, quiet)])
    assert same.rings == pytest.approx([1.0] * 8)
    assert same.colour_rings is None
    assert same.peaks == same.peaks_of_originals
    assert same.flat == same.flat_of_originals
    half = compare_spectra([(0.25 + 0.5 * loud, loud), (quiet, quiet)])
    assert half.rings == pytest.approx([0.25] * 8, abs=0.02)  # the loud picture decides
    assert half.peaks_of_originals == same.peaks_of_originals


def test_both_colour_differences_are_compared_beside_the_luminance() -> None:
    """Of white noise, blue doubled and red tripled: 4 times and 9 times the power, each by its share."""
    original = 0.5 + 0.03 * torch.randn(3, 96, 96, generator=torch.Generator().manual_seed(2)).clamp(-4.0, 4.0)
    matrix = torch.tensor(YCBCR, dtype=torch.float64)
    scaled = torch.linalg.inv(matrix) @ torch.diag(torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)) @ matrix
    changed = torch.einsum("dc,chw->dhw", scaled, original.double() - 0.5).float() + 0.5
    spectra = compare_spectra([(changed, original)])
    assert spectra.rings == pytest.approx([1.0] * 8, abs=1e-3)
    blue, red = matrix.square().sum(1)[1:].tolist()
    assert spectra.colour_rings == pytest.approx([(4.0 * blue + 9.0 * red) / (blue + red)] * 8, rel=0.1)
    assert compare_spectra([(original, picture(noise(96, 96)))]).colour_rings is None


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([], "at least one picture"),
        ([(torch.rand(3, 31, 64), torch.rand(3, 31, 64))], "at least 32 pixels, not 64x31"),
        ([(torch.rand(3, 64, 64), 2.0 * torch.rand(3, 64, 64) + 1.0)], r"x must have values in \[0, 1\]"),
    ],
)
def test_what_cannot_be_measured_is_refused(pairs, message) -> None:
    with pytest.raises(ValueError, match=message):
        compare_spectra(pairs)
