"""The DCT against scipy and closed forms."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.fft import dctn
from torch import Tensor

from lightning_codec.diffusion import dct
from lightning_codec.diffusion.dct import dct2, dct_matrix, frequencies, idct2

SIZES = [(48, 80), (7, 10), (10, 7), (5, 3), (1, 4), (1, 1)]
TOLERANCE = {torch.float64: 1e-12, torch.float32: 5e-6}


def image(height: int, width: int, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(2, 3, height, width, generator=generator, dtype=torch.float64).to(dtype) * 2 - 1


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("size", [1, 8, 15, 48, 256, 768])
def test_the_matrix_is_orthonormal(size: int, dtype: torch.dtype) -> None:
    matrix = dct_matrix(size, torch.empty(0, dtype=dtype))
    assert matrix.dtype == dtype
    error = matrix @ matrix.T - torch.eye(size, dtype=dtype)
    assert error.abs().max() <= TOLERANCE[dtype]


@pytest.fixture
def matrices(monkeypatch: pytest.MonkeyPatch) -> None:
    """The products of matrices where scipy would do, as on a GPU."""
    monkeypatch.setattr(dct, "_plain", lambda x: False)


@pytest.mark.usefixtures("matrices")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_it_is_scipys_orthonormal_dct_and_its_inverse_inverts_it(height: int, width: int, dtype: torch.dtype) -> None:
    x = image(height, width, dtype)
    u = dct2(x)
    assert u.dtype == dtype
    expected = dctn(x.double().numpy(), axes=(-2, -1), norm="ortho")
    assert np.abs(u.double().numpy() - expected).max() <= 10 * TOLERANCE[dtype]
    assert (idct2(u) - x).abs().max() <= TOLERANCE[dtype]
    assert float(u.square().sum()) == pytest.approx(float(x.square().sum()), rel=TOLERANCE[dtype])


def test_with_and_without_a_gradient_it_is_the_same_transform() -> None:
    x = image(48, 80)[None].mT  # not contiguous
    followed = x.clone().requires_grad_()
    for transform in (dct2, idct2):
        plain, with_gradient = transform(x), transform(followed)
        assert with_gradient.requires_grad
        assert torch.allclose(plain, with_gradient, rtol=0, atol=1e-12)
        assert transform(x.float()).dtype == torch.float32


@pytest.mark.usefixtures("matrices")
def test_the_round_trip_of_a_whole_picture_keeps_eight_bits_and_many_more() -> None:
    x = image(512, 768, torch.float32)[:1]
    assert (idct2(dct2(x)) - x).abs().max() <= 5e-6


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_a_constant_is_its_first_coefficient(height: int, width: int) -> None:
    u = dct2(torch.full((1, height, width), 0.7, dtype=torch.float64))
    expected = torch.zeros_like(u)
    expected[0, 0, 0] = 0.7 * math.sqrt(height * width)
    assert torch.allclose(u, expected, rtol=0, atol=1e-13)


def test_every_coefficient_sits_at_its_frequency() -> None:
    """A cosine of omega = pi k / N along one axis is the coefficient (k_y, k_x) that `frequencies` calls omega^2."""
    rows = torch.arange(12, dtype=torch.float64)[:, None]
    columns = torch.arange(16, dtype=torch.float64)[None, :]
    u = dct2(torch.cos(math.pi * 5 / 12 * (rows + 0.5)) * torch.cos(math.pi * 2 / 16 * (columns + 0.5)))
    assert divmod(int(u.abs().argmax()), 16) == (5, 2)
    assert float(u[5, 2]) == pytest.approx(math.sqrt(12 * 16) / 2)
    lam = frequencies(12, 16, u).squared
    assert float(lam[5, 2]) == pytest.approx((math.pi * 5 / 12) ** 2 + (math.pi * 2 / 16) ** 2, rel=1e-14)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_frequencies_run_from_zero_to_below_pi(height: int, width: int) -> None:
    lam = frequencies(height, width, torch.empty(0, dtype=torch.float64))
    assert lam.squared.shape == (height, width)
    assert lam.squared[0, 0] == 0.0
    assert lam.squared.max() < 2 * math.pi**2
    assert torch.equal(lam.squared, frequencies(width, height, lam.rows).squared.T)
    assert frequencies(height, width, torch.empty(0)).squared.dtype == torch.float32


def test_the_same_detail_has_the_same_frequency_in_any_size() -> None:
    like = torch.empty(0, dtype=torch.float64)
    small, large = frequencies(256, 256, like).squared, frequencies(512, 768, like).squared
    assert torch.allclose(small, large[::2, ::3], rtol=1e-14, atol=0)


@pytest.mark.usefixtures("matrices")
@pytest.mark.parametrize("transform", [dct2, idct2])
def test_autocast_does_not_lower_the_precision(transform: Callable[[Tensor], Tensor]) -> None:
    x = image(26, 13, torch.float32)
    expected = transform(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.matmul(x, x.mT).dtype == torch.bfloat16  # it is on
        actual = transform(x)
    assert actual.dtype == torch.float32
    assert torch.equal(actual, expected)


@pytest.mark.usefixtures("matrices")
@pytest.mark.parametrize(("height", "width"), [(34, 31), (33, 38)])  # sizes that no other test caches
def test_a_training_step_can_follow_inference(height: int, width: int) -> None:
    """Matrices cached by a validation pass must be usable in the backward pass; Parseval's gradient is 2 x."""
    x = image(height, width)
    with torch.inference_mode():
        idct2(dct2(x))
    x.requires_grad_()
    dct2(x).square().sum().backward()
    assert x.grad is not None
    assert torch.allclose(x.grad, 2 * x, atol=1e-12)
    u = x.detach().requires_grad_()
    idct2(u).square().sum().backward()
    assert u.grad is not None
    assert torch.allclose(u.grad, 2 * u, atol=1e-12)
