"""Likelihoods, rounding, scale table: against float64 and scipy."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm

from lightning_codec.entropy import GaussianParams, gaussian_pmfs, scale_index
from lightning_codec.entropy.gaussian import GaussianLikelihood, scale_table
from lightning_codec.entropy.quantization import ste_round


def likelihood(k: torch.Tensor, mean: float, sigma: float) -> torch.Tensor:
    full = torch.full_like(k, mean)
    result: torch.Tensor = GaussianLikelihood()(k + full, GaussianParams(full, torch.full_like(k, math.log(sigma))))
    return result


@pytest.mark.parametrize("sigma", [0.11, 0.4, 1.0, 7.0, 50.0])
@pytest.mark.parametrize("mean", [0.0, 0.37, -12.6])
def test_likelihood_is_the_difference_of_normal_cdfs(sigma: float, mean: float) -> None:
    k = torch.arange(-5.0, 6.0)
    expected = norm.cdf((k.numpy() + 0.5) / sigma) - norm.cdf((k.numpy() - 0.5) / sigma)
    assert np.allclose(likelihood(k, mean, sigma).numpy(), np.maximum(expected, 1e-9), rtol=2e-4, atol=1e-7)


@pytest.mark.parametrize("sigma", [0.11, 1.0, 50.0])
def test_likelihoods_of_the_integers_sum_to_one_and_are_symmetric(sigma: float) -> None:
    k = torch.arange(-400.0, 401.0)
    p = likelihood(k, 0.0, sigma).double()
    assert float(p[p > 1e-9].sum()) == pytest.approx(1.0, abs=1e-6)
    assert torch.equal(p, p.flip(0))


def test_scales_outside_the_table_are_bounded_and_their_gradient_leads_back() -> None:
    log_scale = torch.tensor([-9.0, 9.0], requires_grad=True)
    mean = torch.zeros(2)
    p = GaussianLikelihood()(torch.tensor([1.0, 3.0]), GaussianParams(mean, log_scale))
    assert p[1].item() == pytest.approx(norm.cdf(3.5 / 256) - norm.cdf(2.5 / 256), rel=1e-3)
    (-p.log().sum()).backward()
    assert log_scale.grad is not None
    assert log_scale.grad[0] < 0  # too narrow for a symbol of 1: descending widens it


def test_straight_through_rounding() -> None:
    y = torch.linspace(-3.2, 3.4, 50, requires_grad=True)
    mean = torch.linspace(-1.1, 0.9, 50, requires_grad=True)
    y_hat = ste_round(y, mean)
    assert torch.equal(y_hat, torch.round(y - mean) + mean)
    assert (y_hat - y).abs().max() <= 0.5 + 1e-6
    y_hat.sum().backward()
    assert y.grad is not None
    assert torch.equal(y.grad, torch.ones(50))
    assert mean.grad is None or mean.grad.abs().max() == 0


def test_scale_index_is_the_nearest_level_in_log_sigma() -> None:
    log_sigma = torch.linspace(math.log(0.05), math.log(500.0), 5000, dtype=torch.float64)
    distance = np.abs(np.log(scale_table())[None, :] - log_sigma.numpy()[:, None])
    chosen = np.take_along_axis(distance, scale_index(log_sigma).numpy()[:, None].astype(int), axis=1)[:, 0]
    assert np.allclose(chosen, distance.min(axis=1), atol=1e-12)
    assert len(scale_table()) == 128
    assert scale_table()[[0, -1]] == pytest.approx([0.11, 256.0])


def test_the_scale_table_costs_less_than_two_permille_at_small_scales() -> None:
    sigmas = np.exp(np.linspace(math.log(0.11), math.log(0.2), 400))
    k = np.arange(-6, 7)
    ideal, coded = 0.0, 0.0
    for sigma in sigmas:
        p = norm.cdf((k + 0.5) / sigma) - norm.cdf((k - 0.5) / sigma)
        table = scale_table()[int(scale_index(torch.tensor(math.log(sigma), dtype=torch.float64)))]
        q = norm.cdf((k + 0.5) / table) - norm.cdf((k - 0.5) / table)
        ideal += -(p * np.log2(np.maximum(p, 1e-300))).sum()
        coded += -(p * np.log2(np.maximum(q, 1e-300))).sum()
    assert 1.0 < coded / ideal < 1.002


def test_pmfs_hold_all_but_the_stated_tail() -> None:
    pmfs = gaussian_pmfs()
    assert len(pmfs) == 128
    for pmf, sigma in zip(pmfs, scale_table(), strict=True):
        assert pmf.probabilities.sum() + pmf.tail == pytest.approx(1.0, abs=1e-12)
        assert pmf.tail <= 2.0**-17
        k0 = -pmf.offset
        assert len(pmf.probabilities) == 2 * k0 + 1
        assert pmf.probabilities[k0] == pytest.approx(2 * norm.cdf(0.5 / sigma) - 1, rel=1e-12)
