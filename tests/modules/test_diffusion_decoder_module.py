"""Training of the diffusion decoder: what learns, what does not, what is averaged, what a checkpoint holds."""

from dataclasses import replace
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_codec.checkpoint import CheckpointError, weights_digest
from lightning_codec.codec import Codec
from lightning_codec.data import NamedImage
from lightning_codec.diffusion.denoiser import Denoiser
from lightning_codec.diffusion_decoder import DiffusionDecoder
from lightning_codec.errors import UserError
from lightning_codec.modules import DiffusionDecoderModule, DiffusionLossConfig, OptimizerConfig
from lightning_codec.modules import diffusion_decoder as module_file
from lightning_codec.modules.diffusion_draws import Draws, View
from lightning_codec.perceptual import PerceptualDistance, PerceptualName
from tests.modules.test_entropy_model_module import crops, trainer
from tests.tiny import TINY_DENOISER, TINY_NETWORK, tiny_compression_model, uniform

NO_PERCEPTUAL = DiffusionLossConfig(rho=0.0, perceptual="none")


class FakeDistance(PerceptualDistance):
    """In place of a perceptual network: mean absolute difference, and what it was shown."""

    def __init__(self, name: PerceptualName, as_loss: bool = False) -> None:
        self.weight = torch.nn.Linear(2, 2)
        self.shown: list[tuple[Tensor, Tensor]] = []

    def __call__(self, x_hat: Tensor, x: Tensor) -> Tensor:
        self.shown.append((x_hat, x))
        return (x_hat - x).abs().mean(dim=(1, 2, 3))


@pytest.fixture
def fake_distance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module_file, "PerceptualDistance", FakeDistance)


def tiny_module(**changes: object) -> DiffusionDecoderModule:
    torch.manual_seed(0)
    settings = {"decoder": TINY_DENOISER, "loss": NO_PERCEPTUAL, "train_codec": True}
    optimizer = OptimizerConfig(lr=1e-2, warmup_steps=0)
    return DiffusionDecoderModule(network=TINY_NETWORK, optimizer=optimizer, **{**settings, **changes})  # type: ignore[arg-type]


def trained(module: DiffusionDecoderModule, folder: Path, steps: int = 2) -> pl.Trainer:
    run = trainer(folder, steps)
    run.fit(module, crops(steps))
    return run


def two_stage(tmp_path: Path, **changes: object) -> DiffusionDecoderModule:
    """A module whose frozen codec comes from the checkpoint of another one."""
    path = tmp_path / "codec.ckpt"
    if not path.exists():
        trained(tiny_module(), tmp_path / "codec").save_checkpoint(path)
    torch.manual_seed(1)
    settings: dict[str, object] = {"loss": NO_PERCEPTUAL, "optimizer": OptimizerConfig(lr=1e-2, warmup_steps=0)}
    return DiffusionDecoderModule(codec=str(path), **{"decoder": TINY_DENOISER, **settings, **changes})  # type: ignore[arg-type]


def whole(t: Tensor, noise: Tensor) -> Draws:
    """The whole of every image, at these times [B] and with this noise."""
    return Draws(t, noise, View(list(range(len(t))), len(t)))


def averaged(module: DiffusionDecoderModule) -> Denoiser:
    assert isinstance(module.ema.module, Denoiser)
    return module.ema.module


def head_bias(denoiser: Denoiser) -> Tensor:
    bias = denoiser.unet.head.out.bias
    assert bias is not None
    return bias


def digest(module: DiffusionDecoderModule) -> bytes:
    return weights_digest(module.model.config, module.model)


def test_two_stage_training_moves_the_decoder_and_not_the_codec(tmp_path: Path) -> None:
    module = two_stage(tmp_path)
    codec, before = digest(module), weights_digest(TINY_DENOISER, module.decoder)
    run = trained(module, tmp_path)
    assert digest(module) == codec
    assert weights_digest(TINY_DENOISER, module.decoder) != before
    optimised = {id(p) for group in run.optimizers[0].param_groups for p in group["params"]}
    assert optimised == {id(p) for p in module.decoder.parameters()}


def test_joint_training_reaches_every_weight_of_codec_and_decoder(tmp_path: Path) -> None:
    module = tiny_module(loss=replace(NO_PERCEPTUAL, lmbda_rate=0.1))
    module.model.load_state_dict(tiny_compression_model().state_dict())  # whose symbols are not all 0
    module.train()
    with torch.no_grad():  # zero weights at the start keep the gradient from what lies before them
        for p in module.decoder.parameters():
            p.add_(0.05 * torch.randn_like(p))
    image = torch.nn.functional.interpolate(next(iter(crops(1))), scale_factor=2)  # latents of two windows
    t, noise = torch.tensor([0.1, 0.2]), torch.randn_like(image)
    draws = whole(t, noise)._replace(rate=module.model.rate_noise(image, uniform))
    module._step(image, draws, module.decoder).loss.backward()
    parameters = [*module.model.named_parameters(), *module.decoder.named_parameters()]
    assert [name for name, p in parameters if p.grad is None or not bool(p.grad.any())] == []


