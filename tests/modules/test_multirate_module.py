"""Training of one codec for several rates: turns, weights of the loss, checkpoints, and the split into single ones."""

import logging
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lightning_codec.checkpoint import CheckpointError, weights_digest
from lightning_codec.codec import Codec
from lightning_codec.errors import UserError
from lightning_codec.modules import EntropyModelModule, MultiRateModule, OptimizerConfig
from lightning_codec.modules.entropy_model import estimated_bits
from lightning_codec.modules.multirate import split_checkpoint
from lightning_codec.modules.optimizer import build_optimizer
from lightning_codec.networks import load_model
from tests.modules.test_entropy_model_module import crops, trainer
from tests.tiny import TINY_NETWORK, tiny_compression_model, write_codec_checkpoint

NETWORK = replace(TINY_NETWORK, latent_residual_prediction=False)
LMBDAS = [0.001, 0.01, 0.1]


def rates_module(**changes: object) -> MultiRateModule:
    torch.manual_seed(0)
    return MultiRateModule(network=NETWORK, lmbdas=LMBDAS, **changes)  # type: ignore[arg-type]


def trained(folder: Path, steps: int = 4) -> Path:
    """A checkpoint after a few steps, in which the rates differ by more than they began with."""
    fit = trainer(folder, steps)
    fit.fit(rates_module(optimizer=OptimizerConfig(lr=1e-2, warmup_steps=0)), crops(steps))
    fit.save_checkpoint(folder / "rates.ckpt")
    return folder / "rates.ckpt"


def test_the_loss_of_a_rate_has_its_own_lmbda_and_its_share_of_the_kernels(tmp_path: Path) -> None:
    seen: list[float] = []

    class Recorded(MultiRateModule):
        def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
            loss = super().training_step(batch, batch_idx)
            k = batch_idx % 3
            with torch.no_grad():
                output = self.rates(self.model, k, batch)
                bpp = estimated_bits(output) / (len(batch) * 64 * 64)
                distortion = 255**2 * (output.x_hat - batch).square().mean()
                expected = math.sqrt(0.01 / LMBDAS[k]) * (bpp + LMBDAS[k] * distortion)
            seen.append(float(loss / expected))
            return loss

    torch.manual_seed(0)
    module = Recorded(network=NETWORK, lmbdas=LMBDAS, hard_rate_fraction=1.0)
    fit = trainer(tmp_path, 6)
    fit.fit(module, crops(6))
    assert seen == pytest.approx([1.0] * 6, rel=1e-4)
    assert {"train/bpp", "train/bpp_2", "train/psnr_0", "train/loss_1"} <= fit.logged_metrics.keys()


def test_a_step_leaves_the_scales_and_biases_of_the_other_rates_alone(tmp_path: Path) -> None:
    module = rates_module()
    before = {name: value.clone() for name, value in module.rates.state_dict().items()}
    trainer(tmp_path, 1).fit(module, crops(1))
    for name, value in module.rates.state_dict().items():
        assert torch.equal(value[1:], before[name][1:]), name
    assert any(not torch.equal(value[0], before[name][0]) for name, value in module.rates.state_dict().items())


def test_scales_and_biases_are_not_decayed() -> None:
    module = rates_module()
    optimizer, _ = build_optimizer(module, OptimizerConfig(weight_decay=0.1), 10)
    decayed = {id(p) for p in optimizer.param_groups[0]["params"]}
    assert decayed == {id(p) for p in module.model.parameters() if p.requires_grad}
    assert len(decayed) > 20


def test_it_validates_and_codes_as_the_middle_rate_or_as_the_one_that_is_asked_for() -> None:
    x = torch.rand(1, 3, 64, 64)
    for rate, expected in ((None, 1), (0, 0), (2, 2)):
        module = rates_module(rate=rate).eval()
        assert module.rate == expected
        network = module.rates.network(module.model, expected)
        codec = module.codec()
        assert codec.fingerprint == Codec(network).fingerprint
        with torch.no_grad():
            assert torch.equal(module._step(x)[0].x_hat, network(x).x_hat)


def test_a_checkpoint_is_the_codec_of_its_rate_and_comes_back_whole(tmp_path: Path) -> None:
    path = trained(tmp_path)
    module = MultiRateModule.from_checkpoint(path)
    assert isinstance(module, MultiRateModule)
    assert Codec.load(path).fingerprint == Codec(module.rates.network(module.model, 1)).fingerprint
    again = rates_module(start_from=str(path))
    for name, value in module.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


def test_split_gives_plain_checkpoints_of_the_same_codecs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    path = trained(tmp_path)
    logging.getLogger("lightning.pytorch").addHandler(caplog.handler)
    caplog.clear()
    recwarn.clear()
    module = MultiRateModule.from_checkpoint(path)
    assert isinstance(module, MultiRateModule)
    written = split_checkpoint(path, tmp_path / "rates")
    logging.getLogger("lightning.pytorch").removeHandler(caplog.handler)
    assert not caplog.messages  # of devices that are not used, five times over
    assert not recwarn.list
    assert [p.name for p in written] == ["rate-0.ckpt", "rate-1.ckpt", "rate-2.ckpt"]
    digests = set()
    for rate, single in enumerate(written):
        network = load_model(single)
        digest = weights_digest(network.config, network)
        wanted = module.rates.network(module.model, rate)
        assert digest == weights_digest(wanted.config, wanted)
        digests.add(digest)
        assert EntropyModelModule.from_checkpoint(single).lmbda == LMBDAS[rate]
    assert len(digests) == 3
    fit = trainer(tmp_path / "more", 1)
    fit.fit(EntropyModelModule(network=NETWORK, lmbda=0.02, start_from=str(written[2])), crops(1))
    assert {p.name for p in (tmp_path / "rates").iterdir()} == {p.name for p in written}


def test_a_checkpoint_of_one_rate_is_not_split(tmp_path: Path) -> None:
    write_codec_checkpoint(tmp_path / "one.ckpt", tiny_compression_model())
    with pytest.raises(CheckpointError, match=r"one\.ckpt: is of one rate already"):
        split_checkpoint(tmp_path / "one.ckpt", tmp_path / "rates")
    assert not (tmp_path / "rates").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lmbdas": []}, "give positive numbers that increase"),
        ({"lmbdas": [0.1, 0.01]}, "give positive numbers that increase"),
        ({"lmbdas": [0.0, 0.01]}, "give positive numbers that increase"),
        ({"lmbdas": [0.01], "rate": 1}, "rate is 1: there are 1, from 0"),
    ],
)
def test_bad_settings_are_one_line(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        MultiRateModule(**{"network": NETWORK, **changes})  # type: ignore[arg-type]
