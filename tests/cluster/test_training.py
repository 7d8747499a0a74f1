"""Jobs on a real Slurm: two nodes against one process, and jobs that are interrupted against those that are not."""

import csv
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from lightning_codec.cli import main
from tests.cluster.job import GLOBAL_BATCH, STEPS, write_config
from tests.cluster.local_slurm import LocalSlurm, wait_until
from tests.tracking.wandb_file import config, run_folders

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(3000)]

LAST = Path("runs", "version_0", "checkpoints", "last.ckpt")
SECONDS = 1200.0


def submit(slurm: LocalSlurm, settings: Path, nodes: int, *more: str, pauses: Sequence[int] = ()) -> str:
    """Submit a training with the command that users have; returns the job's id."""
    log = {"class_path": "tests.cluster.sample_log.SampleLog"}
    log_settings = {"folder": str(settings.parent), "pauses": list(pauses)}
    callbacks = f"--trainer.callbacks={[{**log, 'init_args': log_settings}]}"
    batch = f"--data.batch_size={GLOBAL_BATCH // nodes}"
    script = settings.parent / "job.sh"
    request = ["--nodes", str(nodes), "-o", str(script), "--config", str(settings)]
    assert main(["slurm", *request, callbacks, batch, "--wandb.mode=offline", *more]) == 0
    return slurm.submit(script)


def finish(slurm: LocalSlurm, job: str, folder: Path) -> None:
    """Wait for a job, which has to be a success."""
    state = slurm.wait(job, SECONDS)
    logs = "\n".join(f"## {path}\n{path.read_text()[-3000:]}" for path in sorted((folder / "runs/slurm").glob("*.log")))
    assert state == "COMPLETED", logs


def weights(folder: Path) -> dict[str, Tensor]:
    content: dict[str, Any] = torch.load(folder / LAST, weights_only=True)
    assert content["global_step"] == STEPS
    state: dict[str, Tensor] = content["state_dict"]
    return state


def in_one_process(folder: Path, codec: Path | None = None) -> Path:
    """Train with the same global batch in this process, with as many threads as the jobs have."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        log = f"[{{class_path: tests.cluster.sample_log.SampleLog, init_args: {{folder: {folder}}}}}]"
        assert main(["fit", "--config", str(write_config(folder, codec)), "--trainer.callbacks", log]) == 0
    finally:
        torch.set_num_threads(threads)
    return folder


@pytest.fixture(scope="module")
def one_process(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the codec's training in one process."""
    return in_one_process(tmp_path_factory.mktemp("one"))


@pytest.fixture(scope="module")
def two_nodes(slurm: LocalSlurm, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the codec's training on two nodes, uninterrupted."""
    folder = tmp_path_factory.mktemp("two")
    finish(slurm, submit(slurm, write_config(folder), 2), folder)
    return folder


def samples(folder: Path, rank: int) -> list[list[str]]:
    return [line.split() for line in (folder / f"samples-rank{rank}.txt").read_text().splitlines()]


def test_two_nodes_train_the_codec_of_one_process_in_one_run(two_nodes: Path, one_process: Path) -> None:
    ours, theirs = weights(two_nodes), weights(one_process)
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-4, atol=1e-5, msg=name)
    assert [path.name for path in (two_nodes / "runs").glob("version_*")] == ["version_0"]
    (run,) = run_folders(two_nodes / "runs/version_0")
    saved = yaml.safe_load((two_nodes / "runs/version_0/config.yaml").read_text())
    assert {key: value for key, value in config(run).items() if key in saved} == saved
    assert saved["trainer"]["num_nodes"] == 2
    logs = sorted(path.name.partition("-")[2] for path in (two_nodes / "runs/slurm").glob("*-rank*.log"))
    assert logs == ["rank0.log", "rank1.log"]
    (first,) = (two_nodes / "runs/slurm").glob("*-rank0.log")
    assert "global batch 4 = processes 2 x batch_size 2 x accumulate_grad_batches 1" in first.read_text()


