import socket
from pathlib import Path

import pytest
import torch
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

from lightning_codec.cli import main
from lightning_codec.cluster.preflight import Launch, launch_faults, node_faults, rendezvous_faults
from lightning_codec.commands.resolved import fit_configuration
from tests.cluster.job import write_config

IN_JOB = {"SLURM_JOB_ID": "17", "SLURM_JOB_NAME": "train"}


def launch(num_nodes: int = 1, devices: int = 1, accelerator: str = "cpu", root: str = "runs", **data) -> Launch:
    settings = {"train_folders": (), "eval_sets": (), "data_root": Path("data"), "download": False, **data}
    return Launch(num_nodes, devices, accelerator, Path(root), **settings)


def step(nodes: int, per_node: int | None, tasks: int | None = None, **more: str) -> dict[str, str]:
    """The environment of a task that srun has started."""
    counts = {"SLURM_NNODES": nodes, "SLURM_NTASKS": tasks or nodes * (per_node or 1)}
    if per_node is not None:
        counts["SLURM_NTASKS_PER_NODE"] = per_node
    return {**IN_JOB, "SLURM_STEP_ID": "0", **{name: str(count) for name, count in counts.items()}, **more}


def without_srun(nodes: int, per_node: int, **more: str) -> dict[str, str]:
    environment = {**step(nodes, per_node), **more}
    del environment["SLURM_STEP_ID"]
    return environment


