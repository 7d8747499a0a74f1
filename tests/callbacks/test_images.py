"""Panels show what they say, at the steps and as often as they may."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from PIL import Image

from lightning_codec.callbacks import ImagePanels, RateDistortion
from lightning_codec.callbacks import panel as panel_file
from lightning_codec.callbacks.panel import GAP, LINE, SMALLEST_TILE, bits_in_pixels, draw_panel
from lightning_codec.errors import UserError
from lightning_codec.tracking.history import HistoryLogger

from .stubs import StubData, StubModule, make_trainer

ITEMS = [("b/two.png", 16, 20, 50), ("a.png", 8, 10, 100)]


def test_each_quarter_shows_its_picture_on_a_scale_that_is_the_same_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[np.ndarray[Any, Any]] = []
    original = panel_file._coloured
    monkeypatch.setattr(panel_file, "_coloured", lambda v, colours: shown.append(v) or original(v, colours))  # type: ignore[func-returns-value]
    image = torch.full((3, 64, 500), 100 / 255)
    x_hat = image.clone()
    x_hat[:, :32] += 24 / 255  # of three channels
    x_hat[0, 32:] -= 24 / 255  # of one: a third of it
    bits = torch.zeros(8, 32)
    bits[1, 2] = 256 * 0.7  # bpp
    panel = (255 * draw_panel(image, x_hat, bits, "title", "subtitle")).round()
    assert panel.shape == (3, LINE + 2 * (64 + LINE) + 3 * GAP, 2 * 500 + 3 * GAP)
    top, bottom, right = LINE + GAP + LINE, LINE + 2 * GAP + 64 + 2 * LINE, 500 + 2 * GAP
    quarters = [panel[:, y : y + 64, x : x + 500] for y in (top, bottom) for x in (GAP, right)]
    assert torch.equal(quarters[0], 255 * image)
    assert torch.allclose(quarters[1], 255 * x_hat)
    error, rate = (values for values in shown if values.shape == (64, 500))
    assert np.allclose(error[:32], 24 / 32)
    assert np.allclose(error[32:], 8 / 32)
    assert np.allclose(rate[16:32, 32:48], 0.7)  # the scale ends at 1 bpp
    assert np.count_nonzero(rate) == 16 * 16
    for quarter, values in zip(quarters[2:], (error, rate), strict=True):
        assert len(quarter.flatten(1).unique(dim=1).T) == len(np.unique(values))


def test_small_pictures_are_enlarged_and_large_errors_do_not_leave_the_scale() -> None:
    image = torch.zeros(3, 10, 7)
    panel = draw_panel(image, 1 - image, torch.zeros(1, 1), "", "")
    factor = -(-SMALLEST_TILE // 7)
    assert panel.shape[-1] == 2 * 7 * factor + 3 * GAP
    assert torch.equal(panel[:, LINE + GAP + LINE + 3, GAP + 7 * factor + GAP + 3], torch.ones(3))


def test_the_bits_of_a_position_lie_on_its_own_pixels() -> None:
    spread = bits_in_pixels(torch.tensor([[256.0, 512.0], [768.0, 0.0]]), 20, 25)
    assert spread.shape == (20, 25)
    assert [float(spread[y, x]) for y, x in ((0, 0), (15, 15), (0, 16), (19, 0), (19, 24))] == [1, 1, 2, 3, 0]


class StopsAtFour(StubModule):
    """Ends a training that has no end."""

    def on_train_batch_end(self, *_: Any) -> None:
        self.trainer.should_stop = self.global_step == 4 and self.trainer.max_epochs == -1 == self.trainer.max_steps


class Validations:
    """At which steps a training of `steps`, validated every step, shows panels."""

    def __init__(self, folder: Path, panels: ImagePanels, steps: int, **settings: Any) -> None:
        logger = CSVLogger(folder, name="", version="run")
        loggers = [logger, HistoryLogger(Path(logger.log_dir))]
        data = StubData({"kodak": ITEMS}, [torch.rand(1, 3, 8, 8)] * steps)
        settings = {"val_check_interval": 1, "num_sanity_val_steps": 1, "logger": loggers, **settings}
        self.trainer = make_trainer(folder, [panels], **settings)
        self.trainer.fit(StopsAtFour(), datamodule=data)
        self.root = folder / "run" / "panels"
        self.steps = sorted(int(path.stem.split("step-")[1]) for path in self.root.glob("kodak/b/*.png"))


def test_the_budget_lasts_to_the_end_of_the_training(tmp_path: Path) -> None:
    assert Validations(tmp_path / "a", ImagePanels(budget=50), 6).steps == [1, 2, 3, 4, 5, 6]
    assert Validations(tmp_path / "b", ImagePanels(budget=3), 6).steps == [1, 3, 5]
    assert Validations(tmp_path / "c", ImagePanels(images=2, budget=5), 6).steps == [1, 4]
    assert Validations(tmp_path / "d", ImagePanels(every_n_steps=4), 6).steps == [1, 5]
    assert Validations(tmp_path / "e", ImagePanels(budget=0), 6).steps == []


def test_without_an_end_the_budget_is_used_from_the_start(tmp_path: Path) -> None:
    run = Validations(tmp_path, ImagePanels(budget=2), 4, max_epochs=-1, max_steps=-1)
    assert run.steps == [1, 2]


def test_a_resumed_training_goes_on_with_what_is_left(tmp_path: Path) -> None:
    first = Validations(tmp_path / "a", ImagePanels(budget=2), 4, max_steps=3, max_epochs=-1)
    assert first.steps == [1, 3]
    path = tmp_path / "a.ckpt"
    first.trainer.save_checkpoint(path)
    again = ImagePanels(budget=3)
    trainer = make_trainer(tmp_path / "b", [again], val_check_interval=1, max_steps=9, max_epochs=-1)
    data = StubData({"kodak": ITEMS}, [torch.rand(1, 3, 8, 8)] * 4)
    trainer.fit(StubModule(), datamodule=data, ckpt_path=path, weights_only=True)
    files = [path.stem.split("step-")[1] for path in (tmp_path / "b/run/panels").rglob("two*.png")]
    assert files == ["6"]
    assert again.state_dict() == {"used": 3, "last_step": 6}


def test_captions_tell_the_rate_of_the_file_or_the_estimate_and_the_step(tmp_path: Path) -> None:
    run = Validations(tmp_path, ImagePanels(images=2), 1)
    trainer = make_trainer(tmp_path, [ImagePanels(), RateDistortion()], logger=run.trainer.loggers)
    trainer.test(StubModule(), datamodule=StubData({"kodak": ITEMS}), verbose=False)
    lines = [json.loads(line) for line in (tmp_path / "run/history.jsonl").read_text().splitlines()]
    pictures = {tag: picture for line in lines for tag, picture in line.get("pictures", {}).items()}
    assert pictures == {
        "val/panels/kodak/b/two": {
            "path": "panels/kodak/b/two_step-1.png",
            "caption": "b/two.png, step 1: 2.0000 bpp (estimated), 48.13 dB",
        },
        "val/panels/kodak/a": {
            "path": "panels/kodak/a_step-1.png",
            "caption": "a.png, step 1: 2.0000 bpp (estimated), 48.13 dB",
        },
        "test/panels/kodak/b/two": {
            "path": "panels/kodak/b/two.png",
            "caption": "b/two.png, step 0: 2.5000 bpp (100 bytes), 42.11 dB",
        },
    }
    for picture in pictures.values():
        assert Image.open(tmp_path / "run" / picture["path"]).size[0] == 2 * 360 + 3 * GAP


@pytest.mark.parametrize("setting", ["images", "budget", "every_n_steps"])
def test_a_negative_number_is_refused(setting: str) -> None:
    with pytest.raises(UserError, match=f"ImagePanels: {setting} must be 0 or more"):
        ImagePanels(**{setting: -1})