def logged(folder: Path) -> dict[str, list[float]]:
    """Every value that was logged at every step of the training, by its name."""
    with (folder / "runs/version_0/metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["train/loss"]]
    return {name: [float(row[name]) for row in rows] for name in ("step", "train/loss", "train/bpp", "train/psnr")}


def test_two_nodes_log_the_rates_of_one_process(two_nodes: Path, one_process: Path) -> None:
    ours, theirs = logged(two_nodes), logged(one_process)
    assert ours["step"] == theirs["step"] == list(range(STEPS))
    for name, values in theirs.items():
        assert ours[name] == pytest.approx(values, rel=1e-4), name


def test_the_samples_of_two_nodes_are_those_of_one_process(two_nodes: Path, one_process: Path) -> None:
    of_one = [line[3] for line in samples(one_process, 0)]
    assert of_one[::2] == [line[3] for line in samples(two_nodes, 0)]
    assert of_one[1::2] == [line[3] for line in samples(two_nodes, 1)]
    assert len(set(of_one)) == STEPS * GLOBAL_BATCH


def interrupt(slurm: LocalSlurm, job: str, folder: Path, nodes: int, step: int, *command: str) -> None:
    """Interrupt a job when all its tasks are at the end of a step, and see it go back into the queue by itself."""
    waiting = [folder / f"rank{rank}-waits-{step}" for rank in range(nodes)]
    wait_until(lambda: all(path.exists() for path in waiting), f"all tasks are at step {step}", SECONDS)
    restarts = int(slurm.field(job, "Restarts"))
    slurm.run(*command, job)
    time.sleep(3)  # until the signal is everywhere
    (folder / f"go-on-{step}").touch()
    wait_until(lambda: int(slurm.field(job, "Restarts")) == restarts + 1, "the job is back in the queue", SECONDS)


def test_two_nodes_interrupted_twice_end_with_the_same_weights(
    slurm: LocalSlurm, two_nodes: Path, tmp_path: Path
) -> None:
    job = submit(slurm, write_config(tmp_path), 2, pauses=(4, 12))
    interrupt(slurm, job, tmp_path, 2, 4, "scancel", "--signal=USR1")
    interrupt(slurm, job, tmp_path, 2, 12, "scontrol", "requeue")
    finish(slurm, job, tmp_path)
    ours, theirs = weights(tmp_path), weights(two_nodes)
    assert all(torch.equal(ours[name], value) for name, value in theirs.items())
    for rank in (0, 1):
        assert samples(tmp_path, rank) == samples(two_nodes, rank)
    assert [path.name for path in (tmp_path / "runs").glob("version_*")] == ["version_0"]
    runs = {path.name.rpartition("-")[2] for path in (tmp_path / "runs/version_0/wandb").glob("offline-run-*")}
    assert len(runs) == 1


def test_one_process_interrupted_ends_with_the_same_weights(
    slurm: LocalSlurm, one_process: Path, tmp_path: Path
) -> None:
    job = submit(slurm, write_config(tmp_path), 1, pauses=(12,))
    interrupt(slurm, job, tmp_path, 1, 12, "scancel", "--signal=USR1")
    finish(slurm, job, tmp_path)
    ours, theirs = weights(tmp_path), weights(one_process)
    assert all(torch.equal(ours[name], value) for name, value in theirs.items())
    assert samples(tmp_path, 0) == samples(one_process, 0)


def test_two_nodes_train_the_decoder_of_one_process(slurm: LocalSlurm, one_process: Path, tmp_path: Path) -> None:
    codec = one_process / LAST
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    job = submit(slurm, write_config(tmp_path / "two", codec), 2)
    in_one_process(tmp_path / "one", codec)
    finish(slurm, job, tmp_path / "two")
    ours, theirs = weights(tmp_path / "two"), weights(tmp_path / "one")
    assert any(name.startswith("ema.") for name in theirs)
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-4, atol=1e-5, msg=name)


def test_faults_of_every_node_are_reported_before_anything_waits(slurm: LocalSlurm, tmp_path: Path) -> None:
    """A folder that only one of the nodes lacks is named with that node; the training does not start."""
    script = tmp_path / "job.sh"
    request = ["--nodes", "2", "-o", str(script), "--config", str(write_config(tmp_path))]
    assert main(["slurm", *request, "--data.train_folders=[nowhere]"]) == 0
    job = slurm.submit(script)
    assert slurm.wait(job, SECONDS) == "FAILED"
    assert slurm.field(job, "ExitCode") == "2:0"
    errors = [
        line
        for line in (tmp_path / "runs/slurm" / f"{job}.log").read_text().splitlines()
        if line.startswith("lightning-codec: error")
    ]
    assert sorted(errors) == [
        f"lightning-codec: error: {node}: data.train_folders: nowhere: no such folder; give an existing folder with "
        "images"
        for node in ("n1", "n2")
    ]
    assert not list((tmp_path / "runs").glob("version_*"))
