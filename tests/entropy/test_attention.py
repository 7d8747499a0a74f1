"""Who may look at whom in the windows."""

import pytest
import torch
from torch import nn

from lightning_codec.entropy.attention import (
    MaskedWindowAttention,
    allowed_keys,
    masked_softmax,
    partition,
    unpartition,
)
from lightning_codec.entropy.checkerboard import anchor_mask
from lightning_codec.entropy.config import BiasKind


def coordinates(h: int, w: int, P: int, shift: int) -> torch.Tensor:
    """Original (row, column) of every token of every window, -1 for padding: [windows, P^2, 2]."""
    H, W = -(-h // P) * P, -(-w // P) * P
    grid = torch.full((1, 2, H, W), -1.0)
    rows, columns = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    grid[0, 0, :h, :w], grid[0, 1, :h, :w] = rows.float(), columns.float()
    return partition(grid.roll((-shift, -shift), (2, 3)), P)


@pytest.mark.parametrize("shift", [0, 2])
@pytest.mark.parametrize(("h", "w"), [(4, 4), (8, 12), (12, 20), (28, 8), (5, 7), (6, 10)])
def test_allowed_keys_are_the_real_anchors_that_were_neighbours_before_the_roll(h: int, w: int, shift: int) -> None:
    P = 4
    allowed = allowed_keys(h, w, P, shift)
    sites = coordinates(h, w, P, shift)
    inside = torch.stack(torch.meshgrid(torch.arange(P), torch.arange(P), indexing="ij"), -1).reshape(-1, 2)
    for window, tokens in enumerate(sites.tolist()):
        for q, (qr, qc) in enumerate(tokens):
            if qr < 0:
                continue
            for k, (kr, kc) in enumerate(tokens):
                real_anchor = kr >= 0 and (kr + kc) % 2 == 0
                # The displacement inside the window is the true one exactly where nothing came round the border.
                unwrapped = [qr - kr, qc - kc] == (inside[q] - inside[k]).tolist()
                assert bool(allowed[window, q, k]) == (real_anchor and unwrapped)


@pytest.mark.parametrize("P", [4, 8])
@pytest.mark.parametrize("h", [4, 8, 12, 20, 28])
@pytest.mark.parametrize("w", [4, 8, 12, 20, 28])
def test_every_non_anchor_query_has_a_key(P: int, h: int, w: int) -> None:
    for shift in (0, P // 2):
        allowed, sites = allowed_keys(h, w, P, shift), coordinates(h, w, P, shift)
        query = (sites[..., 0] >= 0) & (sites.sum(-1) % 2 == 1)
        assert allowed.any(-1)[query].all()


def test_masked_softmax_is_exactly_zero_on_masked_keys_and_sums_to_one() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 30.0 * torch.randn(5, 6, 6, generator=generator)
    allowed = torch.rand(5, 6, 6, generator=generator) < 0.5
    allowed[0, 0] = False
    weights = masked_softmax(logits, allowed)
    assert weights[~allowed].abs().max() == 0
    sums = weights.sum(-1)
    assert torch.allclose(sums[allowed.any(-1)], torch.ones(()), atol=1e-6)
    assert sums[0, 0] == 0
    reference = torch.exp(logits.double()) * allowed
    reference = reference / reference.sum(-1, keepdim=True).clamp(min=1e-300)
    assert torch.allclose(weights.double(), reference, atol=1e-6)


@pytest.mark.parametrize("bias", ["laplacian", "laplacian-shared", "learned", "none"])
@pytest.mark.parametrize(("h", "w", "shift"), [(8, 12, 0), (8, 12, 2), (5, 7, 0), (6, 10, 2)])
def test_leaving_pairs_out_changes_nothing_where_the_result_is_used(bias: BiasKind, h: int, w: int, shift: int) -> None:
    torch.manual_seed(0)
    layer = MaskedWindowAttention(32, 4, shift, bias, update_anchors=True)
    with torch.no_grad():
        for p in layer.bias.parameters():
            p.add_(0.5 * torch.randn_like(p))
    x = torch.randn(2, 32, h, w)
    everything = layer(x)
    layer.update_anchors = False
    assert torch.allclose(layer(x)[..., ~anchor_mask(h, w)], everything[..., ~anchor_mask(h, w)], atol=1e-5)
    assert torch.allclose(everything, dense_attention(layer, x, shift), atol=1e-5)


def dense_attention(layer: MaskedWindowAttention, x: torch.Tensor, shift: int) -> torch.Tensor:
    """The definition, pair by pair in float64: no windows, no roll, no packing."""
    h, w = x.shape[-2:]
    P, n = layer.window, layer.heads
    q, k, v = layer.to_qkv(x).double().flatten(2).chunk(3, dim=1)
    q, k, v = (part.unflatten(1, (n, -1)) for part in (q, k, v))
    rows, columns = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    rows, columns = rows.flatten(), columns.flatten()
    # Sites are in one window if the window grid, moved by the shift, does not part them.
    window = (rows + P - shift) // P * 1000 + (columns + P - shift) // P
    together = window[:, None] == window[None, :]
    seen = together & ((rows + columns) % 2 == 0)[None, :]
    inside = ((rows + P - shift) % P) * P + (columns + P - shift) % P
    bias = layer.bias().double()
    bias = bias.expand(n, P * P, P * P)[:, inside][:, :, inside]
    logits = torch.einsum("bnds,bndt->bnst", q, k) / q.shape[2] ** 0.5 + bias
    weights = logits.masked_fill(~seen, -torch.inf).softmax(-1).nan_to_num()
    out = torch.einsum("bnst,bndt->bnds", weights, v).flatten(1, 2).unflatten(2, (h, w))
    projected: torch.Tensor = layer.project(out.float())
    return projected


def test_partition_is_undone() -> None:
    x = torch.arange(2 * 3 * 8 * 12.0).reshape(2, 3, 8, 12)
    windows = partition(x, 4)
    assert torch.equal(windows[0, 5], x[0, :, 1, 1])  # token 5 of the first window is row 1, column 1
    assert torch.equal(unpartition(windows, 4, 8, 12), x)


def isolated(shift: int, P: int = 4) -> MaskedWindowAttention:
    """Attention whose depth-wise convolution is the identity, so that only the windows carry anything."""
    torch.manual_seed(0)
    layer = MaskedWindowAttention(8, P, shift, "laplacian", update_anchors=False)
    depthwise = layer.to_qkv[1]
    assert isinstance(depthwise, nn.Conv2d)
    with torch.no_grad():
        depthwise.weight.zero_()
        depthwise.weight[:, 0, 1, 1] = 1.0
    return layer


def seen_from(layer: MaskedWindowAttention, row: int, column: int, h: int = 12, w: int = 12) -> set[tuple[int, int]]:
    """Sites whose input changes the output at (row, column), the site itself left out."""
    x = torch.randn(1, 8, h, w, generator=torch.Generator().manual_seed(1), requires_grad=True)
    (gradient,) = torch.autograd.grad(layer(x)[0, :, row, column].square().sum(), x)
    sites = gradient[0].abs().sum(0).nonzero().tolist()
    return {(r, c) for r, c in sites} - {(row, column)}


def test_shifted_windows_cross_the_borders_of_plain_ones_in_both_directions() -> None:
    anchors = {(r, c) for r in range(12) for c in range(12) if (r + c) % 2 == 0}
    plain = {(r, c) for r in range(4) for c in range(4, 8)} & anchors
    shifted = {(r, c) for r in range(2, 6) for c in range(2, 6)} & anchors
    assert seen_from(isolated(0), 3, 4) == plain
    assert seen_from(isolated(2), 3, 4) == shifted


def test_shifted_windows_do_not_join_opposite_borders_of_the_image() -> None:
    corner = {(r, c) for r in range(2) for c in range(2)}
    anchors = {(r, c) for r, c in corner if (r + c) % 2 == 0}
    assert seen_from(isolated(2), 0, 1) == anchors


@pytest.mark.parametrize(("h", "w"), [(4, 4), (8, 12), (20, 28), (5, 7), (1, 1)])
def test_any_grid_is_finite(h: int, w: int) -> None:
    for shift in (0, 4):
        assert torch.isfinite(isolated(shift, P=8)(torch.randn(2, 8, h, w))).all()