@pytest.mark.parametrize(
    ("environment", "wanted", "expected"),
    [
        ({}, launch(2, 4), []),
        (step(2, 4), launch(2, 4), []),
        (step(1, 1), launch(1, 1), []),
        (step(1, None, 1), launch(1, 1), []),
        (without_srun(1, 1), launch(1, 1), []),
        (
            step(1, None, 1),
            launch(1, 4),
            ["SLURM_NTASKS is 1, but trainer.num_nodes 1 x trainer.devices 4 are 4 processes: "
             "start it by srun --nodes=1 --ntasks-per-node=4"],
        ),
        (
            step(1, 4, 2),  # fewer tasks than tasks per node: Lightning trains on two devices and says nothing
            launch(1, 4),
            ["SLURM_NTASKS is 2, but trainer.num_nodes 1 x trainer.devices 4 are 4 processes: "
             "start it by srun --nodes=1 --ntasks-per-node=4"],
        ),
        (
            step(1, 2),
            launch(1, 4),
            ["SLURM_NTASKS_PER_NODE is 2, but trainer.devices is 4: set trainer.devices 2, "
             "or ask Slurm for --ntasks-per-node=4"],
        ),
        (
            step(2, 4),
            launch(1, 4),
            ["SLURM_NNODES is 2, but trainer.num_nodes is 1: set trainer.num_nodes 2, or ask Slurm for --nodes=1"],
        ),
        (
            step(2, 2),
            launch(4, 1),
            ["SLURM_NNODES is 2, but trainer.num_nodes is 4: set trainer.num_nodes 2, or ask Slurm for --nodes=4",
             "SLURM_NTASKS_PER_NODE is 2, but trainer.devices is 1: set trainer.devices 2, "
             "or ask Slurm for --ntasks-per-node=1"],
        ),
        (
            step(1, None, 4),
            launch(1, 4),
            ["SLURM_NTASKS_PER_NODE is not set for 4 tasks: ask Slurm for --ntasks-per-node=4, not for --ntasks"],
        ),
        (
            without_srun(1, 4),
            launch(1, 4),
            ["in Slurm job 17, but not started by srun: this one process would wait for 3 others; "
             "put srun before the command"],
        ),
        (
            {**IN_JOB, "SLURM_NNODES": "1"},  # salloc without counts
            launch(1, 4),
            ["in Slurm job 17, but not started by srun: this one process would wait for 3 others; "
             "put srun before the command",
             "SLURM_NTASKS is not set, but trainer.num_nodes 1 x trainer.devices 4 are 4 processes: "
             "start it by srun --nodes=1 --ntasks-per-node=4"],
        ),
        (
            without_srun(2, 1),  # one process would be rank 0 of two
            launch(1, 1),
            ["in Slurm job 17, but not started by srun: this one process would wait for 1 others; "
             "put srun before the command",
             "SLURM_NNODES is 2, but trainer.num_nodes is 1: set trainer.num_nodes 2, or ask Slurm for --nodes=1"],
        ),
        (without_srun(1, 4, SLURM_JOB_NAME="bash"), launch(1, 4), []),
        (
            step(2, 1, SLURM_JOB_NAME="interactive"),
            launch(2, 1),
            ["job 17 is named 'interactive', and in such a job Lightning takes no notice of Slurm: trainer.num_nodes 2 "
             "would wait for the other nodes; give it another --job-name"],
        ),
        (
            step(2, 2, SLURM_STEP_TASKS_PER_NODE="3,1"),
            launch(2, 2),
            ["SLURM_STEP_TASKS_PER_NODE is 3,1: every node needs as many tasks as any other, "
             "ask Slurm for --ntasks-per-node=2"],
        ),
        (step(2, 2, SLURM_STEP_TASKS_PER_NODE="2(x2)"), launch(2, 2), []),
    ],
)  # fmt: skip
def test_tasks_devices_and_nodes(environment: dict[str, str], wanted: Launch, expected: list[str]) -> None:
    assert launch_faults(wanted, environment) == expected


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"MASTER_ADDR": "127.0.0.1"}, []),
        ({"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "much"}, ["MASTER_PORT is 'much': it must be a port"]),
        ({"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "70000"}, ["MASTER_PORT is '70000': it must be a port"]),
        ({"MASTER_ADDR": "no-such-host.invalid"}, ["MASTER_ADDR, 'no-such-host.invalid', is a name without an addr"]),
        ({"SLURM_NODELIST": "nowhere-[3-4]"}, ["the first node of the job, 'nowhere-3', is a name without an address"]),
    ],
)
def test_where_the_processes_meet(more: dict[str, str], expected: list[str]) -> None:
    faults = rendezvous_faults(launch(2), {**step(2, 1), **more})
    assert len(faults) == len(expected)
    assert all(fault.startswith(start) for fault, start in zip(faults, expected, strict=True))
    assert rendezvous_faults(launch(1), {**step(1, 1), **more}) == []


def test_a_port_that_is_taken_is_found_on_the_first_node_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MASTER_PORT", raising=False)  # a training in several processes has left it behind
    environment = step(2, 1, MASTER_ADDR="127.0.0.1", SLURM_JOB_ID="981234")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    port = SLURMEnvironment().main_port
    with socket.socket() as taken:
        taken.bind(("", port))
        taken.listen()
        (fault,) = rendezvous_faults(launch(2), environment)
        assert fault.startswith(f"port {port}, where the processes are to meet, cannot be had (Address already in use)")
        assert rendezvous_faults(launch(2), {**environment, "SLURM_PROCID": "1"}) == []
    assert rendezvous_faults(launch(2), environment) == []


def test_devices_folders_and_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    wanted = launch(
        devices=4,
        accelerator="gpu",
        root=str(tmp_path / "file" / "runs"),
        train_folders=(str(tmp_path / "none"), str(tmp_path / "empty")),
        eval_sets=("kodak", "dead_leaves", str(tmp_path / "empty")),
        data_root=tmp_path,
    )
    faults = node_faults(wanted)
    assert [fault.partition(": ")[0] for fault in faults[1:]] == [
        "trainer.default_root_dir",
        "data.train_folders",
        "data.train_folders",
        "data.eval_sets",
        "data.eval_sets",
    ]
    assert faults[0] == "2 GPUs are visible (CUDA_VISIBLE_DEVICES is '0,1'), but trainer.devices is 4"
    assert faults[1].endswith("Not a directory, no run can be written there")
    assert "none: no such folder" in faults[2]
    assert "empty: no image files in this training folder" in faults[3]
    assert "24 of 24 Kodak images are missing" in faults[4]
    (tmp_path / "runs").mkdir()
    fine = launch(root=str(tmp_path / "runs"), eval_sets=("kodak",), data_root=tmp_path, download=True)
    assert node_faults(fine) == []
    assert list((tmp_path / "runs").iterdir()) == []


@pytest.mark.parametrize(
    ("devices", "accelerator", "visible", "expected"),
    [
        ("auto", "cpu", 0, (1, "cpu")),
        ("3", "cpu", 0, (3, "cpu")),
        ("auto", "auto", 4, (4, "gpu")),
        ("-1", "cuda", 4, (4, "gpu")),
        ("[1,3]", "gpu", 4, (2, "gpu")),
        ("0,2,3", "gpu", 4, (3, "gpu")),
        ("2", "auto", 0, (2, "cpu")),
    ],
)
def test_what_trainer_devices_means(
    devices: str,
    accelerator: str,
    visible: int,
    expected: tuple[int, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: visible)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: visible > 0)
    config = write_config(tmp_path)
    arguments = ["--config", str(config), "--trainer.accelerator", accelerator, "--trainer.devices", devices]
    found = Launch.of(fit_configuration(arguments))
    assert (found.devices, found.accelerator) == expected


def test_the_command_reports_all_faults_at_once_and_fit_does_so_under_slurm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(tmp_path)
    arguments = ["--config", str(config), "--data.train_folders", "[nowhere]", "--data.eval_sets", "[kodak]"]
    monkeypatch.setenv("SLURMD_NODENAME", "n7")
    assert main(["preflight", *arguments]) == 2
    outside = capsys.readouterr().err.splitlines()
    assert len(outside) == 2
    assert all(line.startswith("lightning-codec: error: n7: data.") for line in outside)
    for name, value in step(2, 1).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    assert main(["fit", *arguments]) == 2
    inside = capsys.readouterr().err.splitlines()
    assert [line for line in inside if line.startswith("lightning-codec: error: ")] == [
        "lightning-codec: error: n7: SLURM_NNODES is 2, but trainer.num_nodes is 1: set trainer.num_nodes 2, or ask "
        "Slurm for --nodes=1",
        *outside,
    ]
    # Another task of the node is concerned as well, and has nothing to add.
    monkeypatch.setenv("SLURM_PROCID", "1")
    monkeypatch.setenv("SLURM_LOCALID", "1")
    assert main(["preflight", *arguments]) == 2
    assert capsys.readouterr().err == ""
    assert main(["preflight", "--config", str(config), "--trainer.num_nodes", "2", "--data.eval_sets", "[kodak]"]) == 0


@pytest.mark.parametrize(
    ("command", "folders", "sets"),
    [
        ("fit", ("train",), ("a",)),
        ("validate", (), ("a",)),
        ("test", (), ("b", "c")),
        ("predict", (), ()),
    ],
)
def test_each_command_needs_its_own_images(
    command: str, folders: tuple[str, ...], sets: tuple[str, ...], tmp_path: Path
) -> None:
    data = ["--data.train_folders=[train]", "--data.eval_sets=[a]", "--data.test_sets=[b, c]"]
    config = fit_configuration(["--config", str(write_config(tmp_path)), *data])
    found = Launch.of(config, command)
    assert (found.train_folders, found.eval_sets) == (folders, sets)


def test_what_is_in_order_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write_config(tmp_path)
    assert main(["preflight", "--config", str(config), "--trainer.devices", "2"]) == 0
    assert capsys.readouterr().out.endswith(": 1 node(s) x 2 cpu process(es), run folder and images are in order\n")
