"""The prior of z: against CompressAI's, and its tables."""

import pytest
import torch
from compressai.entropy_models import EntropyBottleneck
from compressai.ops import LowerBound
from torch import Tensor

from lightning_codec.entropy.bounds import lower_bound
from lightning_codec.entropy.factorized import FactorizedPrior


def moved(prior: FactorizedPrior | EntropyBottleneck) -> list[Tensor]:
    """Its weights, away from the start and the same for both."""
    weights = [*prior.matrices, *prior.biases, *prior.factors]
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in weights:
            weight += 0.3 * torch.randn(weight.shape, generator=generator)
    return weights


def test_values_and_gradients_are_those_of_compressai() -> None:
    torch.manual_seed(0)
    ours = FactorizedPrior(3)
    torch.manual_seed(0)
    theirs = EntropyBottleneck(3).eval()
    start = zip([*ours.matrices, *ours.biases], [*theirs.matrices, *theirs.biases], strict=True)
    assert all(torch.equal(a, b) for a, b in start)
    mine, reference = moved(ours), moved(theirs)
    z = 20.0 * torch.arange(-40.0, 32.0).reshape(3, 2, 3, 4).transpose(0, 1)[..., :3]  # some beyond the bound
    result, (_, expected) = ours(z), theirs(z)
    assert torch.equal(result, expected)
    assert float(result.min().detach()) == pytest.approx(1e-9)
    result.log().sum().backward()
    expected.log().sum().backward()
    for a, b in zip(mine, reference, strict=True):
        assert a.grad is not None
        assert b.grad is not None
        assert bool(a.grad.any())
        assert torch.equal(a.grad, b.grad)


def test_noise_is_added_and_nothing_is_rounded() -> None:
    torch.manual_seed(0)
    prior = FactorizedPrior(2)
    moved(prior)
    z, noise = torch.tensor([1.0, -2.0]).reshape(1, 2, 1, 1), torch.tensor([0.3, -0.4]).reshape(1, 2, 1, 1)
    between = prior(z, noise)
    assert not torch.equal(between, prior(z))
    assert torch.equal(between, prior(z + noise, torch.zeros_like(z)))


def test_the_lower_bound_lets_through_what_leads_back() -> None:
    x = torch.tensor([-1.0, -1.0, 0.5, 2.0, 2.0])
    grad = torch.tensor([3.0, -3.0, 7.0, 3.0, -3.0])
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    bounded = lower_bound(ours, 0.5)
    assert bounded.tolist() == [0.5, 0.5, 0.5, 2.0, 2.0]
    bounded.backward(grad)
    LowerBound(0.5)(theirs).backward(grad)
    assert ours.grad is not None
    assert ours.grad.tolist() == [0.0, -3.0, 7.0, 3.0, -3.0]
    assert theirs.grad is not None
    assert torch.equal(ours.grad, theirs.grad)


def trained_prior(shift: float) -> FactorizedPrior:
    """A prior fitted to round(N(shift, 2)) in a few steps."""
    torch.manual_seed(0)
    prior = FactorizedPrior(3)
    optimizer = torch.optim.Adam(prior.parameters(), lr=0.05)
    for _ in range(150):
        z = shift + 2.0 * torch.randn(4, 3, 8, 8)
        loss = -prior(z, torch.rand_like(z) - 0.5).log2().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return prior


@pytest.mark.parametrize("shift", [0.0, 45.0])
def test_prior_tables_are_its_likelihoods_without_any_update_call(shift: float) -> None:
    prior = trained_prior(shift)
    pmfs = prior.pmfs()
    for channel, pmf in enumerate(pmfs):
        assert pmf.probabilities.sum() + pmf.tail == pytest.approx(1.0, abs=1e-9)
        assert pmf.tail <= 2.0**-17
        z = torch.full((1, 3, 1, 1), float(round(shift)))
        expected = float(prior(z)[0, channel])
        assert pmf.probabilities[round(shift) - pmf.offset] == pytest.approx(expected, rel=1e-4)


def test_prior_of_rounded_latents_uses_integers() -> None:
    prior = trained_prior(0.0)
    z = torch.tensor([0.4, -0.4, 1.6]).reshape(1, 3, 1, 1)
    assert torch.equal(prior(z), prior(torch.round(z)))


def test_nothing_in_the_state_dict_grows_with_the_tables() -> None:
    prior = trained_prior(0.0)
    before = {name: value.shape for name, value in prior.state_dict().items()}
    prior.pmfs()
    assert {name: value.shape for name, value in prior.state_dict().items()} == before
