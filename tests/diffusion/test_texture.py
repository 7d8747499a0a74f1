"""Local band energies: where a frequency falls, that nothing is lost, and that blur and grain both count."""

import math

import pytest
import torch

from lightning_codec.diffusion.dct import dct_matrix, frequencies
from lightning_codec.diffusion.texture import (
    BANDS,
    BLOCK,
    DIRECTIONS,
    EXCESSES,
    FLOORS,
    WHOLE,
    band_energies,
    texture_distance,
)

FLOOR, EXCESS = FLOORS[0], EXCESSES[0]
PARTS = 3 * BANDS * DIRECTIONS  # what a distance is the mean of


def cosine(ky: int, kx: int, amplitude: float) -> torch.Tensor:
    """One DCT basis function of every 16 x 16 block of a 32 x 48 grey picture, of coefficient `amplitude`."""
    basis = dct_matrix(BLOCK, torch.zeros((), dtype=torch.float64))
    block = amplitude * torch.outer(basis[ky], basis[kx])
    return block.repeat(2, 3).expand(1, 3, 32, 48)


@pytest.mark.parametrize(("ky", "kx", "band"), [(0, 1, 0), (0, 3, 1), (4, 0, 2), (0, 15, 7), (15, 15, 7), (6, 8, 5)])
def test_a_frequency_falls_into_its_ring_alone(ky: int, kx: int, band: int) -> None:
    """Rings are pi / 8 wide; a coefficient c of each of three equal channels is 3 c^2 of brightness, no colour."""
    energies = band_energies(cosine(ky, kx, 0.5))
    assert energies.shape == (1, 3, BANDS, 2, 3)
    assert float(energies[:, 1:].abs().max()) < 1e-20
    radius = frequencies(BLOCK, BLOCK, energies).squared.sqrt()
    ring = (radius >= band * math.pi / BANDS) & ((radius < (band + 1) * math.pi / BANDS) | (band == BANDS - 1))
    members = int(ring.sum()) - (band == 0)
    expected = torch.zeros(BANDS, dtype=torch.float64)
    expected[band] = 3 * 0.25 / members
    assert torch.allclose(energies[0, 0], expected[:, None, None].expand(BANDS, 2, 3), atol=1e-12)


@pytest.mark.parametrize(("ky", "kx", "direction"), [(0, 3, 0), (1, 5, 0), (3, 3, 1), (14, 9, 1), (5, 1, 2), (9, 0, 2)])
def test_a_direction_has_its_sector_of_the_ring(ky: int, kx: int, direction: int) -> None:
    """All the energy of a ring is in one of its three parts, whose means, each over its members, add up to it."""
    x = cosine(ky, kx, 0.5)
    radius = frequencies(BLOCK, BLOCK, x).squared.sqrt()
    ring = (radius / math.pi * BANDS).long().clamp(max=BANDS - 1)
    parts = band_energies(x, 3)[0, 0, :, 0, 0].unflatten(0, (BANDS, 3))
    there = parts[int(ring[ky, kx])]
    assert float(parts.sum() - there[direction]) < 1e-12
    k = torch.arange(BLOCK, dtype=torch.float64)
    degrees = torch.rad2deg(torch.atan2(k[:, None], k[None, :]))
    end = 90.1 if direction == 2 else 30.0 * direction + 30.0
    members = (ring == ring[ky, kx]) & (degrees >= 30.0 * direction) & (degrees < end)
    assert float(there[direction]) == pytest.approx(3 * 0.25 / int(members.sum()), rel=1e-9)


def test_the_mean_of_a_block_counts_in_no_band() -> None:
    x = torch.rand(1, 3, 32, 32, dtype=torch.float64)
    shift = torch.tensor([0.3, -0.2, 0.1], dtype=torch.float64)[None, :, None, None]
    assert torch.allclose(band_energies(x + shift), band_energies(x), atol=1e-12)


def test_distance_in_closed_form() -> None:
    """One band of one of three channels differs: its log ratio over 3 x 24 bands, in the blocks more for an excess.

    All blocks are alike, so the whole picture differs by what every block does; it counts twice.
    """
    weak, strong = cosine(0, 3, 0.05), cosine(0, 3, 0.4)
    low, high = (float(band_energies(x, DIRECTIONS)[0, 0, 3, 0, 0]) for x in (weak, strong))
    ratio = math.log((high + FLOOR) / (low + FLOOR)) / PARTS
    assert texture_distance(weak, strong).tolist() == pytest.approx([(1.0 + 2.0) * ratio], rel=1e-5)
    assert texture_distance(strong, weak).tolist() == pytest.approx([(EXCESS + WHOLE) * ratio], rel=1e-5)
    assert texture_distance(strong, -strong).tolist() == pytest.approx([0.0], abs=1e-9)  # its place does not count


