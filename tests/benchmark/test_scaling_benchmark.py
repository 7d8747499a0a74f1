import json

import pytest

from lightning_codec.benchmark import scaling as module
from lightning_codec.benchmark.scaling import CodecLoss, DecoderLoss, Scaling, What, scaling
from lightning_codec.cli import main
from lightning_codec.model import NetworkConfig
from tests.tiny import TINY_NETWORK

MEASURED = Scaling(processes=2, images=8, alone=0.3, apart=0.36, together=0.4, gradient_bytes=1000)


def test_ratios() -> None:
    assert MEASURED.speedup == pytest.approx(1.5)
    assert MEASURED.communication == pytest.approx(0.1)
    assert MEASURED._replace(apart=0.5).communication == 0.0


@pytest.mark.slow
@pytest.mark.parametrize("what", ["codec", "decoder"])
def test_processes_exchange_every_gradient(what: What) -> None:
    result = scaling(what, processes=2, repeats=2, shape=(1, 3, 64, 64), network=TINY_NETWORK)
    loss = {"codec": CodecLoss, "decoder": DecoderLoss}[what](TINY_NETWORK)
    assert result.gradient_bytes == 4 * sum(p.numel() for p in loss.parameters() if p.requires_grad)
    assert (result.processes, result.images) == (2, 1)
    assert min(result.alone, result.apart, result.together) > 0


def test_the_command_prints_ratios(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[tuple[str, int, int]] = []

    def fake(what: str, processes: int, repeats: int, network: NetworkConfig | None = None) -> Scaling:
        asked.append((what, processes, repeats))
        return MEASURED

    monkeypatch.setattr(module, "scaling", fake)
    assert main(["benchmark", "scaling", "--repeats", "3", "--threads", "2", "--json"]) == 0
    _, codec, decoder = json.loads(capsys.readouterr().out).values()
    assert asked == [("codec", 2, 3), ("decoder", 2, 3)]
    assert codec == decoder
    assert codec["2 / one"] == pytest.approx(1.5)
    assert codec["images/s of 2 processes"] == pytest.approx(40)
    assert codec["communication, share of a step"] == pytest.approx(0.1)
    assert main(["benchmark", "scaling", "--threads", "1"]) == 2
