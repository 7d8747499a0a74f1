"""Training of the entropy codec: loss, schedule, phases, checkpoints."""

import math
from dataclasses import replace
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from torch.utils.data import DataLoader

from lightning_codec.checkpoint import CheckpointError
from lightning_codec.codec import Codec
from lightning_codec.data import NamedImage
from lightning_codec.entropy import RateNoise
from lightning_codec.errors import UserError
from lightning_codec.modules import EntropyModelModule, OptimizerConfig
from lightning_codec.modules.entropy_model import estimated_bits
from lightning_codec.modules.optimizer import build_optimizer
from tests.tiny import TINY_NETWORK


def tiny_module(**changes: object) -> EntropyModelModule:
    torch.manual_seed(0)
    return EntropyModelModule(network=TINY_NETWORK, lmbda=0.01, **changes)  # type: ignore[arg-type]


def crops(batches: int, batch_size: int = 2, seed: int = 0) -> DataLoader[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(batches * batch_size, 3, 5, 5, generator=generator)
    images = torch.nn.functional.interpolate(coarse, size=(64, 64), mode="bicubic").clamp(0, 1)
    return DataLoader(list(images), batch_size=batch_size)  # type: ignore[arg-type]


def trainer(folder: Path, max_steps: int, **changes: object) -> pl.Trainer:
    return pl.Trainer(
        max_steps=max_steps,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        **changes,  # type: ignore[arg-type]
    )


def test_the_loss_is_bpp_plus_weighted_squared_error_per_original_pixel() -> None:
    module = tiny_module()
    image = torch.rand(1, 3, 50, 70)
    with torch.no_grad():
        step = module.validation_step(NamedImage(image, "a"), 0)
        output = module.model(image)
    bpp = float(estimated_bits(output)) / (50 * 70)  # not over the padded 64 x 128
    mse = float((output.x_hat - image).square().mean())
    assert step.bpp_estimated == pytest.approx(bpp, rel=1e-6)
    assert step.loss == pytest.approx(bpp + 0.01 * 255**2 * mse, rel=1e-5)
    assert step.file is None
    assert torch.equal(step.x_hat, output.x_hat.clamp(0, 1))


def test_ms_ssim_distortion_lies_between_zero_and_one_and_needs_room(tmp_path: Path) -> None:
    module = tiny_module(distortion="ms-ssim")
    with torch.no_grad():
        _, losses = module._step(torch.rand(1, 3, 176, 176))
    assert losses.loss is not None
    assert 0 < float(losses.loss - losses.bpp) / 0.01 <= 1.0
    with pytest.raises(UserError, match="at least 161 pixels"):
        trainer(tmp_path, 1).fit(module, crops(1))
    with torch.no_grad():
        assert module.validation_step(NamedImage(torch.rand(1, 3, 128, 200), "small"), 0).loss is None


@pytest.mark.parametrize("changes", [{"lmbda": 0.0}, {"hard_rate_fraction": 1.5}])
def test_settings_out_of_range_are_refused(changes: dict[str, float]) -> None:
    with pytest.raises(UserError, match="it must"):
        EntropyModelModule(**{"network": TINY_NETWORK, "lmbda": 0.01, **changes})  # type: ignore[arg-type]


def test_the_rate_is_hard_in_the_last_part_only(tmp_path: Path) -> None:
    module = tiny_module(hard_rate_fraction=0.3)
    noisy: list[bool] = []
    original = module.model.forward

    def forward(x: torch.Tensor, noise: RateNoise | None) -> object:
        noisy.append(noise is not None)
        return original(x, noise)

    module.model.forward = forward  # type: ignore[method-assign, assignment]
    trainer(tmp_path, 10).fit(module, crops(10))
    assert noisy == [True] * 7 + [False] * 3


def test_cosine_and_step_schedules_in_closed_form() -> None:
    cosine = OptimizerConfig(warmup_steps=100, final_lr_factor=0.1)
    assert cosine.factor(0, 1100) == pytest.approx(0.01)
    assert cosine.factor(99, 1100) == pytest.approx(1.0)
    assert cosine.factor(600, 1100) == pytest.approx(0.55)  # half way between 1 and 0.1
    assert cosine.factor(1100, 1100) == pytest.approx(0.1)
    step = OptimizerConfig(warmup_steps=0, schedule="step", step_milestones=(0.5, 0.9), step_factor=0.3)
    assert [step.factor(s, 100) for s in (0, 49, 50, 89, 90, 99)] == pytest.approx([1, 1, 0.3, 0.3, 0.09, 0.09])


def test_every_parameter_is_in_one_group_and_decay_spares_prior_and_bias() -> None:
    module = tiny_module()
    optimizer, _ = build_optimizer(module.model, OptimizerConfig(weight_decay=0.1), 100)
    decayed, free = ({id(p) for p in g["params"]} for g in optimizer.param_groups)
    names = dict(module.model.named_parameters())
    assert decayed | free == {id(p) for p in names.values() if p.requires_grad}
    assert not decayed & free
    for name, p in names.items():
        if ".amplitude" in name or "prior" in name or p.ndim == 1:
            assert id(p) not in decayed
    assert id(names["g_a.body.0.weight"]) in decayed


def test_the_learning_rate_follows_the_schedule_by_optimiser_steps(tmp_path: Path) -> None:
    config = OptimizerConfig(lr=0.01, warmup_steps=2, final_lr_factor=0.0)
    module = tiny_module(optimizer=config)
    run = trainer(tmp_path, 4, accumulate_grad_batches=2)
    run.fit(module, crops(8))
    assert run.global_step == 4
    assert run.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.01 * config.factor(4, 4), abs=1e-9)