def test_averaged_weights_follow_the_recursion_once_per_optimiser_step(tmp_path: Path) -> None:
    module = two_stage(tmp_path, ema_decay=0.2)
    states: list[Tensor] = []

    class Record(pl.Callback):
        def on_train_batch_end(self, *args: object) -> None:
            states.append(head_bias(module.decoder).detach().clone())

    run = trainer(tmp_path, 3, callbacks=[Record()], accumulate_grad_batches=2)
    run.fit(module, crops(6))
    expected = states[1]  # the first step sets the average
    for count, state in enumerate(states[3::2], start=1):
        decay = min(0.2, (1 + count) / (10 + count))
        expected = decay * expected + (1.0 - decay) * state
    assert torch.allclose(head_bias(averaged(module)), expected, atol=1e-7)
    assert int(module.ema.n_averaged) == 3


def test_validation_decodes_with_the_averaged_weights_and_returns_what_a_file_gives(tmp_path: Path) -> None:
    module = two_stage(tmp_path)
    trained(module, tmp_path)
    run = trainer(tmp_path, 1)
    run.fit(module, crops(1))
    run.save_checkpoint(tmp_path / "d.ckpt")
    batch = NamedImage(torch.rand(1, 3, 40, 70), "a")
    module.eval()
    with torch.no_grad():
        step = module.validation_step(batch, 0)
    loaded = DiffusionDecoder.load(tmp_path / "d.ckpt")
    data = loaded.compress(batch.image[0])
    assert torch.equal(loaded.decompress(data), step.x_hat[0])
    assert step.file is not None
    assert step.file.data == data
    assert step.file.encode_seconds is None
    with torch.no_grad():
        head_bias(module.decoder).add_(1.0)  # not averaged yet: it changes no picture
        again = module.validation_step(batch, 0)
        assert torch.equal(again.x_hat, step.x_hat)
        assert again.loss == step.loss
        head_bias(averaged(module)).add_(1.0)
        moved = module.validation_step(batch, 0)
    assert not torch.equal(moved.x_hat, step.x_hat)
    assert moved.loss != step.loss


def test_a_resumed_training_ends_with_the_same_weights_and_average(tmp_path: Path) -> None:
    steady = OptimizerConfig(lr=1e-2, warmup_steps=0, schedule="step", step_milestones=())  # whatever the length

    # The order of the data is not looked at here: all images are the same.
    image = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(3))
    alike: DataLoader[Tensor] = DataLoader([image] * 8, batch_size=2)  # type: ignore[arg-type] # a list will do

    def run(module: DiffusionDecoderModule, steps: int, checkpoint: Path | None = None) -> None:
        saver = ModelCheckpoint(tmp_path / "states", filename="{step}", every_n_train_steps=2, save_top_k=-1)
        trainer(tmp_path, steps, callbacks=[saver]).fit(module, alike, ckpt_path=checkpoint)

    full, half, resumed = (two_stage(tmp_path, optimizer=steady, ema_decay=0.5) for _ in range(3))
    run(full, 4)
    run(half, 2)
    run(resumed, 4, tmp_path / "states" / "step=2.ckpt")
    for part in ("decoder", "ema"):
        ends = [getattr(module, part).state_dict() for module in (full, resumed)]
        assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])
    assert int(resumed.ema.n_averaged) == 4


def test_a_checkpoint_holds_the_codec_and_no_perceptual_network(tmp_path: Path, fake_distance: None) -> None:
    module = two_stage(tmp_path, loss=DiffusionLossConfig(rho=0.5, perceptual="stlpips-alex"))
    path = tmp_path / "decoder.ckpt"
    trained(module, tmp_path).save_checkpoint(path)
    assert isinstance(module._perceptual, FakeDistance)
    names = torch.load(path, weights_only=True)["state_dict"]
    assert {name.split(".")[0] for name in names} == {"model", "decoder", "ema"}
    assert Codec.load(path).fingerprint == Codec.load(tmp_path / "codec.ckpt").fingerprint


def test_a_decoder_for_another_codec_can_start_from_averaged_weights(tmp_path: Path) -> None:
    module = two_stage(tmp_path, ema_decay=0.9)
    trained(module, tmp_path).save_checkpoint(tmp_path / "decoder.ckpt")
    other = tmp_path / "other"
    longer = tiny_module()
    trained(longer, other, steps=3).save_checkpoint(other / "codec.ckpt")
    assert digest(longer) != digest(module)
    fresh = two_stage(other, start_from=str(tmp_path / "decoder.ckpt"))
    average = averaged(module).state_dict()
    assert not torch.equal(head_bias(averaged(module)), head_bias(module.decoder))
    for part in (fresh.decoder, averaged(fresh)):
        assert all(torch.equal(value, average[name]) for name, value in part.state_dict().items())
    assert digest(fresh) == digest(longer)
    with pytest.raises(CheckpointError, match="do not fit the network"):
        DiffusionDecoderModule(network=TINY_NETWORK, start_from=str(tmp_path / "decoder.ckpt"))


