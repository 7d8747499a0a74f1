"""Noise by position: independent of tiles, white, Gaussian, and keyed by file and seed."""

import numpy as np
import pytest
import torch
from scipy import stats

from lightning_codec.diffusion.noise import noise_key, position_noise

KEY = noise_key(b"a file", 0)


def test_a_tile_is_a_crop_of_the_whole_to_the_bit() -> None:
    whole = position_noise(KEY, 2, 3, range(40), range(70))
    tile = position_noise(KEY, 2, 3, range(13, 29), range(7, 58))
    assert torch.equal(tile, whole[:, 13:29, 7:58])
    assert torch.equal(position_noise(KEY, 2, 1, range(40), range(70)), whole[:1])


def test_it_is_standard_normal() -> None:
    noise = position_noise(KEY, 0, 4, range(256), range(256)).double()
    assert float(noise.mean().abs()) < 5 / np.sqrt(noise.numel())
    assert float((noise.var() - 1).abs()) < 5 * np.sqrt(2 / noise.numel())
    for channel in noise:
        assert stats.kstest(channel.flatten().numpy(), "norm").pvalue > 1e-3
        assert abs(stats.kurtosis(channel.flatten().numpy())) < 5 * np.sqrt(24 / channel.numel())


@pytest.mark.parametrize("shift", [(0, 1), (1, 0), (1, 1), (0, 4)])
def test_neighbours_channels_and_draws_are_independent(shift: tuple[int, int]) -> None:
    noise = position_noise(KEY, 0, 4, range(128), range(128)).double()
    rows, columns = shift
    bound = 5 / 128
    moved = noise.roll((rows, columns), (1, 2))
    channels = torch.corrcoef(torch.cat([noise.flatten(1), moved.flatten(1)])) - torch.eye(8)
    assert float(channels.abs().max()) < bound
    other = position_noise(KEY, 1, 4, range(128), range(128)).double()
    assert float(torch.corrcoef(torch.stack([noise.flatten(), other.flatten()]))[0, 1].abs()) < bound


def philox(counter: list[int], key: list[int]) -> list[int]:
    """Philox4x64-10 in integers (Salmon et al., SC 2011)."""
    mask = 2**64 - 1
    for _ in range(10):
        a, b = 0xD2E7470EE14C6C93 * counter[0], 0xCA5A826395121157 * counter[2]
        counter = [(b >> 64) ^ counter[1] ^ key[0], b & mask, (a >> 64) ^ counter[3] ^ key[1], a & mask]
        key = [(key[0] + 0x9E3779B97F4A7C15) & mask, (key[1] + 0xBB67AE8584CAA73B) & mask]
    return counter


def test_it_is_box_muller_of_the_philox_block_whose_counter_is_the_position() -> None:
    """Key, counter and order of the words are part of what a seed means."""
    published = [0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B]
    assert philox([0, 0, 0, 0], [0, 0]) == published
    key = [int.from_bytes(KEY[:8], "little"), int.from_bytes(KEY[8:], "little")]
    a, b, c, d = ((word + 0.5) / 2**64 for word in philox([5 + 1, 3, 1, 0], key))
    radius, angle = np.sqrt(-2 * np.log([a, b])), 2 * np.pi * np.array([c, d])
    expected = [*(radius * np.cos(angle)), *(radius * np.sin(angle))]
    assert position_noise(KEY, 1, 4, range(3, 4), range(5, 6)).flatten().tolist() == pytest.approx(expected, abs=1e-5)


def test_key_changes_with_file_and_seed() -> None:
    keys = {noise_key(data, seed) for data in (b"a file", b"a filf") for seed in (0, 1, -1)}
    assert len(keys) == 6
    assert noise_key(b"a file", 0) == KEY
    first, second = (position_noise(noise_key(b"a file", seed), 0, 3, range(8), range(8)) for seed in (0, 1))
    assert not torch.equal(first, second)
