import subprocess
import sys
from pathlib import Path

import pytest

from lightning_codec.cli import main
from lightning_codec.cluster.grid import Axis, grid
from lightning_codec.cluster.script import Place, Resources, sweep_script, training_script
from tests.cluster.job import write_config
from tests.cluster.local_slurm import LocalSlurm

GOLDEN = Path(__file__).parent / "golden"
PROGRAM = ("/opt/codec/bin/python", "-m", "lightning_codec")
GPUS = Resources(
    nodes=2,
    tasks_per_node=4,
    gpus=True,
    cpus_per_task=9,
    mem="128G",
    time="1-00:00:00",
    partition="long",
    account="codecs",
    lead=120,
    options=("--qos=high", "--comment=two words"),
)
CPU = Resources(nodes=2, tasks_per_node=1, gpus=False, cpus_per_task=1)
ARGUMENTS = ["--config", "configs/experiment/base_photos.yaml", "--data.train_folders", "[my photos/a, b]"]
MEMBERS = grid([Axis("model.init_args.lmbda", ("0.0035", "0.013")), Axis("seed_everything", ("0", "1"))])


def training() -> str:
    place = Place("base_photos", Path("/home/me/codec"), PROGRAM, Path("/home/me/codec/runs/base photos/slurm"))
    return training_script(place, GPUS, [*ARGUMENTS, *GPUS.trainer_arguments()])


def sweep() -> str:
    place = Place("rates", Path("/home/me/codec"), PROGRAM, Path("/home/me/codec/sweeps/rates/slurm"))
    return sweep_script(place, CPU, [*ARGUMENTS, *CPU.trainer_arguments()], MEMBERS, [0, 2, 3])


@pytest.mark.parametrize(("script", "name"), [(training, "training.sh"), (sweep, "sweep.sh")])
def test_scripts_are_as_reviewed_and_bash_reads_them(script, name: str, tmp_path: Path) -> None:
    assert script() == (GOLDEN / name).read_text()
    (tmp_path / name).write_text(script())
    checked = subprocess.run(["bash", "-n", str(tmp_path / name)], capture_output=True, text=True)
    assert (checked.returncode, checked.stderr) == (0, "")


FAKE_SRUN = """#!/bin/bash
for word in "$@"; do
    case $word in
        preflight) exit {preflight} ;;
        fit) printf '%s\\n' "$@" > fit.txt; exit {fit} ;;
        test) printf '%s\\n' "$@" > test.txt; exit {test} ;;
    esac
done
"""


def run_script(script: str, folder: Path, codes: dict[str, int], **environment: str) -> int:
    """Run a script with an srun that notes what it was given and ends with a code for each command, 0 if none is."""
    programs = folder / "bin"
    programs.mkdir()
    (programs / "srun").write_text(FAKE_SRUN.format(**{"preflight": 0, "fit": 0, "test": 0, **codes}))
    (programs / "srun").chmod(0o755)
    (folder / "job.sh").write_text(script)
    variables = {"PATH": f"{programs}:/usr/bin:/bin", "SLURM_JOB_ID": "17", **environment}
    return subprocess.run(["bash", "job.sh"], cwd=folder, env=variables).returncode


@pytest.mark.parametrize(
    ("codes", "expected", "trained"), [({}, 0, True), ({"preflight": 2}, 2, False), ({"fit": 143}, 143, True)]
)
def test_a_training_starts_after_its_preflight_and_its_end_is_that_of_the_job(
    codes: dict[str, int], expected: int, trained: bool, tmp_path: Path
) -> None:
    assert run_script(training(), tmp_path, codes) == expected
    assert (tmp_path / "fit.txt").exists() == trained
    if trained:
        words = (tmp_path / "fit.txt").read_text().splitlines()
        assert words[words.index("fit") + 1 :] == [*ARGUMENTS, *GPUS.trainer_arguments()]
        assert "--output=/home/me/codec/runs/base photos/slurm/%j-rank%t.log" in words


@pytest.mark.parametrize(("codes", "marked"), [({}, True), ({"fit": 143}, False), ({"test": 1}, False)])
def test_a_member_of_an_array_trains_with_its_settings_and_marks_its_folder(
    codes: dict[str, int], marked: bool, tmp_path: Path
) -> None:
    place = Place("rates", tmp_path, PROGRAM, tmp_path / "rates" / "slurm")
    script = sweep_script(place, CPU, ARGUMENTS, MEMBERS, [2])
    folder = tmp_path / "rates" / "lmbda=0.013,seed_everything=0"
    for number in (2, 10):
        (folder / f"version_{number}").mkdir(parents=True)
    run_script(script, tmp_path, codes, SLURM_ARRAY_TASK_ID="2")
    words = (tmp_path / "fit.txt").read_text().splitlines()
    settings = ["--model.init_args.lmbda=0.013", "--seed_everything=0", f"--trainer.default_root_dir={folder}"]
    assert words[words.index("fit") + 1 :] == [*ARGUMENTS, *settings]
    assert (folder / "FINISHED").exists() == marked
    if "fit" not in codes:
        assert (tmp_path / "test.txt").read_text().splitlines()[-2:] == [
            f"--ckpt_path={folder}/version_10/checkpoints/last.ckpt",
            f"--trainer.default_root_dir={folder}/test",
        ]


def test_the_command_passes_everything_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(tmp_path)
    monkeypatch.chdir(tmp_path)
    request = ["--nodes", "2", "--gpus-per-node", "4", "--time", "60", "--sbatch=--qos=high"]
    assert main(["slurm", *request, "--config", str(config), "--model.init_args.lmbda", "0.02"]) == 0
    script = tmp_path / "runs" / "slurm" / "job.sh"
    assert capsys.readouterr().out == f"script: {script}\nsubmit: sbatch {script}\n"
    resources = Resources(2, 4, gpus=True, cpus_per_task=1, time="60", options=("--qos=high",))
    place = Place("runs", tmp_path, (sys.executable, "-m", "lightning_codec"), tmp_path / "runs" / "slurm")
    arguments = ["--config", str(config), "--model.init_args.lmbda", "0.02", *resources.trainer_arguments()]
    assert script.read_text() == training_script(place, resources, arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--trainer.devices", "2"], "--trainer.devices follows from --nodes"),
        (["--trainer.num_nodes=2"], "--trainer.num_nodes follows from --nodes"),
        (["--gpus-per-node", "2", "--tasks-per-node", "2"], "each GPU has a process of its own"),
        (["--model.init_args.lmda", "1"], "lmda"),
        (["--nodes", "0"], "--nodes"),
        (["--submit"], "--submit: there is no sbatch here"),
    ],
)
def test_a_mistake_is_found_before_anything_is_queued(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["slurm", "--config", str(write_config(tmp_path)), *arguments]) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.cluster
def test_slurm_accepts_the_scripts(slurm: LocalSlurm, tmp_path: Path) -> None:
    place = Place("job", tmp_path, PROGRAM, tmp_path / "slurm")
    here = Resources(2, 2, gpus=False, cpus_per_task=2, mem="100M", time="10:00", options=("--comment=two words",))
    (tmp_path / "training.sh").write_text(training_script(place, here, ARGUMENTS))
    (tmp_path / "sweep.sh").write_text(sweep_script(place, here, ARGUMENTS, MEMBERS, [0, 2, 3]))
    for name in ("training.sh", "sweep.sh"):
        assert "to start at" in slurm.run("sbatch", "--test-only", str(tmp_path / name))
