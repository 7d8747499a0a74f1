"""The history of a run is complete, survives interruptions, and goes on where a resumed run stood."""

import math
from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

from lightning_codec.callbacks import RateDistortion
from lightning_codec.errors import UserError
from lightning_codec.tracking.history import (
    HISTORY,
    Entry,
    HistoryLogger,
    HistoryRewind,
    Picture,
    Table,
    continued_history,
    read_history,
)
from tests.callbacks.stubs import StubData, StubModule, make_trainer

TABLE = Table(["name", "bpp", "psnr"], [["a", 0.25, None], ["ü", 1.0, 30.5]], "bpp", "psnr")
ENTRIES = [
    Entry(1, {"loss": 0.1, "bad": math.inf}),
    Entry(3, pictures={"val/panels/a": Picture("panels/a_step-3.png", "a caption")}, tables={"val/rd": TABLE}),
    Entry(4, {"loss": -math.inf}),
]


def written(folder: Path, entries: list[Entry] = ENTRIES) -> Path:
    logger = HistoryLogger(folder)
    for entry in entries:
        logger.log_entry(entry)
    return folder / HISTORY


def test_what_is_logged_is_read_again(tmp_path: Path) -> None:
    path = written(tmp_path)
    assert read_history(tmp_path) == ENTRIES
    HistoryLogger(tmp_path).log_metrics({"nan": math.nan}, 7)
    (entry,) = read_history(tmp_path)  # another logger begins anew
    assert entry.step == 7
    assert math.isnan(entry.metrics["nan"])
    assert path.read_text() == '{"step": 7, "metrics": {"nan": "NaN"}}\n'


def test_a_line_that_was_cut_short_is_left_out_and_does_not_spoil_the_next(tmp_path: Path) -> None:
    path = written(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    assert read_history(tmp_path) == ENTRIES[:-1]
    HistoryLogger(tmp_path, continued_history(tmp_path, None)).log_entry(ENTRIES[-1])
    assert path.read_bytes() == whole


@pytest.mark.parametrize("line", ["{", "3", '{"metrics": {}}', '{"step": 1, "pictures": {"a": {"way": "b"}}}'])
def test_damage_elsewhere_is_an_error_of_one_line(line: str, tmp_path: Path) -> None:
    path = written(tmp_path)
    path.write_text(f"{line}\n{path.read_text()}")
    with pytest.raises(UserError, match=r"history\.jsonl: damaged history") as caught:
        read_history(tmp_path)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="no such file"):
        read_history(tmp_path / "none")


def test_another_folders_history_goes_on_and_its_pictures_stay_where_they_are(tmp_path: Path) -> None:
    old, new = tmp_path / "version_0", tmp_path / "version_1"
    written(old)
    (old / "panels").mkdir()
    (old / "panels/a_step-3.png").write_text("here")
    new.mkdir()
    earlier = continued_history(new, old)
    assert (new / earlier[1].pictures["val/panels/a"].path).read_text() == "here"
    assert earlier[0] == ENTRIES[0]
    HistoryLogger(new, earlier).log_entry(Entry(9))
    assert [entry.step for entry in read_history(new)] == [1, 3, 4, 9]
    assert continued_history(new, old)[-1] == Entry(9)  # its own comes first
    assert continued_history(tmp_path / "none", None) == []
    third = tmp_path / "sub" / "version_2"
    (picture,) = continued_history(third, new)[1].pictures.values()
    third.mkdir(parents=True)
    assert (third / picture.path).read_text() == "here"


@pytest.mark.parametrize(("step", "kept"), [(0, []), (1, []), (2, [1]), (3, [1, 3]), (4, [1, 3]), (5, [1, 3, 4])])
def test_rewinding_drops_what_a_training_from_that_step_will_log(step: int, kept: list[int], tmp_path: Path) -> None:
    written(tmp_path)
    for logger in (HistoryLogger(tmp_path, ENTRIES), HistoryLogger(tmp_path, ENTRIES)):
        logger.rewind(step)
        assert [entry.step for entry in read_history(tmp_path)] == kept
    logger.log_entry(Entry(5))
    logger.rewind(5)
    assert [entry.step for entry in read_history(tmp_path)] == kept


def test_a_validation_that_comes_again_is_dropped_with_what_follows(tmp_path: Path) -> None:
    written(tmp_path)
    assert [entry.step for entry in HistoryLogger(tmp_path, ENTRIES).rewind(3, evaluate=True) or []] == [1]
    assert [entry.step for entry in read_history(tmp_path)] == [1]


def test_a_resumed_training_repeats_no_step_and_a_new_one_begins(tmp_path: Path) -> None:
    data = StubData({"kodak": [("a.png", 8, 8, 50)]}, [torch.rand(1, 3, 4, 4)] * 10)

    def fit(steps: int, ckpt_path: Path | None = None, save_at: int | None = None) -> list[tuple[int, str]]:
        """Steps and kinds of what the history then has; validated every second step."""
        loggers = [
            CSVLogger(tmp_path, name="", version="run"),
            HistoryLogger(tmp_path, continued_history(tmp_path, None)),
        ]
        callbacks = [HistoryRewind(), RateDistortion()]
        if save_at is not None:
            callbacks.append(ModelCheckpoint(tmp_path, "saved", every_n_train_steps=save_at, save_top_k=1))
        settings = {
            "max_steps": steps,
            "max_epochs": -1,
            "log_every_n_steps": 1,
            "val_check_interval": 2,
            "logger": loggers,
        }
        trainer = make_trainer(tmp_path, callbacks, **settings, enable_checkpointing=save_at is not None)
        trainer.fit(StubModule(), datamodule=data, ckpt_path=ckpt_path, weights_only=True)
        kinds = {"train/loss": "train", "val/loss": "val"}
        return [
            (entry.step, kinds.get(name, ""))
            for entry in read_history(tmp_path)
            for name in entry.metrics
            if name in kinds
        ]

    whole = fit(6)
    assert whole == [(0, "train"), (1, "train"), (2, "val"), (2, "train"), (3, "train"), (4, "val"), (4, "train"),
                     (5, "train"), (6, "val")]  # fmt: skip
    fit(5, save_at=4)  # the checkpoint is older than the history
    assert fit(6, tmp_path / "saved.ckpt") == whole
    assert fit(1) == [(0, "train")]
