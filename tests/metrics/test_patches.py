import pytest
import torch

from lightning_codec.metrics.patches import patches


def count(height: int, width: int, size: int = 256) -> int:
    return len(patches(torch.empty(3, height, width, dtype=torch.uint8), size))


def test_kodak_gives_192_patches():
    assert count(512, 768) == 8
    assert 18 * count(512, 768) + 6 * count(768, 512) == 192


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (256, 256, 1),
        (255, 4000, 0),
        (4000, 255, 0),
        (383, 383, 1),
        (383, 2000, 7),  # no second grid: one side below 1.5 patches
        (384, 384, 2),
        (384, 639, 2 + 1),
        (384, 640, 2 + 2),
        (511, 513, 2 + 1),
        (1365, 2048, 5 * 8 + 4 * 7),
    ],
)
def test_counts_of_odd_and_small_sizes(height: int, width: int, expected: int):
    assert count(height, width) == expected
    assert count(width, height) == expected


def test_the_same_rule_scales_to_64_pixels():
    assert count(512, 768, 64) == 8 * 12 + 7 * 11
    assert count(95, 96, 64) == 1
    assert count(96, 96, 64) == 2


def test_the_first_grid_begins_at_the_corner_and_the_second_half_a_patch_further():
    x = torch.randint(256, (3, 9, 13), dtype=torch.uint8)
    cut = patches(x, 4)
    assert cut.shape == (2 * 3 + 1 * 2, 3, 4, 4)
    for index, (top, left) in enumerate([(0, 0), (0, 4), (0, 8), (4, 0), (4, 4), (4, 8), (2, 2), (2, 6)]):
        assert torch.equal(cut[index], x[:, top : top + 4, left : left + 4])


@pytest.mark.parametrize(
    "wrong", [torch.rand(3, 64, 64), torch.zeros(1, 3, 64, 64).byte(), torch.zeros(1, 64, 64).byte()]
)
def test_patches_are_cut_from_one_8_bit_rgb_picture(wrong: torch.Tensor):
    with pytest.raises(ValueError, match="uint8"):
        patches(wrong, 64)
