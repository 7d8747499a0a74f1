"""What texture is missing where: closed forms, places, and what the network sees of it."""

import math

import pytest
import torch
from torch import Tensor

from lightning_codec.diffusion.dct import dct_matrix, frequencies
from lightning_codec.diffusion.denoiser import Denoiser
from lightning_codec.diffusion.texture import BANDS, BLOCK, FLOORS
from lightning_codec.diffusion.texture_map import texture_levels
from tests.tiny import TINY_NETWORK, seeing_denoiser, tiny_denoiser


def grain(height: int = 64, width: int = 96, deviation: float = 0.2) -> Tensor:
    noise = torch.randn(1, 1, height, width, generator=torch.Generator().manual_seed(0))
    return (deviation * noise).clamp(-0.9, 0.9).expand(1, 3, -1, -1)


@pytest.mark.parametrize(("share", "level"), [(1.0, 0), (0.82, 0), (0.75, 1), (0.5, 1), (0.45, 2), (0.2, 3), (0.0, 4)])
def test_a_level_is_the_logarithm_of_the_energy_that_is_missing(share: float, level: int) -> None:
    """Of a share s of the amplitude everywhere: -2 ln s, rounded."""
    levels = texture_levels(grain(), share * grain())
    assert levels.shape == (1, 2, 3)
    assert set(levels.flatten().tolist()) == {level}


def test_too_much_is_no_lack_and_what_cannot_be_seen_does_not_count() -> None:
    assert int(texture_levels(0.3 * grain(), grain()).max()) == 0
    faint = grain(deviation=0.002)  # a quarter of a grey level
    assert int(texture_levels(faint, torch.zeros_like(faint)).max()) == 0


def test_slow_changes_and_colour_are_not_texture() -> None:
    slope = torch.linspace(-0.1, 0.1, 96).expand(1, 3, 64, 96)
    assert int(texture_levels(slope, torch.zeros_like(slope)).max()) == 0
    colour = grain() * torch.tensor([1.0, 0.0, -1.0])[:, None, None]
    assert int(texture_levels(colour, torch.zeros_like(colour)).max()) == 0


@pytest.mark.parametrize("columns", [False, True])
def test_stripes_are_as_much_as_any_texture_of_their_rings(columns: bool) -> None:
    """Levels are of whole rings, whatever the direction: two coefficients c of each are 6 c^2 over its members."""
    waves = dct_matrix(BLOCK, torch.zeros(()))[2:].sum(0)  # twice in every ring but the lowest, along a row
    x = 0.12 / BLOCK**0.5 * waves.repeat(4).expand(1, 3, 64, 64)
    radius = frequencies(BLOCK, BLOCK, x).squared.sqrt() / math.pi * BANDS
    members = [int((radius.long().clamp(max=BANDS - 1) == ring).sum()) for ring in range(1, BANDS)]
    missing = sum(math.log(6 * 0.12**2 / count / FLOORS[0] + 1.0) for count in members) / len(members)
    assert missing == pytest.approx(3.0, abs=0.4)
    levels = texture_levels(x.mT if columns else x, torch.zeros(1, 3, 64, 64))
    assert set(levels.flatten().tolist()) == {3}


def test_every_block_speaks_of_its_own_pixels() -> None:
    x_c = grain().clone()
    x_c[..., 32:64, 64:96] = 0.0
    assert texture_levels(grain(), x_c).tolist() == [[[0, 0, 0], [0, 0, 4]]]


def seeing() -> tuple[Denoiser, list[Tensor]]:
    """A network that looks at a texture map, and a ladder."""
    denoiser = seeing_denoiser()
    torch.manual_seed(1)
    return denoiser, [torch.rand(2, c, 64 >> i, 64 >> i) for i, c in enumerate((3, *TINY_NETWORK.channels))]


def test_the_network_sees_the_map_where_it_is() -> None:
    denoiser, ladder = seeing()
    z, t = torch.randn(2, 3, 64, 64), torch.tensor([0.1, 0.2])
    levels = torch.zeros(2, 2, 2, dtype=torch.int64)
    other = levels.clone()
    other[0, 1, 1] = 3

    def x_hat(levels: Tensor | None, known: Tensor | None = None) -> Tensor:
        found: Tensor = denoiser(z, t, denoiser.condition(ladder, levels, known)).x_hat
        return found

    change = (x_hat(other) - x_hat(levels)).abs().amax(1)
    assert float(change[0, 40:, 40:].max()) > 1e-3
    assert float(change[0, :8, :8].max()) < 1e-3 * float(change[0, 40:, 40:].max())
    assert float(change[1].max()) == 0.0
    unknown = x_hat(None)
    assert float((x_hat(levels) - unknown).abs().max()) > 1e-3
    assert torch.equal(x_hat(other, torch.tensor([False, False])), unknown)
    assert torch.equal(x_hat(other, torch.tensor([True, False]))[0], x_hat(other)[0])


def test_a_network_that_does_not_look_leaves_the_ladder_as_it_is() -> None:
    _, ladder = seeing()
    same = tiny_denoiser().condition(ladder, torch.zeros(2, 2, 2, dtype=torch.int64))
    assert all(a is b for a, b in zip(same, ladder, strict=True))
