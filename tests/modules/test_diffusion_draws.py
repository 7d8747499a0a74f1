"""What is chosen for a step of the decoder's training, and that its parts add up to the whole."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from lightning_codec.diffusion.objective import stratified_times
from lightning_codec.diffusion.samplers import time_grid
from lightning_codec.diffusion.sampling import SamplingConfig
from lightning_codec.diffusion.schedule import BlurSchedule
from lightning_codec.errors import UserError
from lightning_codec.modules.diffusion_draws import JITTER, DiffusionLossConfig, Draws, View, training_draws
from lightning_codec.modules.noise import BatchNoise

SETTINGS = DiffusionLossConfig(perceptual_images=5, perceptual_min_snr=30.0, rollout=3)
SAMPLING = SamplingConfig(steps=3, t_start=0.2)
SCHEDULE = BlurSchedule()


def draws_of(
    step: int, rank: int = 0, world_size: int = 1, settings: DiffusionLossConfig = SETTINGS
) -> tuple[Draws, list[int]]:
    """Draws of a process's part of a step of eight images, and the images' indices."""
    size = 8 // world_size
    source = BatchNoise(0, 0, step, size, rank, world_size)
    image = torch.zeros(size, 3, 8, 8)
    return training_draws(source, image, settings, SAMPLING, SCHEDULE), source.indices.tolist()


@pytest.mark.parametrize("step", range(6))
def test_every_image_is_treated_alike_in_whole_and_split_steps(step: int) -> None:
    whole, _ = draws_of(step)
    seen, rolled = [], []
    fresh: dict[int, Tensor] = {}
    for rank in range(2):
        part, indices = draws_of(step, rank, world_size=2)
        assert torch.equal(part.t, whole.t[indices])
        assert torch.equal(part.noise, whole.noise[indices])
        assert part.view[2:] == whole.view[2:]
        assert part.map_known is not None
        assert whole.map_known is not None
        assert torch.equal(part.map_known, whole.map_known[indices])
        seen += [indices[row] for row in part.view.rows]
        if part.rollout is not None:
            assert whole.rollout is not None
            assert (part.rollout.grid, part.rollout.stop) == (whole.rollout.grid, whole.rollout.stop)
            rows = [indices[row] for row in part.rollout.rows]
            fresh |= dict(zip(rows, part.rollout.noise(1), strict=True))
            rolled += rows
    assert whole.rollout is not None
    assert sorted(seen) == whole.view.rows
    assert sorted(rolled) == whole.rollout.rows
    assert len(rolled) == 3
    assert torch.equal(torch.stack([fresh[row] for row in whole.rollout.rows]), whole.rollout.noise(1))


def test_the_parts_of_a_perceptual_mean_average_to_that_of_the_step() -> None:
    distances = torch.arange(8) + 1.0
    uneven = 0
    for step in range(10):
        whole, _ = draws_of(step)
        expected = float(distances[whole.view.rows].sum()) / max(1, len(whole.view.rows))
        parts = []
        counts = set()
        for rank in range(2):
            part, indices = draws_of(step, rank, world_size=2)
            parts.append(float(distances[indices][part.view.rows].sum()) / part.view.divisor)
            counts.add(len(part.view.rows))
        assert sum(parts) / 2 == pytest.approx(expected)
        uneven += len(counts) == 2
    assert uneven > 0  # else a mean of each process's own would do


def test_of_one_image_in_ten_the_texture_map_is_not_shown() -> None:
    known = torch.stack([draws.map_known for step in range(250) if (draws := draws_of(step)[0]).map_known is not None])
    assert known.shape == (250, 8)
    assert float((~known).float().mean()) == pytest.approx(0.1, abs=0.02)  # three standard deviations
    assert float((~known).float().mean(0).max()) < 0.17  # no place in particular


def test_times_are_stratified_over_the_step_but_for_rolled_out_images() -> None:
    offsets, stops = [], set()
    for step in range(40):
        draws, _ = draws_of(step)
        rollout = draws.rollout
        assert rollout is not None
        others = [row for row in range(8) if row not in rollout.rows]
        offset = (draws.t[others[0]] / SETTINGS.t_max - others[0] / 8) % 1.0
        assert torch.allclose(stratified_times(8, SETTINGS.t_max, offset)[others], draws.t[others], atol=1e-5)
        assert draws.t[rollout.rows].tolist() == pytest.approx([rollout.grid[rollout.stop]] * 3)
        assert rollout.grid == time_grid(len(rollout.grid) - 1, 0.2, SAMPLING.power)
        stops.add((len(rollout.grid) - 1, rollout.stop))
        offsets.append(float(offset))
    assert stops == {(1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2)}
    assert float(torch.tensor(offsets).var()) == pytest.approx(1 / 12, rel=0.5)


def test_the_perceptual_network_sees_its_number_of_images_but_none_in_mere_noise() -> None:
    clear = replace(SETTINGS, perceptual_min_snr=0.0)
    origins = set()
    shown = torch.zeros(8)
    for step in range(80):
        draws, _ = draws_of(step, settings=clear)
        assert len(draws.view.rows) == draws.view.divisor == 5
        shown[draws.view.rows] += 1
        origins.add((draws.view.top, draws.view.left))
        spared, _ = draws_of(step)
        snr = SCHEDULE.log_snr(draws.t).exp()
        assert spared.view.rows == [row for row in draws.view.rows if float(snr[row]) >= 30.0]
        assert spared.view.divisor == max(1, len(spared.view.rows))
    assert float(shown.min()) > 30  # each is one of five of eight: 50 of 80
    assert {top for top, _ in origins} == {left for _, left in origins} == set(range(JITTER))
    every, _ = draws_of(0, settings=replace(clear, perceptual_images=0, rollout=0))
    assert every.view.rows == list(range(8))
    assert every.rollout is None


def test_a_magnified_piece_is_the_ramp_between_its_borders() -> None:
    """Cubic interpolation keeps a straight line: pixel i of the whole is where (i + 1/2) / magnify - 1/2 of it was."""
    rows, columns = torch.meshgrid(torch.arange(48.0), torch.arange(60.0), indexing="ij")
    ramp = (100.0 * rows + columns)[None, None]
    top, left = 7, 20  # of 48 - 16 + 1 = 33 and 60 - 20 + 1 = 41 places
    view = View([0], 1.0, magnify=3.0, place=((top + 0.5) / 33, (left + 0.5) / 41))
    magnified = view.magnified(ramp)
    assert magnified.shape == ramp.shape
    expected = 100.0 * (top + (rows + 0.5) / 3 - 0.5) + left + (columns + 0.5) / 3 - 0.5
    inside = slice(6, -6)
    assert torch.allclose(magnified[0, 0][inside, inside], expected[inside, inside], atol=1e-2)
    assert View([0], 1.0).magnified(ramp) is ramp


def test_every_place_of_a_piece_comes_equally_often() -> None:
    places = torch.tensor([draws_of(step, settings=replace(SETTINGS, magnify=2.0))[0].view.place for step in range(60)])
    assert draws_of(0, settings=replace(SETTINGS, magnify=2.0))[0].view.magnify == 2.0
    assert bool(((places >= 0) & (places < 1)).all())
    assert places.mean(0).tolist() == pytest.approx([0.5, 0.5], abs=0.15)  # standard error .037
    assert places.std(0).tolist() == pytest.approx([12**-0.5] * 2, abs=0.06)
    assert abs(float(torch.corrcoef(places.T)[0, 1])) < 0.5
    last = View([0], 1.0, magnify=2.0, place=(0.999, 0.999)).magnified(torch.arange(64.0).expand(1, 1, 64, 64))
    assert float(last.amax()) == pytest.approx(63.0, abs=0.5)


@pytest.mark.parametrize("magnify", [0.5, 9.0])
def test_a_piece_is_not_made_smaller_nor_out_of_a_few_pixels(magnify: float) -> None:
    with pytest.raises(UserError, match=r"loss: magnify is .*: it must lie in \[1, 8\]"):
        DiffusionLossConfig(magnify=magnify)
