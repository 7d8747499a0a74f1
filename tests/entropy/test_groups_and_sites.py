"""Channel groups and the checkerboard."""

import pytest
import torch

from lightning_codec.entropy import EntropyConfig, Sites, gather, scatter
from lightning_codec.entropy.groups import group_widths
from tests.entropy.tiny import site_mask


@pytest.mark.parametrize(
    ("M", "rule", "expected"),
    [
        (320, "uneven", (16, 16, 32, 64, 192)),
        (40, "uneven", (2, 2, 4, 8, 24)),
        (80, "uneven", (4, 4, 8, 16, 48)),
        (160, "uneven", (8, 8, 16, 32, 96)),
        (320, "even", (64, 64, 64, 64, 64)),
        (256, "even", (50, 50, 50, 50, 56)),
        (320, "single", (320,)),
        (12, [2, 4, 6], (2, 4, 6)),
    ],
)
def test_widths(M: int, rule: object, expected: tuple[int, ...]) -> None:
    assert group_widths(M, rule) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize("M", range(16, 400, 6))
def test_uneven_widths_are_even_and_add_up(M: int) -> None:
    widths = group_widths(M, "uneven")
    assert sum(widths) == M
    assert all(c > 0 and c % 2 == 0 for c in widths)
    y = torch.randn(1, M, 2, 2)
    assert torch.equal(torch.cat(y.split(widths, dim=1), dim=1), y)


@pytest.mark.parametrize(
    ("M", "rule"), [(12, [2, 4]), (12, [12, 0]), (12, []), (6, "uneven"), (8, "even"), (12, "odd")]
)
def test_impossible_groups_are_refused(M: int, rule: object) -> None:
    with pytest.raises(ValueError, match="channel_groups"):
        group_widths(M, rule)  # type: ignore[arg-type]


@pytest.mark.parametrize("window", [2, 5, 0])
def test_windows_that_leave_queries_without_keys_are_refused(window: int) -> None:
    with pytest.raises(ValueError, match="even and at least 4"):
        EntropyConfig(window=window)


def test_the_top_left_site_is_an_anchor() -> None:
    x = torch.zeros(1, 1, 4, 4)
    x[0, 0, 0, 0] = 1
    assert gather(x, Sites.ANCHOR).sum() == 1
    assert gather(x, Sites.NON_ANCHOR).sum() == 0


@pytest.mark.parametrize("sites", list(Sites))
def test_packed_sites_come_in_coding_order_and_go_back(sites: Sites) -> None:
    x = torch.arange(2 * 3 * 4 * 6.0).reshape(2, 3, 4, 6)
    mask = site_mask(4, 6, sites)
    packed = gather(x, sites)
    assert torch.equal(packed.flatten(), x[:, :, mask].flatten())  # channel, row, column
    assert torch.equal(scatter(packed, sites), x * mask)
