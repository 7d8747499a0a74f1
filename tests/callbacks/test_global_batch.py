from pathlib import Path

import pytest

from lightning_codec.cli import main
from tests.cluster.job import write_config


def test_one_line_says_what_an_optimiser_step_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write_config(tmp_path)
    more = ["--data.batch_size=3", "--trainer.accumulate_grad_batches=2", "--trainer.max_steps=1"]
    assert main(["fit", "--config", str(config), *more]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("global batch")]
    # 40 samples an epoch are 14 batches of 3, or 7 steps of 6
    assert lines == [
        "global batch 6 = processes 1 x batch_size 3 x accumulate_grad_batches 2; learning rate 0.001, not scaled; "
        "7 optimiser steps an epoch, 1 in all"
    ]
