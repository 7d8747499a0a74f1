"""Perceptual distances: of the right picture, once for each image, with their protocol, or absent with a reason."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from lightning_codec.callbacks import PerceptualMetrics
from lightning_codec.callbacks import perceptual as callback_file
from lightning_codec.metrics.protocol import Protocol
from lightning_codec.metrics.suite import ImageMetric, Suite, Value

from .stubs import StubCodec, StubData, StubModule, make_trainer
from .test_rate_distortion import DivergedModule

KODAK = [("b/two.png", 16, 20, 50), ("a.png", 8, 10, 100), ("b/one.png", 20, 20, 20)]
SETS: dict[str, Sequence[tuple[str, int, int, int]]] = {"kodak": KODAK, "x": [("a.png", 8, 8, 200)]}


class Levels:
    """Mean difference in 8-bit levels; of pictures with more than 8 rows."""

    name, label, higher_is_better = "levels", "Levels", False
    protocol = Protocol("levels-v1", "mean difference in levels", "0123456789ab")

    def __call__(self, x_hat: Tensor, x: Tensor) -> Value:
        if x.shape[-2] <= 8:
            return Value(None, "too small")
        return Value(round(255 * float((x_hat - x).mean()), 3), None)


class Sum(Levels):
    name, label = "sum", "Sum"

    def __call__(self, x_hat: Tensor, x: Tensor) -> Value:
        return Value(round(255 * float(x_hat[0, 0, 0, 0] + x[0, 0, 0, 0]), 3), None)


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    """Which metrics were loaded."""
    loaded: list[Sequence[str]] = []

    def suite(names: Sequence[str]) -> Suite:
        loaded.append(names)
        known: dict[str, ImageMetric] = {"stlpips_alex": Levels(), "stlpips_vgg": Sum()}
        metrics = [known[name] for name in names if name in known]
        return Suite(metrics, {name: "fetch it" for name in names if name not in known})

    monkeypatch.setattr(callback_file, "image_suite", suite)
    return loaded


def run(folder: Path, stage: str, callback: PerceptualMetrics, module: Any = None, **settings: Any) -> dict[str, float]:
    trainer = make_trainer(folder, [callback], **settings)
    getattr(trainer, stage)(module or StubModule(StubCodec(levels=2)), datamodule=StubData(SETS), verbose=False)
    return {name: float(value) for name, value in trainer.callback_metrics.items()}


def results(folder: Path, stem: str) -> tuple[list[list[str]], dict[str, Any]]:
    metrics = folder / "run" / "metrics"
    with (metrics / f"{stem}_perceptual.csv").open() as file:
        return list(csv.reader(file)), json.loads((metrics / f"{stem}_perceptual.json").read_text())


def test_at_test_the_decoded_pictures_are_measured_and_their_protocol_is_written(tmp_path, loads, capsys):
    logged = run(tmp_path, "test", PerceptualMetrics())
    assert logged["test/kodak/levels"] == 2  # over the two images that are large enough
    assert logged["test/kodak/sum"] == pytest.approx((2 * (50 + 100 + 20) + 6) / 3)
    assert logged["test/x/sum"] == 402
    assert "test/x/levels" not in logged
    table, document = results(tmp_path, "test_kodak")
    assert table == [
        ["dataset", "name", "levels", "sum"],
        ["kodak", "a.png", "", "202.0"],
        ["kodak", "b/one.png", "2.0", "42.0"],
        ["kodak", "b/two.png", "2.0", "102.0"],
    ]
    assert document["images"]["a.png"] == {"levels": None, "sum": 202, "reasons": {"levels": "too small"}}
    header = document["header"]
    assert header["protocol"]["levels"] == {
        "key": "levels-v1@0123456789ab", "description": "mean difference in levels",
    }  # fmt: skip
    assert header["counts"] == {"levels": 2, "sum": 3}
    assert (header["stage"], header["fingerprint"], header["absent"]) == ("test", "0102abff", {})
    shown = capsys.readouterr().out
    assert "Levels" in shown
    assert f"{header['means']['sum']:.4f}" in shown


def test_at_validation_nothing_is_loaded_unless_it_is_asked_for(tmp_path, loads):
    assert run(tmp_path, "validate", PerceptualMetrics()) == {}
    assert loads in ([], [()] * len(loads))
    assert not (tmp_path / "run" / "metrics").exists()
    logged = run(tmp_path, "validate", PerceptualMetrics(validate=["stlpips_vgg"]))
    assert logged == pytest.approx({"val/kodak/sum": (2 * 170 + 3) / 3, "val/x/sum": 401})


def test_a_metric_without_its_network_is_named_once_and_the_others_go_on(tmp_path, loads, recwarn):
    callback = PerceptualMetrics(test=["lpips_alex", "stlpips_vgg"])
    with pytest.warns(UserWarning, match="lpips_alex is absent at test: fetch it"):
        run(tmp_path, "test", callback)
    logged = run(tmp_path, "test", callback)
    assert [str(warning.message) for warning in recwarn if "absent" in str(warning.message)] == []
    assert logged["test/x/sum"] == 402
    table, document = results(tmp_path, "test_x")
    assert table[0] == ["dataset", "name", "sum"]
    assert document["header"]["absent"] == {"lpips_alex": "fetch it"}


def test_a_picture_that_is_not_finite_has_a_reason(tmp_path, loads):
    logged = run(tmp_path, "validate", PerceptualMetrics(validate=["stlpips_vgg"]), DivergedModule())
    assert logged == {}
    _, document = results(tmp_path, "validate_x")
    assert document["images"]["a.png"]["reasons"] == {"sum": "the reconstruction is not finite"}


@pytest.mark.slow
def test_two_processes_write_the_same_table_as_one(tmp_path, loads):
    written = []
    for devices in (1, 2):
        settings: dict[str, Any] = {"devices": 2, "strategy": "ddp_fork"} if devices == 2 else {}
        run(tmp_path / str(devices), "validate", PerceptualMetrics(validate=["stlpips_vgg"]), **settings)
        written.append(results(tmp_path / str(devices), "validate_kodak"))
    assert written[0] == written[1]