def loss_of(module: EntropyModelModule, images: torch.Tensor) -> float:
    loss = module._step(images)[1].loss
    assert loss is not None
    return float(loss)


def test_training_lowers_the_loss(tmp_path: Path) -> None:
    module = tiny_module(optimizer=OptimizerConfig(lr=1e-2, warmup_steps=5), hard_rate_fraction=0.2)
    images = next(iter(crops(1, batch_size=4)))
    with torch.no_grad():
        before = loss_of(module, images)
    trainer(tmp_path, 60).fit(module, DataLoader(list(images) * 60, batch_size=4))  # type: ignore[arg-type]
    with torch.no_grad():
        after = loss_of(module, images)
    assert after < 0.7 * before


def test_a_raw_checkpoint_codes_at_once_and_follows_further_training(tmp_path: Path) -> None:
    module = tiny_module()
    run = trainer(tmp_path, 2)
    run.fit(module, crops(2))
    run.save_checkpoint(tmp_path / "a.ckpt")
    image = torch.rand(3, 40, 30)
    first = module.codec()
    data = Codec.load(tmp_path / "a.ckpt").compress(image)
    assert data == first.compress(image)
    assert module.codec() is first
    trainer(tmp_path, 2).fit(module, crops(2, seed=1))
    assert module.codec().fingerprint != first.fingerprint
    assert Codec.load(tmp_path / "a.ckpt").fingerprint == first.fingerprint


def test_a_checkpoint_holds_plain_values_and_rebuilds_its_module(tmp_path: Path) -> None:
    module = tiny_module(optimizer=OptimizerConfig(lr=0.02, schedule="step", step_milestones=(0.4,)))
    run = trainer(tmp_path, 1)
    run.fit(module, crops(1))
    run.save_checkpoint(tmp_path / "a.ckpt")
    torch.load(tmp_path / "a.ckpt", weights_only=True)
    again = EntropyModelModule.from_checkpoint(tmp_path / "a.ckpt")
    assert again.model.config == TINY_NETWORK
    assert again.optimizer_config == module.optimizer_config
    for name, value in module.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])


def test_another_rate_can_start_from_the_weights_of_a_finished_one(tmp_path: Path) -> None:
    module = tiny_module()
    run = trainer(tmp_path, 1)
    run.fit(module, crops(1))
    run.save_checkpoint(tmp_path / "a.ckpt")
    torch.manual_seed(1)  # other weights, were they not those of the file
    fresh = EntropyModelModule(network=TINY_NETWORK, lmbda=0.02, start_from=str(tmp_path / "a.ckpt"))
    for name, value in module.state_dict().items():
        assert torch.equal(value, fresh.state_dict()[name])
    again = trainer(tmp_path, 1)
    again.fit(fresh, crops(1))
    assert again.global_step == 1
    again.save_checkpoint(tmp_path / "b.ckpt")
    (tmp_path / "a.ckpt").unlink()  # the new checkpoint is complete without it
    assert EntropyModelModule.from_checkpoint(tmp_path / "b.ckpt").lmbda == 0.02
    other = replace(TINY_NETWORK, latent_channels=16, entropy=replace(TINY_NETWORK.entropy, channel_groups=[4, 4, 8]))
    with pytest.raises(CheckpointError, match="do not fit the network"):
        EntropyModelModule(network=other, lmbda=0.02, start_from=str(tmp_path / "b.ckpt"))


