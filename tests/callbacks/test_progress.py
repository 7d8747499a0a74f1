import io
import re
import sys

import pytest
import torch

from lightning_codec.callbacks import CodecProgressBar

from .stubs import StubData, StubModule, make_trainer

DATA = StubData({"kodak": [("a.png", 8, 8, 0), ("b.png", 8, 8, 9)]}, train=[torch.rand(1, 3, 4, 4)] * 4)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def fit(tmp_path, bar: CodecProgressBar, stage: str = "fit") -> None:
    settings = {"max_epochs": 2, "num_sanity_val_steps": 1, "enable_progress_bar": True}
    getattr(make_trainer(tmp_path, [bar], **settings), stage)(StubModule(), datamodule=DATA)


def test_without_a_terminal_there_is_one_plain_line_for_each_epoch(tmp_path, capsys):
    fit(tmp_path, CodecProgressBar(line_seconds=1000))
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert lines[0] == "validation: image 2 of 2"
    assert lines[1].startswith("epoch 0 step 4 loss ")
    assert lines[1].endswith("bpp 0.250 PSNR 31.00, end of the epoch")
    assert lines[3].startswith("epoch 1 step 8 loss ")
    assert len(lines) == 4
    assert not {"\r", "\x1b"} & set(captured.out + captured.err)


def test_without_a_terminal_a_line_comes_when_its_time_has_come(tmp_path, capsys):
    fit(tmp_path, CodecProgressBar(line_seconds=0))
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("epoch 0 step") for line in lines) == 5
    assert sum(line.startswith("validation: image") for line in lines) == 4


@pytest.mark.parametrize(("stage", "more"), [("test", ""), ("predict", r", \d+\.\d\d images/s")])
def test_evaluations_end_with_the_number_of_images(tmp_path, capsys, stage, more):
    fit(tmp_path, CodecProgressBar(), stage)
    assert re.search(f"{stage}: image 2 of 2{more}\n", capsys.readouterr().out)


def test_a_terminal_gets_a_bar_with_loss_bpp_psnr_and_no_version(tmp_path, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    fit(tmp_path, CodecProgressBar(refresh_rate=1))
    text = terminal.getvalue()
    last = text.split("\r")[-1]
    assert "Epoch 1: 100%" in last
    assert ", bpp=0.250, PSNR=31.00]" in last
    assert "loss=" in last
    assert "v_num" not in text
    assert "img/s" in text
    assert "end of the epoch" not in text


def test_refresh_rate_zero_shows_nothing(tmp_path, capsys):
    fit(tmp_path, CodecProgressBar(refresh_rate=0, line_seconds=0))
    assert capsys.readouterr().out == ""
