"""The benchmark of the diffusion decoder measures what its table says; how fast it is, it prints."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn

from lightning_codec.benchmark import diffusion as benchmark
from lightning_codec.benchmark.diffusion import (
    PAPER_DECODER,
    TINY_DECODER,
    Decoding,
    Memory,
    Training,
    decoding_times,
    evaluation_time,
    memory,
    training_times,
)
from lightning_codec.benchmark.memory import peak_mib
from lightning_codec.checkpoint import from_plain
from lightning_codec.cli import main
from lightning_codec.diffusion import denoiser
from lightning_codec.diffusion.denoiser import DenoiserConfig
from lightning_codec.diffusion.objective import stratified_times
from lightning_codec.diffusion.schedule import BlurSchedule
from lightning_codec.diffusion.unet import UNet
from lightning_codec.modules import DiffusionDecoderModule
from lightning_codec.modules.optimizer import build_optimizer
from tests.tiny import TINY_DENOISER, TINY_NETWORK

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "decoder"


class Recorder:
    """In place of `alternate`: makes every call once, and takes given times."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **seconds: float) -> None:
        self.seconds = seconds
        self.results: dict[str, Any] = {}
        monkeypatch.setattr(benchmark, "alternate", self)

    def __call__(self, calls: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
        self.results = {name: call() for name, call in calls.items()}
        return dict(self.seconds)


@pytest.mark.parametrize(("name", "config"), [("tiny", TINY_DECODER), ("paper", PAPER_DECODER)])
def test_the_decoders_are_those_of_the_presets(name: str, config: DenoiserConfig) -> None:
    assert from_plain(DenoiserConfig, yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())) == config


def test_the_parts_of_a_decode_add_up_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    evaluations = []

    def evaluate(self: UNet, z: Tensor, t: Tensor, ladder: Sequence[Tensor]) -> Tensor:
        evaluations.append(z.shape)
        return torch.zeros_like(z)

    monkeypatch.setattr(UNet, "forward", evaluate)
    monkeypatch.setattr(denoiser, "smooth", lambda x: x)  # what is done around the network counts as its time
    recorder = Recorder(monkeypatch, whole=10.0, free=4.0, latents=2.0, ladder=1.5, noise=0.5)
    times = decoding_times(1, (70, 40), TINY_NETWORK, TINY_DENOISER, steps=3)
    assert times == Decoding(whole=10.0, latents=2.0, ladder=1.5, noise=0.5, arithmetic=2.0)
    assert times.network == 10.0 - 4.0 - 2.0  # what decoding without the network does not take
    assert evaluations == [(1, 3, 128, 64)] * 3
    # A network that adds nothing to c_0 is the one that costs nothing: all else must have been done alike.
    whole, free = recorder.results["whole"], recorder.results["free"]
    assert whole.shape == (3, 70, 40)
    assert torch.equal(whole, free)
    assert recorder.results["noise"].shape == (3, 128, 64)
    assert recorder.results["ladder"].c0.shape == (1, 3, 128, 64)
    assert recorder.results["latents"].y_hat.abs().max() >= 1


@pytest.mark.slow
def test_the_peak_is_that_of_a_process_that_only_decodes() -> None:
    torch.ones(2**26 * 3).sum()  # 768 MiB here, nothing there
    row = memory((64, 64), TINY_NETWORK, TINY_DENOISER, steps=2)
    assert row.tiles == 1
    assert row.seconds > 0
    assert 100 < row.peak_mib < peak_mib() - 400


def test_a_training_step_trains_the_decoder_and_moves_its_average(monkeypatch: pytest.MonkeyPatch) -> None:
    modules: list[DiffusionDecoderModule] = []

    def remember(module: nn.Module, *settings: Any) -> Any:
        assert isinstance(module, DiffusionDecoderModule)
        modules.append(module)
        return build_optimizer(module, *settings)

    monkeypatch.setattr(benchmark, "build_optimizer", remember)
    assert min(training_times(2, (2, 3, 64, 64), TINY_NETWORK, TINY_DENOISER)) > 0
    (module,) = modules
    assert int(module.ema.n_averaged) == 3
    assert module.training
    assert module.decoder.unet.head.out.weight.any()  # it was zero at the start


def test_the_price_of_the_blur_is_the_difference_to_isotropic_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(monkeypatch, step=2.0, noising=0.3, isotropic_noising=0.1)
    times = training_times(1, (2, 3, 64, 64), TINY_NETWORK, TINY_DENOISER)
    assert times == Training(2.0, 0.3, 0.1)
    assert times.blur_share == pytest.approx(0.1)
    blurred, plain = recorder.results["noising"], recorder.results["isotropic_noising"]
    # Both are a x + sigma eps but for the blur, which leaves every image's mean nearly alone and takes off detail.
    assert torch.allclose(blurred.mean(dim=(2, 3)), plain.mean(dim=(2, 3)), atol=1e-5)
    t = stratified_times(2, 0.3, torch.zeros(()))
    assert bool((BlurSchedule().sigma_blur(t)[1:] > 0).all())
    assert bool((blurred.std(dim=(1, 2, 3)) < plain.std(dim=(1, 2, 3))).all())


def test_an_evaluation_is_one_call_of_the_network_in_full_size(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(monkeypatch, unet=3.0)
    assert evaluation_time(1, (64, 32), (4, 6, 8), TINY_DENOISER) == 3.0
    assert recorder.results["unet"].shape == (1, 3, 64, 32)


def test_the_command_prints_shares_that_add_up(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("PYTHONWARNINGS", "")
    sizes: list[tuple[int, int]] = []

    def remember(size: tuple[int, int]) -> Memory:
        sizes.append(size)
        return Memory(7.0, 2, 1500.0)

    monkeypatch.setattr(benchmark, "memory", remember)
    monkeypatch.setattr(benchmark, "decoding_times", lambda repeats: Decoding(2.0, 0.2, 0.1, 0.3, 0.4))
    monkeypatch.setattr(benchmark, "training_times", lambda repeats: Training(2.0, 0.3, 0.1))
    monkeypatch.setattr(benchmark, "evaluation_time", lambda repeats: 0.5 * repeats)
    threads = str(torch.get_num_threads())
    assert main(["benchmark", "diffusion", "--repeats", "4", "--threads", threads, "--json"]) == 0
    _, decoding, alone, training, evaluation = json.loads(capsys.readouterr().out).values()
    shares = {key: value for key, value in decoding.items() if key.endswith("share")}
    assert sum(shares.values()) == pytest.approx(1.0)
    assert shares["DCT, schedule, sampler, share"] == pytest.approx(0.2)
    assert shares["noise, share"] == pytest.approx(0.15)
    assert shares["entropy decoding, share"] == pytest.approx(0.1)
    assert shares["4 evaluations of the U-Net, share"] == pytest.approx(0.5)
    assert sizes == [(512, 768), (3000, 4000)]
    assert alone["4000x3000"] == "7.00 s, 2 tile(s), peak 1500 MiB"
    assert training["noising, share"] == pytest.approx(0.15)
    assert training["blur's part of it, share"] == pytest.approx(0.1)
    assert evaluation == {"one evaluation (s)": 2.0, "500 steps (s)": 1000.0}
    assert main(["benchmark", "diffusion", "--repeats", "4", "--threads", threads]) == 0
    assert "  noise, share                      0.1500\n" in capsys.readouterr().out
