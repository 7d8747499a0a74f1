"""Weights & Biases offline, read back from disk: one run for a job, everything at its step, resumed, rebuilt."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lightning_codec.cli import main
from lightning_codec.tracking import wandb_run

from .test_training import NETWORK

pytest.importorskip("wandb")
from tests.tracking.wandb_file import config, exit_code, history, run_folders

STEP = "trainer/global_step"
EXPERIMENT = """
model:
  class_path: lightning_codec.modules.EntropyModelModule
  init_args: {network: net.yaml, lmbda: 0.01}
data: {crop_size: 64, batch_size: 1, samples_per_epoch: 4, num_workers: 0, eval_sets: [photos]}
trainer: {max_steps: 4, max_epochs: -1, accelerator: cpu, log_every_n_steps: 1, num_sanity_val_steps: 1}
panels: {images: 2}
wandb: {mode: offline, project: test_project, tags: [tiny]}
"""


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which two processes have trained for four steps; they validate after the second and the fourth."""
    root = tmp_path_factory.mktemp("wandb")
    (root / "net.yaml").write_text(NETWORK)
    (root / "exp.yaml").write_text(EXPERIMENT)
    (root / "photos").mkdir()
    for index in range(3):
        Image.linear_gradient("L").resize((80 + index, 64)).save(root / f"photos/p{index}.png")
    arguments = ["--config", "exp.yaml", "--trainer.devices", "2", "--trainer.strategy", "ddp"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("WANDB_")}
    done = subprocess.run(
        [sys.executable, "-m", "lightning_codec", "fit", *arguments],
        cwd=root,
        env={**environment, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=580,
    )
    assert done.returncode == 0, done.stderr
    return root


@pytest.fixture
def inside(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(workplace)
    return workplace


def with_key(rows: list[dict[str, Any]], key: str) -> list[int]:
    """Steps of the rows that have a value of this name."""
    return [row[STEP] for row in rows if key in row]


def tidy(row: dict[str, Any]) -> dict[str, Any]:
    """A row without what W&B adds, and of media only the content."""
    row = {key: value for key, value in row.items() if not key.startswith("_")}
    return {
        key: (value["sha256"], value.get("caption")) if isinstance(value, dict) else value for key, value in row.items()
    }


@pytest.mark.slow
def test_two_processes_leave_one_run_with_everything_at_its_step(inside: Path) -> None:
    (run,) = run_folders(inside)
    assert run.parent == inside / "runs/version_0/wandb"
    assert run.name.endswith((inside / "runs/version_0/wandb_run_id").read_text().strip())
    rows = history(run)
    assert with_key(rows, "train/loss") == [0, 1, 2, 3]
    images = [f"val/panels/photos/p{index}" for index in range(2)]
    for key in ("val/loss", "val/photos/psnr", "val/photos/rd_table", *images):
        assert with_key(rows, key) == [2, 4]
    steps = [row[STEP] for row in rows]
    assert steps == sorted(steps)
    for row in rows:
        for key in set(images) & set(row):
            written = inside / f"runs/version_0/panels/photos/{key[-2:]}_step-{row[STEP]}.png"
            assert (run / "files" / row[key]["path"]).read_bytes() == written.read_bytes()
            assert f"step {row[STEP]}:" in row[key]["caption"]
        if "val/photos/rd_table" in row:
            table = json.loads((run / "files" / row["val/photos/rd_table"]["path"]).read_text())
            assert table["columns"] == ["name", "bpp", "bpp_estimated", "psnr", "ms_ssim"]
            assert [line[0] for line in table["data"]] == ["p0.png", "p1.png", "p2.png"]
    # all numbers that Lightning's own CSV file has, at the same steps
    with (inside / "runs/version_0/metrics.csv").open() as file:
        lines = list(csv.DictReader(file))
    expected = {(line["step"], key, float(line[key])) for line in lines for key in line if line[key] and key != "step"}
    values = {(str(row[STEP]), key, row[key]) for row in rows for key in row if isinstance(row[key], int | float)}
    assert {value for value in values if not value[1].startswith("_") and value[1] != STEP} == expected
    stored = config(run)
    assert stored["model"]["init_args"]["network"]["channels"] == [8, 8, 8]
    assert stored["trainer"]["strategy"] == "ddp"
    assert stored["data"]["crop_size"] == 64
    assert "cache" in stored["data"]  # what nobody has set
    assert exit_code(run) == 0


@pytest.mark.slow
def test_a_resumed_job_continues_the_run_and_its_history_rebuilds_the_whole(
    inside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = "runs/version_0/checkpoints/last.ckpt"
    assert main(["fit", "--config", "exp.yaml", "--ckpt_path", checkpoint, "--trainer.max_steps", "8"]) == 0
    first, second = run_folders(inside)
    assert second.parent == inside / "runs/version_1/wandb"
    run_id = (inside / "runs/version_0/wandb_run_id").read_text()
    assert (inside / "runs/version_1/wandb_run_id").read_text() == run_id
    assert first.name.split("-")[-1] == second.name.split("-")[-1] == run_id.strip()
    rows = [*history(first), *history(second)]
    assert with_key(rows, "train/loss") == [0, 1, 2, 3, 4, 5, 6, 7]
    assert with_key(rows, "val/photos/psnr") == [2, 4, 6]
    steps = [row[STEP] for row in rows]
    assert steps == sorted(steps)

    assert main(["wandb-sync", "runs/version_1", "--offline", "--project", "another"]) == 0
    assert f"in run {run_id.strip()} of project another" in capsys.readouterr().out
    (rebuilt,) = set(run_folders(inside)) - {first, second}
    assert rebuilt.name.endswith(run_id.strip())
    assert [tidy(row) for row in history(rebuilt)] == [tidy(row) for row in rows]
    assert config(rebuilt)["trainer"]["max_steps"] == 8


def test_without_the_package_there_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "history.jsonl").write_text('{"step": 1, "metrics": {"a": 1}}\n')
    monkeypatch.setattr(wandb_run, "find_spec", lambda name: None)
    assert main(["wandb-sync", str(tmp_path)]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "wandb: the package is not installed: pip install 'lightning_codec[wandb]'" in error


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "history.jsonl: no such file"),
        ({"history.jsonl": ""}, "its history is empty"),
        ({"history.jsonl": '{"step": 1}\n', "config.yaml": "a: ["}, "config.yaml: damaged configuration"),
        ({"history.jsonl": '{"step": 1}\n', "config.yaml": "3"}, "config.yaml: not the configuration"),
        ({"history.jsonl": '{"step": 1}\n', "config.yaml": "wandb: {media: -1}"}, "media is -1"),
    ],
)
def test_a_folder_that_holds_no_run_is_one_line(
    files: dict[str, str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    assert main(["wandb-sync", str(tmp_path), "--offline"]) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
