"""Tiles cover a picture once, however it is cut."""

from itertools import pairwise

import pytest
import torch

from lightning_codec.tiling import cover, smallest_tile

UNIT, OVERLAP = 64, 128


@pytest.mark.parametrize(
    ("height", "width"), [(64, 64), (256, 256), (320, 320), (512, 768), (64, 6400), (3008, 4032), (416, 576)]
)
@pytest.mark.parametrize("pixels", [smallest_tile(OVERLAP), 100_000, 512 * 768, 2**20])
@pytest.mark.parametrize("unit", [32, UNIT, 128])
def test_weights_add_up_to_one_and_tiles_keep_to_their_size(height: int, width: int, pixels: int, unit: int) -> None:
    total = torch.zeros(height, width, dtype=torch.float64)
    plan = cover(height, width, pixels, unit, OVERLAP)
    for tile in plan:
        assert len(tile.rows) * len(tile.columns) <= pixels
        assert tile.rows.start % unit == tile.columns.start % unit == 0
        weight = tile.row_weights.double() * tile.column_weights.double()
        assert weight.shape == (len(tile.rows), len(tile.columns))
        assert weight.min() >= 0
        total[tile.rows.start : tile.rows.stop, tile.columns.start : tile.columns.stop] += weight
    assert torch.allclose(total, torch.ones_like(total), atol=1e-6, rtol=0)
    assert (len(plan) == 1) == (height * width <= pixels)


def test_neighbours_overlap_and_do_not_count_near_their_cut_edges() -> None:
    plan = cover(64, 1600, 64 * 512, UNIT, OVERLAP)
    assert [tile.columns for tile in plan] == [range(s, s + 512) for s in (0, 384, 768)] + [range(1152, 1600)]
    for left, right in pairwise(plan):
        rise, fall = right.column_weights[:OVERLAP], left.column_weights[-OVERLAP:]
        assert torch.equal(rise + fall, torch.ones(OVERLAP))
        assert rise[:32].max() == 0
        assert rise[-32:].min() == 1
        assert torch.allclose(rise[32:96].diff(), torch.tensor(1 / 64))  # no step anywhere
    assert plan[0].column_weights[0] == plan[-1].column_weights[-1] == 1  # at the picture's own edge


def test_tiles_are_alike_in_size_and_as_square_as_they_can_be() -> None:
    sizes = [(len(t.rows), len(t.columns)) for t in cover(3008, 4032, 1_500_000, UNIT, OVERLAP)]
    assert max(h * w for h, w in sizes) < 1.5 * min(h * w for h, w in sizes)
    assert all(0.6 < h / w < 1.7 for h, w in sizes)
