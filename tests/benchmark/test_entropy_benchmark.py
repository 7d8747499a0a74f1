"""The benchmarks measure what they say; how fast it is, they print."""

import time
from pathlib import Path

import pytest
import torch
import yaml

from lightning_codec.benchmark.entropy import (
    PAPER_NETWORK,
    ScalingRow,
    _arithmetic_decoding,
    growth_exponent,
    training_step_times,
)
from lightning_codec.benchmark.timing import alternate
from lightning_codec.bitstream import SymbolDecoder
from lightning_codec.checkpoint import to_plain
from lightning_codec.codec import Codec
from tests.tiny import TINY_NETWORK, tiny_compression_model

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def test_calls_take_turns_and_the_first_round_is_not_counted() -> None:
    order: list[str] = []
    durations = {"a": iter([0.2, 0.0, 0.02, 0.01]), "b": iter([0.0, 0.03, 0.0, 0.0])}

    def call(name: str) -> None:
        order.append(name)
        time.sleep(next(durations[name]))

    median = alternate({"a": lambda: call("a"), "b": lambda: call("b")}, repeats=3)
    assert order == ["a", "b"] * 4
    assert median["a"] == pytest.approx(0.01, abs=0.008)
    assert median["b"] < 0.008


def test_growth_exponent_is_the_slope_in_log_pixels() -> None:
    rows = [ScalingRow(256, 0.1, 11, 1.0), ScalingRow(512, 9.9, 11, 1.0), ScalingRow(1024, 1.6, 11, 1.0)]
    assert growth_exponent(rows) == pytest.approx(1.0)
    assert growth_exponent([rows[0], rows[0]._replace(side=512, seconds=1.6)]) == pytest.approx(2.0)


def test_the_paper_network_is_that_of_the_preset() -> None:
    preset = yaml.safe_load((CONFIGS / "model" / "paper.yaml").read_text())
    plain = to_plain(PAPER_NETWORK)
    assert {key: plain[key] for key in preset if key != "entropy"} == {
        key: value for key, value in preset.items() if key != "entropy"
    }
    assert {key: plain["entropy"][key] for key in preset["entropy"]} == preset["entropy"]


def test_the_replay_asks_for_every_symbol_of_the_file() -> None:
    codec = Codec(tiny_compression_model())
    image = torch.rand(3, 64, 128)
    replay = _arithmetic_decoding(codec, codec.compress(image))
    assert sum(t.numel() for t in replay.log_scales) == 12 * 4 * 8
    replay()
    assert len(replay.log_scales) == 6
    with pytest.raises(ValueError, match="left"):
        SymbolDecoder(replay.segment, 1).get(torch.zeros(2, dtype=torch.int32), codec.y_tables)


def test_training_steps_run_in_all_three_settings() -> None:
    times = training_step_times(1, TINY_NETWORK)
    assert min(times) > 0
