"""The noise of the training: what it depends on, how it is distributed, and what is chosen for a whole step."""

import pytest
import torch
from torch import Tensor

from lightning_codec.data.sampling import EpochSampler
from lightning_codec.modules.noise import BatchNoise, batch_noise, spread

SHAPE = (3, 16, 16)


def of_step(step: int, world_size: int, accumulation: int, seed: int = 3, epoch: int = 1) -> tuple[Tensor, list[float]]:
    """Noise [8, 2, 3, 16, 16] of a step's samples by index, normal and uniform, and a choice of every batch."""
    by_index: dict[int, Tensor] = {}
    choices = []
    batch_size = 8 // world_size // accumulation
    for rank in range(world_size):
        for number in range(accumulation):
            batch = step * accumulation + number
            noise = BatchNoise(seed, epoch, batch, batch_size, rank, world_size, accumulation)
            shape = (batch_size, *SHAPE)
            drawn = torch.stack([noise.normal(shape), noise.uniform(shape)], dim=1)
            by_index |= dict(zip(noise.indices.tolist(), drawn, strict=True))
            choices.append(float(noise.choices.random()))
            assert noise.step_size == 8
    return torch.stack([by_index[i] for i in range(8)]), choices


@pytest.mark.parametrize(("world_size", "accumulation"), [(2, 1), (1, 2), (2, 2), (8, 1)])
def test_a_sample_meets_the_same_noise_however_its_step_is_split(world_size: int, accumulation: int) -> None:
    whole, (choice,) = of_step(5, 1, 1)
    split, choices = of_step(5, world_size, accumulation)
    assert torch.equal(split, whole)
    assert set(choices) == {choice}


def test_every_step_epoch_and_seed_has_noise_of_its_own() -> None:
    steps = [of_step(0, 1, 1), of_step(1, 1, 1), of_step(0, 1, 1, epoch=2), of_step(0, 1, 1, seed=4)]
    assert len({choices[0] for _, choices in steps}) == 4
    flat = torch.cat([noise for noise, _ in steps]).flatten(1)
    flat = flat - flat.mean(1, keepdim=True)
    correlation = torch.corrcoef(flat) - torch.eye(len(flat))
    assert float(correlation.abs().max()) < 0.2  # of 1536 numbers: 5 standard deviations are 0.13


def test_noise_has_its_moments_and_goes_on_from_call_to_call() -> None:
    noise = BatchNoise(0, 0, 0, 4)
    normal, uniform = noise.normal((4, 50_000)), noise.uniform((4, 50_000))
    assert abs(float(normal.mean())) < 0.01
    assert float(normal.var()) == pytest.approx(1.0, rel=0.02)
    assert float(uniform.abs().max()) <= 0.5
    assert abs(float(uniform.mean())) < 0.003
    assert float(uniform.var()) == pytest.approx(1 / 12, rel=0.02)
    again = BatchNoise(0, 0, 0, 4)
    assert torch.equal(again.normal((2, 50_000), rows=[3, 1]), normal[[3, 1]])
    assert not torch.equal(again.normal((2, 50_000), rows=[3, 1]), normal[[3, 1]])


@pytest.mark.parametrize(("world_size", "accumulation"), [(1, 1), (2, 2), (3, 1)])
def test_indices_are_those_of_the_samples_that_a_batch_holds(world_size: int, accumulation: int) -> None:
    for rank in range(world_size):
        sampler = EpochSampler(100, 60, 5, 0, rank, world_size, accumulation)
        keys = list(sampler)
        for batch in range(sampler.batches):
            noise = BatchNoise(0, 0, batch, 5, rank, world_size, accumulation)
            first = batch // accumulation * noise.step_size
            expected = [key.position - first for key in keys[5 * batch : 5 * batch + 5]]
            assert noise.indices.tolist() == expected


def test_the_seed_is_that_of_the_run_and_not_the_state_of_the_global_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = torch.zeros(2, 3, 4, 4)
    drawn = []
    for seed in ("5", "5", "6"):
        monkeypatch.setenv("PL_GLOBAL_SEED", seed)
        torch.rand(7)
        drawn.append(batch_noise(None, 3, batch).normal(batch.shape))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert torch.equal(drawn[0], BatchNoise(5, 0, 3, 2).normal(batch.shape))


def test_choices_are_exact_fair_and_shared_out_among_processes_and_halves() -> None:
    for total, count in ((8, 3), (12, 6), (16, 4), (1, 1), (5, 0)):
        chosen = torch.stack([spread(count, total, offset) for offset in range(total)])
        assert bool((chosen.sum(1) == count).all())
        assert bool((chosen.sum(0) == count).all())
    for offset in range(16):
        chosen = spread(8, 16, offset)
        assert {int(chosen[rank::2].sum()) for rank in range(2)} == {4}
        assert all(2 <= int(chosen[half : half + 8].sum()) <= 6 for half in (0, 8))
