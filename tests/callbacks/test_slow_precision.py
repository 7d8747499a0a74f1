import platform
from pathlib import Path

import pytest
import torch

from lightning_codec.callbacks.slow_precision import slow_precision
from lightning_codec.cli import main
from tests.cluster.job import write_config


@pytest.fixture
def processor(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An x86 processor without AVX-512, whatever this machine has."""
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    return monkeypatch


def test_bfloat16_without_instructions_for_it_is_told_of(processor: pytest.MonkeyPatch) -> None:
    advice = slow_precision("bf16-mixed", "cpu")
    assert advice is not None
    assert "--trainer.precision 32-true" in advice
    assert slow_precision("bf16-true", "cpu") is not None


def test_what_is_fast_is_not_told_of(processor: pytest.MonkeyPatch) -> None:
    assert slow_precision("32-true", "cpu") is None
    assert slow_precision("bf16-mixed", "cuda") is None
    processor.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    assert slow_precision("bf16-mixed", "cpu") is None
    processor.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "DEFAULT")
    processor.setattr(platform, "machine", lambda: "aarch64")  # which has instructions of its own
    assert slow_precision("bf16-mixed", "cpu") is None


def test_a_training_warns_at_its_start(tmp_path: Path, processor: pytest.MonkeyPatch) -> None:
    arguments = ["fit", "--config", str(write_config(tmp_path)), "--trainer.max_steps=1"]
    with pytest.warns(UserWarning, match="no instructions for bfloat16"):
        assert main([*arguments, "--trainer.precision=bf16-mixed"]) == 0
