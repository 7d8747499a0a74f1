"""Several rates by one network: what they share, what they do not, and that each is a plain network."""

from dataclasses import replace

import pytest
import torch

from lightning_codec.model import CompressionModel
from lightning_codec.multirate import RateWeights
from tests.tiny import TINY_NETWORK, tiny_compression_model, uniform

NETWORK = replace(TINY_NETWORK, latent_residual_prediction=False)
LMBDAS = [0.001, 0.01, 0.1]


def pair() -> tuple[CompressionModel, RateWeights]:
    torch.manual_seed(0)
    model = CompressionModel(NETWORK)
    return model, RateWeights(model, LMBDAS)


def scrambled(rates: RateWeights) -> None:
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in rates.parameters():
            parameter.mul_(1.0 + 0.2 * torch.rand(parameter.shape, generator=generator))


def test_all_rates_begin_as_the_same_transforms_with_other_steps() -> None:
    model, rates = pair()
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        y = model.g_a(x)
        for rate, gain in enumerate((0.1**0.5, 1.0, 10.0**0.5)):
            network = rates.network(model, rate)
            assert torch.allclose(network.g_a(x), gain * y, rtol=1e-4, atol=1e-5)
            assert torch.allclose(network.g_s(gain * y).c0, model.g_s(y).c0, atol=1e-5)


def test_the_network_of_a_rate_computes_what_training_computes() -> None:
    model, rates = pair()
    scrambled(rates)
    x = torch.rand(2, 3, 64, 64)
    noise = model.rate_noise(x, uniform)
    with torch.no_grad():
        for rate in range(3):
            trained, plain = rates(model, rate, x, noise), rates.network(model, rate)(x, noise)
            assert torch.equal(trained.x_hat, plain.x_hat)
            assert torch.equal(trained.y_likelihoods, plain.y_likelihoods)
            assert torch.equal(trained.z_likelihoods, plain.z_likelihoods)
        assert not torch.allclose(rates(model, 0, x, noise).x_hat, rates(model, 2, x, noise).x_hat)


def test_a_bias_that_all_groups_share_is_that_of_the_rate_in_every_one() -> None:
    torch.manual_seed(0)
    entropy = replace(NETWORK.entropy, position_bias="laplacian-shared")
    model = CompressionModel(replace(NETWORK, entropy=entropy))
    rates = RateWeights(model, LMBDAS)
    scrambled(rates)
    x = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        expected = rates(model, 2, x)
        assert torch.equal(rates.network(model, 2)(x).y_likelihoods, expected.y_likelihoods)
        (amplitude,) = (p for name, p in rates.own.items() if name.endswith("bias/amplitude"))
        amplitude[2] *= 50.0
        assert not torch.equal(rates.network(model, 2)(x).y_likelihoods, expected.y_likelihoods)


def test_kernels_are_shared_and_what_is_not_learns_for_its_rate_alone() -> None:
    model, rates = pair()
    scrambled(rates)
    x = torch.rand(2, 3, 64, 64)
    output = rates(model, 1, x)
    loss = output.x_hat.square().mean() - output.y_likelihoods.log().mean() - output.z_likelihoods.log().mean()
    loss.backward()
    for name, parameter in rates.named_parameters():
        assert parameter.grad is not None, name
        assert not bool(parameter.grad[[0, 2]].any()), name
    touched = sum(bool(p.grad[1].any()) for p in rates.parameters() if p.grad is not None)
    assert touched > 0.9 * len(list(rates.parameters()))
    kernels = {name for name, p in model.named_parameters() if p.ndim > 1 and not name.startswith("entropy.prior.")}
    assert {name for name, p in model.named_parameters() if p.requires_grad} == kernels
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


def test_latent_residual_prediction_and_no_rates_are_refused() -> None:
    with pytest.raises(ValueError, match="latent_residual_prediction"):
        RateWeights(tiny_compression_model(), LMBDAS)
    with pytest.raises(ValueError, match="at least one"):
        RateWeights(CompressionModel(NETWORK), [])
