"""The parameters of a symbol depend only on symbols decoded before it: Jacobians, not opinions."""

from typing import Any

import pytest
import torch

from lightning_codec.entropy import EntropyModel, GaussianParams, RateNoise, Sites
from lightning_codec.entropy.contexts import LocalContext
from lightning_codec.entropy.group import GroupModel
from tests.entropy.tiny import group_slice, random_latents, record, site_mask, tiny_model

ABLATIONS: list[dict[str, Any]] = [
    {},
    {"update_anchors": True},
    {"position_bias": "learned"},
    {"position_bias": "none"},
    {"position_bias": "laplacian-shared"},
    {"local_context": False},
    {"global_context": False},
    {"blocks": 2},
    {"channel_groups": "single"},
]


def jacobian(model: EntropyModel, j: int, sites: Sites) -> torch.Tensor:
    """|d sum of randomly weighted (mu, l) of one pass / d y|: [M, h, w], psi held fixed."""
    y, psi = random_latents()
    y.requires_grad_(True)
    params = record(model, y, psi)[j, sites]
    generator = torch.Generator().manual_seed(2)
    total = torch.zeros(())
    for part in params:
        total = total + (part * torch.randn(part.shape, generator=generator)).sum()
    if not total.requires_grad:
        return torch.zeros(y.shape[1:])
    (gradient,) = torch.autograd.grad(total, y, allow_unused=True)
    return torch.zeros(y.shape[1:]) if gradient is None else gradient[0].abs()


@pytest.mark.parametrize("changes", ABLATIONS, ids=str)
def test_a_pass_sees_only_what_was_decoded_before_it(changes: dict[str, Any]) -> None:
    model = tiny_model(**changes)
    for j in range(len(model.widths)):
        own = group_slice(model, j)
        anchors = jacobian(model, j, Sites.ANCHOR)
        others = jacobian(model, j, Sites.NON_ANCHOR)
        non_anchor = site_mask(8, 12, Sites.NON_ANCHOR)
        assert anchors[own].max() == 0  # the anchor pass does not see its own group
        assert others[own][:, non_anchor].max() == 0  # nor do the non-anchors see one another
        assert others[own][:, ~non_anchor].max() > 0  # but they do see the anchors
        for gradient in (anchors, others):
            assert gradient[own.stop :].numel() == 0 or gradient[own.stop :].max() == 0  # no later group
            if j:
                assert gradient[: own.start].max() > 0  # the earlier ones


def test_without_checkerboard_a_group_sees_nothing_of_itself() -> None:
    model = tiny_model(checkerboard=False)
    for j in range(3):
        gradient = jacobian(model, j, Sites.ALL)
        assert gradient[group_slice(model, j).start :].max() == 0


def test_changing_non_anchors_changes_no_parameter_of_their_group_by_a_bit() -> None:
    model = tiny_model()
    y, psi = random_latents()
    changed = y.clone()
    j = 1
    mask = site_mask(8, 12, Sites.NON_ANCHOR)
    changed[:, group_slice(model, j)] += 7.3 * mask
    before, after = record(model, y, psi), record(model, changed, psi)
    for sites in (Sites.ANCHOR, Sites.NON_ANCHOR):
        for a, b in zip(before[j, sites], after[j, sites], strict=True):
            assert torch.equal(a, b)
    assert not torch.equal(before[2, Sites.ANCHOR].mean, after[2, Sites.ANCHOR].mean)


def test_global_context_is_zero_at_anchors_and_crosses_the_grid() -> None:
    model = tiny_model()
    group = model.groups[1]
    assert isinstance(group, GroupModel)
    context = group.global_context
    assert context is not None
    y_anchor = torch.randn(1, 4, 8, 12) * site_mask(8, 12, Sites.ANCHOR)
    phi = context(y_anchor, torch.randn(1, 8, 8, 12))
    assert phi[..., site_mask(8, 12, Sites.ANCHOR)].abs().max() == 0
    assert phi[..., site_mask(8, 12, Sites.NON_ANCHOR)].abs().min() > 0


def test_local_context_keeps_the_twelve_taps_of_odd_distance() -> None:
    torch.manual_seed(0)
    context = LocalContext(3)
    taps = torch.tensor([[float((u + v) % 2) for v in range(5)] for u in range(5)])
    assert taps.sum() == 12
    for h, w in [(8, 12), (2, 2), (4, 2)]:
        y_anchor = torch.randn(2, 3, h, w) * site_mask(h, w, Sites.ANCHOR)
        masked = torch.nn.functional.conv2d(y_anchor, context.conv.weight * taps, context.conv.bias, padding=2)
        expected = masked * site_mask(h, w, Sites.NON_ANCHOR)
        assert torch.allclose(context(y_anchor), expected, atol=1e-5)
    (gradient,) = torch.autograd.grad(context(torch.randn(1, 3, 8, 8)).square().sum(), context.conv.weight)
    assert torch.equal(gradient.abs().amax(dim=(0, 1)) > 0, taps > 0)


def test_the_anchor_pass_gets_zeros_and_not_a_bias_of_the_spatial_contexts() -> None:
    model = tiny_model()
    y, psi = random_latents()
    before = record(model, y, psi)[0, Sites.ANCHOR]
    with torch.no_grad():
        group = model.groups[0]
        assert isinstance(group, GroupModel)
        for context in (group.local_context, group.global_context):
            assert context is not None
            for parameter in context.parameters():
                parameter.add_(5.0)
    after = record(model, y, psi)[0, Sites.ANCHOR]
    assert torch.equal(before.mean, after.mean)


def as_one(params: GaussianParams) -> torch.Tensor:
    return torch.cat(list(params), dim=1)


def test_parameters_do_not_depend_on_the_rest_of_the_batch() -> None:
    model = tiny_model()
    y, psi = random_latents(batch=3)
    together = record(model, y, psi)
    for b in range(3):
        alone = record(model, y[b : b + 1], psi[b : b + 1])
        for key, params in alone.items():
            assert torch.allclose(as_one(params), as_one(together[key])[b : b + 1], atol=1e-6, rtol=0)


def test_rounded_latents_are_within_half_of_the_latents_channel_by_channel() -> None:
    model = tiny_model()
    y, _ = random_latents()
    with torch.no_grad():
        assert (model(y).y_hat - y).abs().max() <= 0.5 + 1e-5


def test_a_grid_seen_first_by_an_evaluation_can_be_trained_on() -> None:
    model = tiny_model()
    y, _ = random_latents(h=20, w=4)  # a grid that no other test has put into the cache of masks
    with torch.inference_mode():
        model(y)
    noise = RateNoise(torch.zeros_like(y), torch.zeros(1, 4, 5, 1))
    model(y, noise).y_likelihoods.log().sum().backward()


def test_train_and_eval_mode_give_the_same_parameters() -> None:
    model = tiny_model()
    y, psi = random_latents()
    evaluated = record(model.eval(), y, psi)
    trained = record(model.train(), y, psi)
    assert all(torch.equal(as_one(evaluated[key]), as_one(trained[key])) for key in evaluated)
