"""Distances of sets: from all pictures in the order of their names, however many processes had them; nothing stays."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
from torch import Tensor

from lightning_codec.callbacks import FrechetDistances
from lightning_codec.callbacks import frechet as callback_file
from lightning_codec.metrics.features import Features, SetExtractor, SetSuite, set_metric
from lightning_codec.metrics.sets import SetResult

from .stubs import StubCodec, StubData, StubModule, make_trainer
from .test_rate_distortion import DivergedModule

SETS: dict[str, Sequence[tuple[str, int, int, int]]] = {
    "kodak": [("b/two.png", 8, 8, 50), ("a.png", 8, 4, 100), ("b/one.png", 4, 4, 20), ("tiny.png", 2, 2, 9)],
    "x": [("a.png", 4, 4, 200)],
}


class Mean:
    """One feature of each patch: its mean."""

    name, weights, dimensions = "mean", "0123456789ab", 1

    def __call__(self, patches: Tensor) -> Tensor:
        return patches.float().mean(dim=(1, 2, 3))[:, None]


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[float], list[float]]]:
    """What the distance was given; its value depends on the order."""
    calls: list[tuple[list[float], list[float]]] = []

    def suite(names: Sequence[str]) -> SetSuite:
        extractor = SetExtractor(Mean(), 4, (set_metric("frechet_vgg64", "0123456789ab"),))
        return SetSuite(
            [extractor] if "frechet_vgg64" in names else [], {n: "fetch it" for n in names if n == "fid256"}
        )

    def distance(name: Any, real: Iterable[Features], fake: Iterable[Features], weights: str) -> SetResult:
        both = [[float(value) for array in side for value in array[:, 0]] for side in (real, fake)]
        calls.append((both[0], both[1]))
        protocol = set_metric(name, weights).protocol
        if len(both[0]) < 2:
            return SetResult(None, None, "too few", protocol, len(both[0]), len(both[1]))
        return SetResult(
            float(np.arange(1, 1 + len(both[1])) @ both[1]), None, None, protocol, len(both[0]), len(both[1])
        )

    monkeypatch.setattr(callback_file, "set_extractors", suite)
    monkeypatch.setattr(callback_file, "set_distance", distance)
    return calls


def run(folder: Path, stage: str, callback: FrechetDistances, module: Any = None, **settings: Any) -> dict[str, float]:
    trainer = make_trainer(folder, [callback, Told()], **settings)
    getattr(trainer, stage)(module or StubModule(StubCodec(levels=2)), datamodule=StubData(SETS), verbose=False)
    return {name: float(value) for name, value in trainer.callback_metrics.items()}


def document(folder: Path, stem: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "run" / "metrics" / f"{stem}_sets.json").read_text())
    return content


def test_at_test_the_decoded_set_is_compared_in_the_order_of_names(tmp_path, seen, capsys):
    logged = run(tmp_path, "test", FrechetDistances(test=["frechet_vgg64"]))
    # a.png has two patches of 4 x 4, b/one.png one, b/two.png four and one shifted, tiny.png none
    assert seen == [
        ([100, 100, 20, 50, 50, 50, 50, 50], [102, 102, 22, 52, 52, 52, 52, 52]),
        ([200], [202]),
    ]
    assert logged == {"test/kodak/frechet_vgg64": 1932}
    result = document(tmp_path, "test_kodak")
    assert result["distances"]["frechet_vgg64"]["protocol"]["key"] == "frechet-vgg64-v1@0123456789ab"
    assert (result["distances"]["frechet_vgg64"]["n_real"], result["stage"]) == (8, "test")
    assert document(tmp_path, "test_x")["distances"]["frechet_vgg64"]["reason"] == "too few"
    assert not (tmp_path / "run/metrics/features").exists()
    assert "1932" in capsys.readouterr().out


def test_validation_measures_only_what_it_is_asked_for(tmp_path, seen):
    assert run(tmp_path, "validate", FrechetDistances()) == {}
    assert seen == []
    logged = run(tmp_path, "validate", FrechetDistances(validate=["frechet_vgg64"]))
    assert logged == {"val/kodak/frechet_vgg64": 1896}


def test_an_absent_network_is_named_once_and_pictures_that_are_not_finite_give_no_distance(tmp_path, seen, recwarn):
    callback = FrechetDistances(validate=["fid256", "frechet_vgg64"])
    with pytest.warns(UserWarning, match="fid256 is absent at validate: fetch it"):
        logged = run(tmp_path, "validate", callback, DivergedModule())
    assert logged == {}
    assert "val/kodak/frechet_vgg64" in run(tmp_path / "again", "validate", callback)
    assert [str(warning.message) for warning in recwarn if "absent" in str(warning.message)] == []
    result = document(tmp_path, "validate_kodak")
    assert result["absent"] == {"fid256": "fetch it"}
    assert result["distances"]["frechet_vgg64"]["reason"] == "4 reconstructions are not finite, the first is a.png"


def test_features_that_an_interrupted_evaluation_has_left_do_not_count(tmp_path, seen):
    left = tmp_path / "run/metrics/features/kodak/mean/real/old.png.npy"
    left.parent.mkdir(parents=True)
    np.save(left, np.ones((3, 1), np.float32))
    assert run(tmp_path, "test", FrechetDistances(test=["frechet_vgg64"])) == {"test/kodak/frechet_vgg64": 1932}
    assert not left.exists()


class Told(pl.Callback):
    """Every process writes down what it has."""

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        values = {name: float(value) for name, value in trainer.callback_metrics.items()}
        Path(trainer.default_root_dir, f"told_{trainer.global_rank}.json").write_text(json.dumps(values))


@pytest.mark.slow
def test_the_number_of_processes_changes_nothing(tmp_path, seen):
    logged = []
    for devices in (1, 2):
        settings: dict[str, Any] = {"devices": 2, "strategy": "ddp_fork"} if devices == 2 else {}
        folder = tmp_path / str(devices)
        run(folder, "validate", FrechetDistances(validate=["frechet_vgg64"]), **settings)
        logged.append([document(folder, f"validate_{dataset}") for dataset in SETS])
        assert not (folder / "run/metrics/features").exists()
    assert logged[0] == logged[1]
    told = [json.loads((tmp_path / f"{of}.json").read_text()) for of in ("1/told_0", "2/told_0", "2/told_1")]
    assert told == [{"val/kodak/frechet_vgg64": 1896}] * 3
