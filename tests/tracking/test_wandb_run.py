"""What goes to Weights & Biases, how much of it, and under which id."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lightning_codec.errors import UserError
from lightning_codec.tracking.history import Entry, Picture, Table
from lightning_codec.tracking.wandb_run import RUN_ID, WandbConfig, WandbRun, finish, settled_run_id, wandb_values

wandb = pytest.importorskip("wandb")

TABLE = Table(["name", "bpp", "psnr"], [["a", 0.25, None], ["b", 1.0, 30.5]], "bpp", "psnr")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "panels").mkdir()
    for name in ("a", "b"):
        Image.new("RGB", (4, 3), (7, 8, 9)).save(tmp_path / f"panels/{name}.png")
    return tmp_path


def pictures(*names: str) -> dict[str, Picture]:
    return {f"val/{name}": Picture(f"panels/{name}.png", f"caption of {name}") for name in names}


def test_one_call_has_numbers_pictures_and_tables_with_the_step(folder: Path) -> None:
    values = wandb_values(Entry(7, {"loss": 0.5}, pictures("a", "gone"), {"val/rd": TABLE}), folder)
    assert values.keys() == {"trainer/global_step", "loss", "val/a", "val/rd"}
    assert (values["trainer/global_step"], values["loss"]) == (7, 0.5)
    assert values["val/a"]._caption == "caption of a"
    assert values["val/a"].image.getpixel((0, 0)) == (7, 8, 9)
    assert values["val/rd"].table.data == TABLE.rows


class FakeRun:
    def __init__(self) -> None:
        self.logged: list[dict[str, Any]] = []

    def log(self, values: dict[str, Any]) -> None:
        self.logged.append(values)


def fake(folder: Path, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> tuple[WandbRun, FakeRun]:
    run = FakeRun()
    monkeypatch.setattr(WandbRun, "experiment", run)
    config = WandbConfig(mode="offline", media=settings.pop("budget", 500))
    return WandbRun(config, folder, "abc", {}, **settings), run


def test_the_budget_of_media_stops_pictures_and_never_numbers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logger, run = fake(folder, monkeypatch, budget=6, media=2)
    logger.log_entry(Entry(1, {"loss": 1.0}, pictures("a", "b"), {"val/rd": TABLE}))
    with pytest.warns(UserWarning, match=r"wandb\.media\) is used up"):
        logger.log_entry(Entry(2, {"loss": 2.0}, pictures("a", "b")))
    logger.log_entry(Entry(3, pictures=pictures("a", "b")))
    logger.log_metrics({"loss": 4.0}, 4)
    assert [(values["trainer/global_step"], len(values)) for values in run.logged] == [(1, 5), (2, 2), (4, 2)]


def test_the_id_is_the_folders_else_that_of_what_is_resumed_else_new(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    first = settled_run_id(old, None)
    assert len(first) == 8
    assert settled_run_id(old, None) == first == (old / RUN_ID).read_text().strip()
    assert settled_run_id(new, old) == first == settled_run_id(new, None)
    assert settled_run_id(tmp_path / "other", tmp_path / "none") != first
    (new / RUN_ID).write_text("own\n")
    assert settled_run_id(new, old) == "own"


def test_a_negative_budget_is_refused() -> None:
    with pytest.raises(UserError, match="media is -1"):
        WandbConfig(media=-1)


def test_a_training_goes_on_without_the_process_of_wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal to all processes of a job ends it before the training has written its checkpoint."""
    run = WandbRun(WandbConfig(mode="offline"), tmp_path, "abcd1234", {})
    run.log_metrics({"train/loss": 1.0}, 0)
    calls = []

    def broken(*args: object, **kwargs: object) -> None:
        calls.append(args)
        raise ConnectionResetError("Connection lost")

    with monkeypatch.context() as patched:
        patched.setattr(run.experiment, "log", broken)
        with pytest.warns(UserWarning, match=r"wandb: lost \(Connection lost\); history.jsonl has everything"):
            run.log_metrics({"train/loss": 1.0}, 1)
        run.log_metrics({"train/loss": 1.0}, 2)
        run.log_entry(Entry(3, {"val/loss": 1.0}))
    assert len(calls) == 1
    finish(failed=True)