def test_a_decoder_with_more_units_starts_as_the_one_with_fewer(tmp_path: Path) -> None:
    module = two_stage(tmp_path)
    trained(module, tmp_path).save_checkpoint(tmp_path / "decoder.ckpt")
    deeper = replace(TINY_DENOISER, unet=replace(TINY_DENOISER.unet, units=(2, 1, 3)))
    grown = two_stage(tmp_path, decoder=deeper, start_from=str(tmp_path / "decoder.ckpt"))
    image = torch.rand(1, 3, 64, 64)
    t, z = torch.tensor([0.1]), torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        _, ladder = module._condition(image)
        assert torch.equal(grown.decoder(z, t, ladder).x_hat, averaged(module)(z, t, ladder).x_hat)
    trained(grown, tmp_path).save_checkpoint(tmp_path / "grown.ckpt")
    with pytest.raises(CheckpointError, match=r"grown\.ckpt: its weights do not fit the network: .*units\.1"):
        two_stage(tmp_path, start_from=str(tmp_path / "grown.ckpt"))
    decoder = DiffusionDecoder.load(tmp_path / "grown.ckpt")
    assert decoder.denoiser.config.unet.units == (2, 1, 3)


def test_a_texture_map_that_was_not_seen_before_counts_nothing_until_it_is_trained(tmp_path: Path) -> None:
    module = two_stage(tmp_path)
    trained(module, tmp_path).save_checkpoint(tmp_path / "decoder.ckpt")
    seeing = replace(TINY_DENOISER, texture_map=True)
    grown = two_stage(tmp_path, decoder=seeing, start_from=str(tmp_path / "decoder.ckpt"))
    image = torch.rand(2, 3, 64, 64)
    t, z = torch.tensor([0.1, 0.2]), torch.randn(2, 3, 64, 64)
    levels = torch.tensor([[[0, 3], [1, 4]]]).repeat(2, 1, 1)
    with torch.no_grad():
        _, ladder = module._condition(image)
        before = averaged(module)(z, t, ladder).x_hat
        assert torch.allclose(grown.decoder(z, t, grown.decoder.condition(ladder, levels)).x_hat, before, atol=1e-6)
    after = trained(grown, tmp_path)
    after.save_checkpoint(tmp_path / "grown.ckpt")
    with torch.no_grad():
        shown, hidden = (grown.decoder(z, t, grown.decoder.condition(ladder, x)).x_hat for x in (levels, None))
    assert float((shown - hidden).abs().max()) > 0.0
    assert Codec.load(tmp_path / "grown.ckpt").texture_map
    assert not Codec.load(tmp_path / "decoder.ckpt").texture_map
    data = DiffusionDecoder.load(tmp_path / "grown.ckpt").compress(image[0])
    assert Codec.load(tmp_path / "grown.ckpt").compress(image[0]) == data
    assert Codec.load(tmp_path / "grown.ckpt").decode(data).texture is not None


def test_test_step_decodes_the_file_that_predict_writes(tmp_path: Path) -> None:
    module = two_stage(tmp_path).eval()
    batch = NamedImage(torch.rand(1, 3, 33, 65), "a")
    with torch.no_grad():
        step = module.test_step(batch, 0)
        data = module.predict_step(batch, 0)
    assert step.loss is None
    assert step.file is not None
    assert step.file.data == data == Codec.load(tmp_path / "codec.ckpt").compress(batch.image[0])
    assert torch.equal(step.x_hat[0], module.codec().decompress(data))
    assert step.bpp_estimated == pytest.approx(8 * len(data) / (33 * 65), rel=1.0)
    assert float(step.bits.sum()) == pytest.approx(step.bpp_estimated * 33 * 65, rel=1e-5)
    assert step.bits.shape == (64 // 16, 128 // 16)  # the padded size


def test_impossible_settings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="either codec"):
        DiffusionDecoderModule()
    with pytest.raises(UserError, match="either codec"):
        DiffusionDecoderModule(codec="a.ckpt", network=TINY_NETWORK)
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        DiffusionDecoderModule(codec=str(tmp_path / "none.ckpt"))
    with pytest.raises(UserError, match="stay frozen"):
        trained(tiny_module(train_codec=False), tmp_path)
    with pytest.raises(UserError, match=r"rho is 1\.5"):
        DiffusionLossConfig(rho=1.5)
    with pytest.raises(UserError, match="t_max"):
        DiffusionLossConfig(t_max=0.0)
    with pytest.raises(UserError, match="ema_decay"):
        tiny_module(ema_decay=1.0)