def test_the_same_energy_in_another_direction_is_a_distance() -> None:
    """Waves across instead of along: one band has all of it too much, in every block and as a whole, one too little."""
    along, across = cosine(3, 0, 0.2), cosine(0, 3, 0.2)
    assert torch.allclose(band_energies(along), band_energies(across), atol=1e-12)
    ratio = math.log(float(band_energies(along, DIRECTIONS)[0, 0, 5, 0, 0]) / FLOOR + 1.0) / PARTS
    assert texture_distance(across, along).tolist() == pytest.approx([(EXCESS + 1.0 + 2.0 * WHOLE) * ratio], rel=1e-4)


def test_coloured_grain_counts_more_and_from_a_lower_level_on() -> None:
    """The same wave in green against red and blue, too weak to be told from nothing were it grey."""
    colour = torch.tensor([1.0, -2.0, 1.0], dtype=torch.float64)[None, :, None, None] / 2.0**0.5
    weak, none = cosine(0, 3, 0.01), torch.zeros(1, 3, 32, 48, dtype=torch.float64)
    energy = float(band_energies(weak, DIRECTIONS)[0, 0, 3, 0, 0])
    assert float(band_energies(colour * weak, DIRECTIONS)[0, 2, 3, 0, 0]) == pytest.approx(energy)
    grey, green = (math.log(energy / floor + 1.0) / PARTS for floor in (FLOORS[0], FLOORS[2]))
    assert texture_distance(weak, none).tolist() == pytest.approx([(1.6 + WHOLE) * grey], rel=1e-4)
    assert texture_distance(colour * weak, none).tolist() == pytest.approx([(4.0 + WHOLE) * green], rel=1e-4)
    assert texture_distance(none, colour * weak).tolist() == pytest.approx([(1.0 + WHOLE) * green], rel=1e-4)


def test_energy_that_is_in_the_wrong_blocks_is_not_missing_in_the_whole() -> None:
    """Two blocks that have changed places: each is wrong, their sum is not; one of them twice: the sum is wrong too."""
    weak, strong = cosine(0, 3, 0.05)[..., :16, :16], cosine(0, 3, 0.4)[..., :16, :16]
    low, high = (float(band_energies(x, DIRECTIONS)[0, 0, 3, 0, 0]) for x in (weak, strong))
    pair, swapped = torch.cat([weak, strong], -1), torch.cat([strong, weak], -1)
    twice = torch.cat([strong, strong], -1)
    block = math.log((high + FLOOR) / (low + FLOOR)) / PARTS
    whole = math.log((high + FLOOR) / ((low + high) / 2 + FLOOR)) / PARTS
    assert texture_distance(swapped, pair).tolist() == pytest.approx([(EXCESS + 1.0) / 2.0 * block], rel=1e-5)
    assert texture_distance(twice, pair).tolist() == pytest.approx([EXCESS / 2.0 * block + WHOLE * whole], rel=1e-5)


def test_blur_grain_and_a_grid_are_all_seen_and_what_is_invisible_is_not() -> None:
    torch.manual_seed(0)
    smooth = torch.zeros(2, 3, 64, 64)
    textured = smooth.clone()
    textured[..., 32:] = 0.2 * torch.randn(2, 3, 64, 32)
    grid = 0.05 * torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(32, 32)
    assert bool((texture_distance(smooth, textured) > 1.0).all())
    assert bool((texture_distance(textured + 0.05 * torch.randn(2, 3, 64, 64), textured) > 0.2).all())
    assert bool((texture_distance(textured + grid, textured) > 0.02).all())
    assert bool((texture_distance(textured + 0.0003 * torch.randn(2, 3, 64, 64), textured) < 0.02).all())
    assert bool((texture_distance(textured + 0.001 * torch.randn(2, 1, 64, 64), textured) < 0.02).all())  # grey


def test_a_band_too_weak_in_the_whole_is_worth_strengthening_where_it_is_right() -> None:
    """One of sixteen blocks has half its wave and all others theirs: 1 % more of them all is nearer."""
    wave = cosine(0, 9, 0.4)[..., :16, :16]
    original = torch.cat([wave] * 16, -1)
    estimate = torch.cat([0.5 * wave] + [wave] * 15, -1)
    stronger, same, weaker = (float(texture_distance(scale * estimate, original)) for scale in (1.01, 1.0, 0.99))
    assert stronger < same < weaker


def test_images_of_a_batch_do_not_answer_for_each_other() -> None:
    """What is too weak in one image is not made up for by what is too strong in the other."""
    weak, strong = cosine(0, 3, 0.05), cosine(0, 3, 0.4)
    both = texture_distance(torch.cat([weak, strong]), torch.cat([strong, weak]))
    alone = [float(texture_distance(weak, strong)), float(texture_distance(strong, weak))]
    assert both.tolist() == pytest.approx(alone, rel=1e-9)
