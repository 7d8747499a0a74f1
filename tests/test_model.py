"""The network as a whole: gradients reach everything, and the rate is that of what is decoded."""

import pytest
import torch

from lightning_codec.codec import Codec
from lightning_codec.entropy import GaussianParams, Sites, gather
from lightning_codec.model import CompressionModel
from lightning_codec.modules.entropy_model import estimated_bits
from tests.tiny import tiny_compression_model, uniform


def test_no_parameter_is_dead() -> None:
    model = tiny_compression_model()  # with symbols other than zero, or h_s would have nothing to learn from
    x = torch.rand(2, 3, 64, 128)
    output = model(x, model.rate_noise(x, uniform))
    (estimated_bits(output) / x.numel() + 100 * (output.x_hat - x).square().mean()).backward()
    dead = [name for name, p in model.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
    assert dead == []


def test_the_distortion_alone_teaches_the_first_layer_of_the_analysis() -> None:
    model = tiny_compression_model()
    x = torch.rand(1, 3, 64, 64)
    (model(x, model.rate_noise(x, uniform)).x_hat - x).square().mean().backward()
    gradient = next(model.g_a.parameters()).grad
    assert gradient is not None
    assert gradient.abs().max() > 0


@pytest.mark.parametrize("noisy", [True, False])
def test_the_rate_teaches_the_analysis_in_both_surrogates(noisy: bool) -> None:
    model = tiny_compression_model()
    x = torch.rand(1, 3, 64, 64)
    output = model(x, model.rate_noise(x, uniform) if noisy else None)
    estimated_bits(output).backward()
    gradient = next(model.g_a.parameters()).grad
    assert gradient is not None
    assert gradient.abs().max() > 0


def test_the_hard_estimate_is_that_of_the_decoded_latents() -> None:
    model = tiny_compression_model()
    x = torch.rand(1, 3, 70, 100)
    with torch.no_grad():
        forward = model(x)
        decoded = Codec(model).decode(Codec(model).compress(x[0]))
        again = model.entropy(decoded.y_hat)
    assert torch.allclose(forward.y_hat, decoded.y_hat, atol=1e-4)
    # Latents that are already rounded round to themselves, if psi is the same; so only y's part is compared.
    bits = float(-forward.y_likelihoods.log2().sum())
    walk_bits = _bits_along_the_walk(model, decoded.psi, decoded.y_hat)
    assert walk_bits == pytest.approx(bits, rel=1e-4)
    assert again.y_hat.shape == forward.y_hat.shape


def _bits_along_the_walk(model: CompressionModel, psi: torch.Tensor, y_hat: torch.Tensor) -> float:
    """-sum log2 P of given latents, by the same loop that a decoder runs."""
    groups = model.entropy.split_groups(y_hat)
    bits = 0.0

    def code(j: int, sites: Sites, params: GaussianParams) -> torch.Tensor:
        nonlocal bits
        values = gather(groups[j], sites)
        bits -= float(model.entropy.likelihood(values, params).log2().sum())
        return values

    with torch.no_grad():
        model.entropy.walk(psi, code)
    return bits


def test_noise_moves_the_rate_and_not_the_picture() -> None:
    model = tiny_compression_model()
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        first, second = (model(x, model.rate_noise(x, uniform)) for _ in range(2))
        hard = model(x)
    assert torch.equal(first.x_hat, hard.x_hat)
    assert not torch.equal(first.y_likelihoods, second.y_likelihoods)
