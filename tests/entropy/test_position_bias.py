"""The Laplacian relative position bias: its shape in closed form, its parameters."""

import math

import pytest
import torch

from lightning_codec.entropy import EntropyConfig, EntropyModel, RateNoise
from lightning_codec.entropy.position_bias import LaplacianBias, LearnedBias, position_bias


def bias_at(bias: torch.Tensor, P: int, row: int, column: int) -> torch.Tensor:
    """b at the displacement (row, column) from the top left site, all heads."""
    return bias[:, row * P + column, 0]


def test_values_are_the_closed_form() -> None:
    module = LaplacianBias(3, 4).double()
    with torch.no_grad():
        module.amplitude.copy_(torch.tensor([0.5, 1.0, -2.0], dtype=torch.float64))
        module.width.copy_(torch.tensor([0.7, -1.3, 2.0], dtype=torch.float64))
    b = module()
    for head, (A, B) in enumerate([(0.5, 0.7), (1.0, 1.3), (2.0, 2.0)]):  # even in both A and B
        for p in range(16):
            for q in range(16):
                delta = abs(p // 4 - q // 4) + abs(p % 4 - q % 4)
                expected = A * A * math.exp(-0.5 * delta / (B * B + 1e-6))
                assert b[head, p, q].item() == pytest.approx(expected, rel=1e-9)


def test_symmetric_translation_invariant_and_decreasing() -> None:
    P = 8
    b = LaplacianBias(4, P)().detach()
    assert torch.equal(b, b.transpose(1, 2))
    shifted = b[:, (2 * P + 3) + 1 * P + 2, 2 * P + 3]  # displacement (1, 2) from (2, 3)
    assert torch.equal(shifted, bias_at(b, P, 1, 2))
    along = torch.stack([bias_at(b, P, r, c) for r, c in [(0, 0), (0, 1), (1, 1), (2, 1), (3, 4), (7, 7)]])
    assert (along[:-1] > along[1:]).all()
    assert (along > 0).all()
    assert torch.allclose(along[0], torch.full((4,), 1.5**2))  # A^2 at distance 0


def test_half_distance_is_two_ln_two_b_squared() -> None:
    module = LaplacianBias(1, 8).double()
    with torch.no_grad():
        module.width.fill_(math.sqrt(2.0 / (2.0 * math.log(2.0)) - 1e-6))  # halves every 2 sites
    b = module()[0]
    for delta in (0, 1, 3, 5):
        assert (b[delta, 0] / b[delta + 2, 0]).item() == pytest.approx(2.0, rel=1e-9)


def test_finite_at_zero_width_with_all_the_weight_at_distance_zero() -> None:
    module = LaplacianBias(2, 4)
    with torch.no_grad():
        module.width.zero_()
    b = module()
    assert torch.isfinite(b).all()
    assert torch.allclose(b, 2.25 * torch.eye(16).expand(2, 16, 16))


def test_squared_widths_start_geometric_from_one_half_to_the_window() -> None:
    squared = LaplacianBias(4, 8).width.detach() ** 2
    assert torch.allclose(squared, torch.tensor([0.5, 0.5 * 16 ** (1 / 3), 0.5 * 16 ** (2 / 3), 8.0]), rtol=1e-5)


def test_every_layer_of_every_group_owns_its_pairs() -> None:
    config = EntropyConfig(hyper_channels=4, channel_groups=[8, 16, 40], window=4, blocks=2)
    model = EntropyModel(64, config)
    pairs = [m for m in model.modules() if isinstance(m, LaplacianBias)]
    heads = [1, 2, 5]  # D / 16 with D = 16, 32, 80
    assert sum(m.amplitude.numel() for m in pairs) == sum(2 * config.blocks * h for h in heads)
    assert len({id(m.amplitude) for m in pairs}) == len(pairs) == 3 * 2 * 2


def test_a_shared_pair_serves_every_head_of_every_layer_and_group() -> None:
    torch.manual_seed(0)
    model = EntropyModel(40, EntropyConfig(hyper_channels=8, position_bias="laplacian-shared"))
    pairs = [p for name, p in model.named_parameters() if name.endswith((".amplitude", ".width"))]
    assert [tuple(p.shape) for p in pairs] == [(1,), (1,)]
    y = 3.0 * torch.randn(1, 40, 8, 8)
    before = model(y).y_likelihoods.detach()
    with torch.no_grad():
        pairs[0].mul_(50.0)
    change = (model(y).y_likelihoods.detach() - before).abs()
    for j, width in enumerate(model.widths):
        first = sum(model.widths[:j])
        assert float(change[:, first : first + width].max()) > 0.0, j
    sums = model(y).y_likelihoods.log().sum()
    sums.backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in pairs)


def test_both_parameters_get_a_gradient_at_the_start() -> None:
    torch.manual_seed(0)
    model = EntropyModel(12, EntropyConfig(hyper_channels=4, channel_groups=[4, 8], window=4))
    noise = RateNoise(torch.rand(1, 12, 8, 8) - 0.5, torch.rand(1, 4, 2, 2) - 0.5)
    out = model(3.0 * torch.randn(1, 12, 8, 8), noise)
    (-out.y_likelihoods.log().sum()).backward()
    for module in model.modules():
        if isinstance(module, LaplacianBias):
            for parameter in (module.amplitude, module.width):
                assert parameter.grad is not None
                assert parameter.grad.abs().min() > 0


def test_learned_bias_has_one_value_per_displacement() -> None:
    P = 4
    module = LearnedBias(1, P)
    with torch.no_grad():
        module.table.copy_(torch.arange(49.0)[None])
    b = module()[0]
    values = {(p // P - q // P, p % P - q % P, float(b[p, q])) for p in range(16) for q in range(16)}
    assert len(values) == 49  # a function of the displacement, and injective


def test_unknown_kind_names_the_choices() -> None:
    with pytest.raises(ValueError, match="laplacian, laplacian-shared, learned or none"):
        position_bias("swin", 1, 4)  # type: ignore[arg-type]
