"""g_a, the ladder, padding, latent residual prediction."""

import pytest
import torch

from lightning_codec.transforms import (
    AnalysisTransform,
    LatentResidualPrediction,
    SynthesisLadder,
    crop_to,
    pad_to_multiple,
    padded_size,
)


@pytest.mark.parametrize(
    ("size", "padded"),
    [((1, 1), (64, 64)), ((64, 128), (64, 128)), ((17, 333), (64, 384)), ((65, 64), (128, 64))],
)
def test_padding_repeats_the_last_row_and_column_and_is_undone(size: tuple[int, int], padded: tuple[int, int]) -> None:
    x = torch.rand(2, 3, *size)
    out = pad_to_multiple(x)
    assert tuple(out.shape[-2:]) == padded == padded_size(*size)
    assert torch.equal(crop_to(out, *size), x)
    rows = torch.arange(padded[0]).clamp(max=size[0] - 1)
    columns = torch.arange(padded[1]).clamp(max=size[1] - 1)
    assert torch.equal(out, x[:, :, rows][:, :, :, columns])
    assert torch.equal(pad_to_multiple(out), out)


def test_strides_of_latents_and_rungs() -> None:
    y = AnalysisTransform((4, 6, 8), 10, units=1)(torch.rand(1, 3, 64, 128))
    assert y.shape == (1, 10, 4, 8)
    ladder = SynthesisLadder(10, (4, 6, 8), units=1)(y)
    assert [tuple(c.shape[1:]) for c in ladder] == [(8, 8, 16), (6, 16, 32), (4, 32, 64), (3, 64, 128)]


def test_rungs_are_not_modified_after_they_were_returned() -> None:
    synthesis = SynthesisLadder(10, (4, 6, 8), units=1)
    seen: list[torch.Tensor] = []
    for rung in synthesis.rungs:
        rung.register_forward_hook(lambda module, args, output: seen.append(output.detach().clone()))
    ladder = synthesis(torch.randn(1, 10, 4, 4))
    for returned, at_birth in zip(ladder[:3], seen[:3], strict=True):
        assert torch.equal(returned, at_birth)
    assert torch.equal(ladder.c0, seen[3] + 0.5)


def test_mid_grey_is_the_zero_of_both_transforms() -> None:
    analysis = AnalysisTransform((4, 6, 8), 10, units=0)
    synthesis = SynthesisLadder(10, (4, 6, 8), units=1)
    with torch.no_grad():
        for p in [*analysis.parameters(), *synthesis.parameters()]:
            if p.ndim == 1:
                p.zero_()
    assert analysis(torch.full((1, 3, 64, 64), 0.5)).abs().max() == 0
    assert torch.equal(synthesis(torch.zeros(1, 10, 4, 4)).c0, torch.full((1, 3, 64, 64), 0.5))


def test_latent_residual_prediction_stays_within_half_and_reads_no_later_group() -> None:
    torch.manual_seed(0)
    lrp = LatentResidualPrediction((2, 4), psi_channels=3)
    psi, y_hat = torch.randn(1, 6, 4, 4), 50.0 * torch.randn(1, 6, 4, 4)
    residual = lrp(psi, y_hat) - y_hat
    assert 0 < residual.abs().max() <= 0.5 + 1e-5
    changed = y_hat.clone()
    changed[:, 2:] += 1.0
    assert torch.equal(lrp(psi, changed)[:, :2], lrp(psi, y_hat)[:, :2])
    shifted = psi.clone()
    shifted[:, 3:] += 1.0  # the sigma half of psi
    assert torch.equal(lrp(shifted, y_hat), lrp(psi, y_hat))
