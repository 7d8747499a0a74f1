"""Stopped, killed and started again, a training comes to the very end that it would have come to undisturbed."""

import json
import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.runs.commands import assert_same_run, carry_out, fit, make_workplace, samples

pytestmark = pytest.mark.slow
TWO = ("--trainer.devices", "2", "--trainer.strategy", "ddp")


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    make_workplace(tmp_path)
    return tmp_path


def starts(folder: Path) -> list[Any]:
    """For each start, the step from which it went and what stopped it."""
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["finished"]["step"] == 12
    return [(start["step"], start.get("interrupted", {}).get("by", "").split()[-1:]) for start in manifest["starts"]]


@pytest.mark.parametrize("kind", ["entropy", "decoder"])
def test_stopped_in_the_middle_of_an_epoch_it_goes_on_as_if_nothing_had_been(kind: str, workplace: Path) -> None:
    parts = fit(kind, "parts")
    codes = carry_out(
        workplace,
        {"arguments": fit(kind, "whole")},
        {"arguments": parts, "at_step": 3, "signal": "SIGTERM"},
        {"arguments": parts, "at_step": 2, "signal": "SIGUSR1"},  # the last step of the epoch, then it validates
        {"arguments": parts, "at_step": 4, "signal": "SIGINT"},
        {"arguments": parts},
        {"arguments": parts},
    )
    assert codes == [[0], [143], [143], [130], [0], [0]]
    assert_same_run(workplace / "whole/version_0", workplace / "parts/version_0")
    assert starts(workplace / "parts/version_0") == [(0, ["SIGTERM"]), (3, ["SIGUSR1"]), (5, ["SIGINT"]), (9, [])]
    assert not (workplace / "parts/version_1").exists()
    log = samples(workplace)
    assert len(log) == 24
    assert log[:12] == log[12:]
    assert "parts/version_0: this run is finished (step 12)" in (workplace / "output.0").read_text().splitlines()[-1]
    checkpoint = torch.load(workplace / "parts/version_0/checkpoints/last.ckpt", weights_only=True)
    assert checkpoint["callbacks"]["NonFiniteGuard"] == {"skipped_steps": 0, "in_a_row": 0}
    assert ("ema.n_averaged" in checkpoint["state_dict"]) == (kind == "decoder")


def test_killed_at_any_moment_it_repeats_at_most_what_came_after_the_last_checkpoint(workplace: Path) -> None:
    seed = random.randrange(2**32)
    print("seed of the moments:", seed)  # shown when it fails
    moments = random.Random(seed)
    longer = ("--trainer.max_steps", "100", "--last.every_n_steps", "3")
    parts = fit("entropy", "parts", *longer)
    kills = [{"arguments": parts, "pause": 0.02, "after": moments.uniform(0.0, 0.3)} for _ in range(8)]
    torn = [{"arguments": parts, "torn_write": moments.randint(1, 3)} for _ in range(2)]
    orders = [*kills, *torn]
    moments.shuffle(orders)
    codes = carry_out(workplace, {"arguments": fit("entropy", "whole", *longer)}, *orders, {"arguments": parts})
    assert codes == [[0], *[[-9]] * 10, [0]]
    assert_same_run(workplace / "whole/version_0", workplace / "parts/version_0")
    assert not (workplace / "parts/version_1").exists()
    log = samples(workplace)
    whole, killed = log[:100], log[100:]
    assert set(killed) == set(whole)
    steps = [whole.index(line) for line in killed]
    # of the steps after the checkpoint of a third one the last may have been in work
    assert all(after == before + 1 or before - 3 <= after <= before for before, after in pairwise(steps))


def test_two_processes_stop_at_the_same_step_though_one_is_told(workplace: Path) -> None:
    parts = fit("entropy", "parts", *TWO)
    codes = carry_out(
        workplace,
        {"arguments": fit("entropy", "whole", *TWO), "ranks": 2},
        {"arguments": parts, "ranks": 2, "at_step": 2, "signal": "SIGTERM", "rank": 1},
        {"arguments": parts, "ranks": 2, "at_step": 2, "signal": "SIGUSR1", "rank": 0},
        {"arguments": parts, "ranks": 2, "torn_write": 2},  # of those at step 6, before and after the validation
        {"arguments": parts, "ranks": 2},
        {"arguments": parts, "ranks": 2},
    )
    assert [code[0] for code in codes] == [0, 143, 143, -9, 0, 0]
    assert_same_run(workplace / "whole/version_0", workplace / "parts/version_0")
    assert [step for step, _ in starts(workplace / "parts/version_0")] == [0, 2, 4, 6]
    for rank in range(2):
        log = samples(workplace, rank)
        assert log[:12] == log[12:]
    assert samples(workplace, 0)[:12] != samples(workplace, 1)[:12]
    assert {path.name for path in (workplace / "parts").iterdir()} == {".lock", "version_0"}


def test_an_interrupted_job_is_one_run_of_wandb(workplace: Path) -> None:
    pytest.importorskip("wandb")
    from tests.tracking.wandb_file import history, run_folders

    command = fit("entropy", "runs", "--wandb.mode", "offline")
    order = {"arguments": command}
    assert carry_out(workplace, {**order, "at_step": 3, "signal": "SIGUSR1"}, order) == [[143], [0]]
    folders = run_folders(workplace)
    run_id = (workplace / "runs/version_0/wandb_run_id").read_text().strip()
    assert [folder.name.split("-")[-1] for folder in folders] == [run_id] * 2
    steps = [row["trainer/global_step"] for folder in folders for row in history(folder) if "train/loss" in row]
    assert steps == list(range(12))