def test_an_entropy_model_is_trained_by_its_rate_on_the_transforms_of_a_finished_codec(tmp_path: Path) -> None:
    finished = tiny_module()
    run = trainer(tmp_path, 1)
    run.fit(finished, crops(1))
    run.save_checkpoint(tmp_path / "a.ckpt")
    torch.manual_seed(1)
    network = replace(TINY_NETWORK, latent_residual_prediction=False, entropy=replace(TINY_NETWORK.entropy, window=6))
    module = EntropyModelModule(
        network=network, lmbda=0.01, hard_rate_fraction=1.0, transforms_from=str(tmp_path / "a.ckpt")
    )
    before = {name: value.clone() for name, value in module.named_parameters()}
    x = next(iter(crops(1)))
    with torch.no_grad():
        bpp = float(estimated_bits(module.model(x))) / (len(x) * 64 * 64)
    ladder = module.model.g_s.register_forward_pre_hook(lambda *_: pytest.fail("a picture was decoded for nothing"))
    run = trainer(tmp_path, 1)
    run.fit(module, crops(1))
    assert float(run.callback_metrics["train/loss"]) == pytest.approx(bpp, rel=1e-5)
    trainer(tmp_path, 2).fit(module, crops(2))
    ladder.remove()
    taken = dict(finished.named_parameters())
    moved = [name for name, value in module.named_parameters() if not torch.equal(value, before[name])]
    assert any(name.startswith("model.entropy.h_a.") for name in moved)
    for name, value in module.named_parameters():
        if not name.startswith("model.entropy."):
            assert torch.equal(value, taken[name])
    _, losses = module._step(next(iter(crops(1))))
    assert losses.loss is losses.bpp
    with pytest.raises(UserError, match="latent_residual_prediction"):
        EntropyModelModule(network=TINY_NETWORK, lmbda=0.01, transforms_from=str(tmp_path / "a.ckpt"))
    other = replace(network, channels=(4, 6, 10))
    with pytest.raises(CheckpointError, match="do not fit the network"):
        EntropyModelModule(network=other, lmbda=0.01, transforms_from=str(tmp_path / "a.ckpt"))


def test_checkpoints_of_others_are_refused_in_one_line(tmp_path: Path) -> None:
    torch.save({"state_dict": {}}, tmp_path / "foreign.ckpt")
    torch.save({"state_dict": {}, "lightning_codec": {"format": 2}}, tmp_path / "newer.ckpt")
    (tmp_path / "text.ckpt").write_text("no checkpoint")
    cases = {
        "missing": "no such",
        "foreign": "another program",
        "newer": "format 2",
        "text": "not a readable",
    }
    for name, reason in cases.items():
        with pytest.raises(CheckpointError, match=reason) as caught:
            Codec.load(tmp_path / f"{name}.ckpt")
        assert "\n" not in str(caught.value)


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path: Path) -> None:
    torch.save({"lightning_codec": {"format": 1}, "state_dict": {}, "evil": Path}, tmp_path / "evil.ckpt")
    with pytest.raises(CheckpointError, match="not a readable"):
        Codec.load(tmp_path / "evil.ckpt")


def test_bf16_training_keeps_likelihoods_in_float32(tmp_path: Path) -> None:
    module = tiny_module()
    dtypes = []
    module.model.entropy.likelihood.register_forward_hook(lambda m, args, output: dtypes.append(output.dtype))
    module.model.entropy.prior.register_forward_hook(lambda m, args, output: dtypes.append(output.dtype))
    trainer(tmp_path, 1, precision="bf16-mixed").fit(module, crops(1))
    assert set(dtypes) == {torch.float32}
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        full = float(estimated_bits(module.model(image)))
        with torch.autocast("cpu", torch.bfloat16):
            half = float(estimated_bits(module.model(image)))
    assert math.isfinite(half)
    assert half == pytest.approx(full, rel=0.05)


def test_predict_writes_what_the_codec_writes() -> None:
    module = tiny_module()
    image = torch.rand(1, 3, 20, 30)
    assert module.predict_step(NamedImage(image, "a"), 0) == module.codec().compress(image[0])
