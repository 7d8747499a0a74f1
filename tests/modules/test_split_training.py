"""The same training by one process, by two, in accumulated batches, and after an interruption, for both modules.

All numbers are float32. Sums are formed in another order: weights agree to `TOLERANCE`, a five-hundredth of what one
step moves them.
"""

from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor

from lightning_codec.diffusion.sampling import SamplingConfig
from lightning_codec.modules import DiffusionDecoderModule, DiffusionLossConfig, EntropyModelModule, OptimizerConfig
from lightning_codec.modules import diffusion_decoder as module_file
from tests.modules.split_training import LIMIT, STEPS, Report, split_training
from tests.modules.test_diffusion_decoder_module import FakeDistance
from tests.tiny import TINY_DENOISER, TINY_NETWORK, tiny_compression_model, tiny_denoiser

RATE = 1e-3
TOLERANCE = 0.002 * RATE
OPTIMIZER = OptimizerConfig(lr=RATE, warmup_steps=2)

PLAIN = DiffusionLossConfig(rho=0.0, perceptual="none")
# Three of eight images, some of them at times without a perceptual distance: the shares of two processes differ.
PERCEPTUAL = DiffusionLossConfig(
    rho=0.5, perceptual="stlpips-alex", perceptual_images=3, perceptual_min_snr=30.0, texture=0.1, rollout=3
)
LOSSES = {
    "two-stage": PLAIN,
    "two-stage, perceptual": PERCEPTUAL,
    "one-stage without rate": PLAIN,
    "joint, perceptual": DiffusionLossConfig(**{**vars(PERCEPTUAL), "lmbda_rate": 0.1}),
}
KINDS = ["entropy", *LOSSES]


def module_of(kind: str) -> pl.LightningModule:
    """Half of the entropy model's steps have a noisy rate, half the hard one."""
    if kind == "entropy":
        entropy = EntropyModelModule(network=TINY_NETWORK, lmbda=0.01, optimizer=OPTIMIZER, hard_rate_fraction=0.5)
        entropy.model.load_state_dict(tiny_compression_model().state_dict())
        return entropy
    module = DiffusionDecoderModule(
        network=TINY_NETWORK,
        decoder=TINY_DENOISER,
        loss=LOSSES[kind],
        sampling=SamplingConfig(sampler="ancestral", steps=3),
        optimizer=OPTIMIZER,
        train_codec=not kind.startswith("two-stage"),
        ema_decay=0.5,
    )
    module._untrained_codec = False  # as one that a checkpoint was read for
    module.model.load_state_dict(tiny_compression_model().state_dict())
    for part in (module.decoder, module.ema.module):
        part.load_state_dict(tiny_denoiser().state_dict())
    return module


@pytest.fixture(autouse=True)
def fake_distance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module_file, "PerceptualDistance", FakeDistance)


@pytest.fixture(scope="module")
def wholes() -> dict[str, Report]:
    return {}


def whole(kind: str, wholes: dict[str, Report], folder: Path) -> Report:
    """The training by one process in whole batches."""
    if kind not in wholes:
        wholes[kind] = split_training(module_of(kind), folder)
    return wholes[kind]


def difference(first: dict[str, Tensor], second: dict[str, Tensor]) -> float:
    """The largest of any weight, average or buffer."""
    return max(float((first[name] - second[name]).abs().max()) for name in first if first[name].numel())


def assert_same(split: Report, report: Report) -> None:
    assert difference(split.weights, report.weights) < TOLERANCE
    assert split.losses == pytest.approx(report.losses, rel=1e-5)
    assert split.rates == pytest.approx(report.rates, rel=1e-12)
    assert split.steps == report.steps == STEPS


def assert_clipped(report: Report) -> None:
    assert len(report.norms) == STEPS
    for before, after in report.norms:
        assert before > 2 * LIMIT
        assert after == pytest.approx(LIMIT, rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_train_as_one_does(kind: str, wholes: dict[str, Report], tmp_path: Path) -> None:
    report = whole(kind, wholes, tmp_path / "whole")
    assert_clipped(report)
    assert difference(report.weights, module_of(kind).state_dict()) > RATE
    split = split_training(module_of(kind), tmp_path, processes=2)
    assert_same(split, report)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_accumulated_batches_train_as_one_large_batch(kind: str, wholes: dict[str, Report], tmp_path: Path) -> None:
    assert_same(split_training(module_of(kind), tmp_path, accumulation=2), whole(kind, wholes, tmp_path / "whole"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["entropy", "joint, perceptual"])
def test_mixed_precision_clips_and_counts_optimiser_steps(kind: str, wholes: dict[str, Report], tmp_path: Path) -> None:
    module = module_of(kind)
    report = split_training(module, tmp_path, accumulation=2, precision="bf16-mixed")
    assert_clipped(report)
    assert report.rates == pytest.approx([RATE * OPTIMIZER.factor(step, STEPS) for step in range(STEPS)])
    assert report.losses == pytest.approx(whole(kind, wholes, tmp_path / "whole").losses, rel=0.05)
    assert report.steps == STEPS


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["entropy", "joint, perceptual"])
@pytest.mark.parametrize("accumulation", [1, 2])
def test_a_run_resumed_within_an_epoch_ends_as_an_uninterrupted_one(
    kind: str, accumulation: int, tmp_path: Path
) -> None:
    report = split_training(module_of(kind), tmp_path, accumulation=accumulation)
    checkpoint = tmp_path / "states" / "step=1.ckpt"  # an epoch has two
    resumed = split_training(module_of(kind), tmp_path / "b", accumulation=accumulation, checkpoint=checkpoint)
    assert resumed.losses == report.losses[1:]
    for name, value in report.weights.items():
        assert torch.equal(resumed.weights[name], value), name
