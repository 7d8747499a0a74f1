"""The loss of the diffusion decoder: its terms, their weights, and which images and times count."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lightning_codec.diffusion.denoiser import Estimate, smooth
from lightning_codec.diffusion.process import diffuse
from lightning_codec.diffusion.samplers import start, time_grid, visited_state
from lightning_codec.diffusion.sampling import SamplingConfig
from lightning_codec.diffusion.texture import texture_distance
from lightning_codec.errors import UserError
from lightning_codec.modules import DiffusionLossConfig
from lightning_codec.modules.diffusion_draws import Draws, Rollout, View, whole_view
from tests.modules.test_diffusion_decoder_module import (
    NO_PERCEPTUAL,
    FakeDistance,
    fake_distance,
    head_bias,
    tiny_module,
    two_stage,
    whole,
)
from tests.modules.test_entropy_model_module import crops, trainer
from tests.tiny import TINY_DENOISER, uniform

__all__ = ["fake_distance"]  # fixture


def test_the_parts_of_the_loss_add_up_and_the_rate_counts_only_with_its_weight() -> None:
    image = next(iter(crops(1)))
    t, noise = torch.tensor([0.1, 0.2]), torch.randn_like(image)

    def gradient(lmbda_rate: float) -> Tensor:
        module = tiny_module(loss=DiffusionLossConfig(rho=0.0, perceptual="none", fidelity=0.5, lmbda_rate=lmbda_rate))
        module.train()
        draws = whole(t, noise)._replace(rate=module.model.rate_noise(image, uniform))
        losses = module._step(image, draws, module.decoder)
        expected = losses.diffusion + 0.5 * losses.fidelity + lmbda_rate * losses.bpp
        assert float(losses.loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-6)
        losses.loss.backward()
        gradients = [p.grad for p in module.model.entropy.prior.parameters() if p.grad is not None]
        return torch.stack([g.abs().sum() for g in gradients]).sum() if gradients else torch.zeros(())

    assert float(gradient(0.0)) == 0.0  # the prior of z is moved by the rate alone
    assert float(gradient(0.1)) > 0.0


def test_the_perceptual_distance_sees_the_estimate_and_its_share_of_the_batch(fake_distance: None) -> None:
    module = tiny_module(loss=DiffusionLossConfig(rho=0.25, perceptual="stlpips-alex", fidelity=0.0))
    module.setup("fit")
    assert isinstance(module._perceptual, FakeDistance)
    image = torch.rand(4, 3, 64, 64)
    t, noise = torch.full((4,), 0.1), torch.randn_like(image)
    losses = module._step(image, Draws(t, noise, View([1, 3], 4.0, 3, 5)), module.decoder)
    ((_, x),) = module._perceptual.shown
    assert torch.allclose(x, image[1::2, :, 3:, 5:], atol=1e-6)
    assert losses.perceptual is not None
    ((shown, _),) = module._perceptual.shown
    assert float(losses.perceptual) == pytest.approx(float((shown - x).abs().mean(dim=(1, 2, 3)).sum()) / 4.0, rel=1e-5)
    expected = 0.75 * losses.diffusion + 0.25 * losses.perceptual
    assert float(losses.loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-6)
    (gradient,) = torch.autograd.grad(losses.perceptual, head_bias(module.decoder))
    assert bool(gradient.any())
    assert not any("perceptual" in name for name in module.state_dict())


def test_the_perceptual_distance_sees_a_piece_of_both_pictures_magnified(fake_distance: None) -> None:
    module = tiny_module(loss=DiffusionLossConfig(rho=0.25, perceptual="stlpips-alex"))
    module.setup("fit")
    image = torch.rand(2, 3, 64, 64)
    t, noise = torch.full((2,), 0.1), torch.randn_like(image)
    view = View([1], 1.0, magnify=4.0, place=(0.25, 0.75))
    module._step(image, Draws(t, noise, View([1], 1.0)), module.decoder)
    module._step(image, Draws(t, noise, view), module.decoder)
    assert isinstance(module._perceptual, FakeDistance)
    whole, pieces = module._perceptual.shown
    for before, after in zip(whole, pieces, strict=True):
        assert torch.allclose(after, view.magnified(before), atol=1e-5)


def test_band_energies_count_with_their_weight() -> None:
    image = next(iter(crops(1)))
    t, noise = torch.tensor([0.1, 0.2]), torch.randn_like(image)
    module = tiny_module(loss=replace(NO_PERCEPTUAL, texture=0.5, fidelity=0.0))
    losses = module._step(image, whole(t, noise), module.decoder)
    x_c = smooth(2.0 * module.model(image).ladder.c0 - 1.0)  # what an untrained decoder says
    assert losses.texture is not None
    assert float(losses.texture) == pytest.approx(float(texture_distance(x_c, 2.0 * image - 1.0).mean()), rel=1e-5)
    assert float(losses.loss.detach()) == pytest.approx(float(losses.diffusion + 0.5 * losses.texture), rel=1e-6)


def test_the_perceptual_distance_is_spared_times_of_mere_noise_and_rho_zero(fake_distance: None) -> None:
    module = tiny_module(loss=DiffusionLossConfig(rho=0.25, perceptual="stlpips-alex", perceptual_min_snr=1.0))
    module.setup("fit")
    image = torch.rand(3, 3, 64, 64)
    schedule = module.decoder.config.schedule
    t = torch.tensor([0.2, 0.7, 0.3])  # SNR is 1 near t = 0.5
    view = whole_view(t, schedule, 1.0)
    assert view == View([0, 2], 2)
    module._step(image, Draws(t, torch.randn_like(image), view), module.decoder)
    assert isinstance(module._perceptual, FakeDistance)
    assert torch.allclose(module._perceptual.shown[0][1], image[::2], atol=1e-6)
    t = torch.full((3,), 0.9)
    losses = module._step(image, Draws(t, torch.randn_like(image), whole_view(t, schedule, 1.0)), module.decoder)
    assert float(losses.loss) == pytest.approx(
        float(0.75 * losses.diffusion + module.loss_config.fidelity * losses.fidelity), rel=1e-6
    )
    without = tiny_module(loss=DiffusionLossConfig(rho=0.0, perceptual="stlpips-alex"))
    without.setup("fit")
    assert without._perceptual is None


def test_rolled_out_images_are_trained_where_the_sampler_comes_to() -> None:
    sampling = SamplingConfig(sampler="ancestral", gamma=0.8, colour=0.5)
    module = tiny_module(loss=replace(NO_PERCEPTUAL, rollout=2), sampling=sampling)
    image = torch.rand(4, 3, 64, 64)
    schedule, noise, fresh = module.decoder.config.schedule, torch.randn(4, 3, 64, 64), torch.randn(2, 3, 64, 64)
    grid, rows = time_grid(3, 0.2, 2.0), [0, 2]
    seen: list[Tensor] = []

    def denoiser(z: Tensor, times: Tensor, ladder: list[Tensor]) -> Estimate:
        seen.append(z)
        return module.decoder(z, times, ladder)  # type: ignore[no-any-return]

    for stop in (0, 2):
        t = torch.tensor([grid[stop], 0.123, grid[stop], 0.123])
        draws = whole(t, noise)._replace(rollout=Rollout(rows, grid, stop, lambda _: fresh))
        losses = module._step(image, draws, denoiser)  # type: ignore[arg-type]
        z = seen.pop()
        assert torch.equal(z[1::2], diffuse(schedule, 2 * image - 1, t, noise)[1::2])
        ladder = [rung[rows] for rung in module._condition(image)[1]]
        expected = start(schedule, ladder[0], grid[0], 0.8, noise[rows], 0.5)
        if stop:
            expected = visited_state(
                lambda z, t: module.decoder(z, torch.full((2,), t), ladder).x_hat,  # noqa: B023 - used at once
                expected,
                grid,
                stop,
                schedule,
                "ancestral",
                lambda _: fresh,
            )
        assert torch.allclose(z[rows], expected, atol=1e-5)
        assert losses.loss.requires_grad
        assert not z.requires_grad
    with pytest.raises(UserError, match="needs prediction x"):
        tiny_module(loss=replace(NO_PERCEPTUAL, rollout=2), decoder=replace(TINY_DENOISER, prediction="epsilon"))


@pytest.mark.parametrize("train_codec", [False, True])
def test_every_term_trains_in_as_loss(train_codec: bool, tmp_path: Path, fake_distance: None) -> None:
    """What goes through the DCT stays in float32: scipy knows no bfloat16."""
    loss = DiffusionLossConfig(texture=0.1, rollout=2, lmbda_rate=0.1)
    module = tiny_module(loss=loss) if train_codec else two_stage(tmp_path, loss=loss)
    trainer(tmp_path, 2, precision="bf16-mixed", gradient_clip_val=1.0).fit(module, crops(2))
    assert all(bool(weight.isfinite().all()) for weight in module.parameters())
    assert float(head_bias(module.decoder).abs().max()) > 0.0
