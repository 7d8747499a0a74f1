"""What would make a training hang or fail, found before any process group is built: every fault, one line each."""

import os
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

import torch
from jsonargparse import Namespace
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

from lightning_codec.commands.reporting import EXIT_ERROR, report
from lightning_codec.data.named_sets import evaluation_set
from lightning_codec.errors import UserError
from lightning_codec.images import find_images

INTERACTIVE = ("bash", "interactive")
"""Names of jobs in which Lightning takes no notice of Slurm."""


@dataclass(frozen=True)
class Launch:
    """What a configuration needs of the place where it is started."""

    num_nodes: int
    devices: int
    """on each node, one process each"""
    accelerator: str
    """cpu, gpu, or another one of Lightning's names"""
    run_root: Path
    """`trainer.default_root_dir`"""
    train_folders: tuple[str, ...]
    eval_sets: tuple[str, ...]
    data_root: Path
    download: bool
    """the Kodak images may be missing: they will be fetched"""

    @property
    def processes(self) -> int:
        """Over all nodes."""
        return self.num_nodes * self.devices

    @classmethod
    def of(cls, config: Namespace, command: str = "fit") -> "Launch":
        """From the parsed configuration of `fit`, `validate`, `test` or `predict`."""
        trainer, data = config.trainer, config.data
        sets = {"test": data.test_sets or data.eval_sets, "predict": ()}.get(command, data.eval_sets)
        accelerator = {"cuda": "gpu", "auto": "gpu" if torch.cuda.is_available() else "cpu"}.get(
            trainer.accelerator, trainer.accelerator
        )
        return cls(
            num_nodes=trainer.num_nodes,
            devices=_devices(trainer.devices, accelerator),
            accelerator=accelerator,
            run_root=Path(trainer.default_root_dir),
            train_folders=tuple(data.train_folders or ()) if command == "fit" else (),
            eval_sets=tuple(sets),
            data_root=Path(data.data_root),
            download=data.download,
        )


def _devices(asked: int | str | list[int], accelerator: str) -> int:
    """How many devices of a node `trainer.devices` means."""
    if isinstance(asked, list):
        return len(asked)
    if asked in ("auto", "-1", -1):
        return torch.cuda.device_count() if accelerator == "gpu" else 1
    if isinstance(asked, str) and "," in asked:
        return len([index for index in asked.split(",") if index.strip()])
    return int(asked)


def launch_faults(launch: Launch, environment: Mapping[str, str]) -> list[str]:
    """Compare tasks, devices and nodes of the Slurm job that this process is part of; nothing outside of Slurm."""
    if "SLURM_JOB_ID" not in environment:
        return []
    job, nodes, devices = environment["SLURM_JOB_ID"], launch.num_nodes, launch.devices
    name = environment.get("SLURM_JOB_NAME")
    if name in INTERACTIVE:
        if nodes == 1:
            return []  # Lightning starts the processes of one node itself
        return [
            f"job {job} is named {name!r}, and in such a job Lightning takes no notice of Slurm: trainer.num_nodes "
            f"{nodes} would wait for the other nodes; give it another --job-name"
        ]
    tasks = _number(environment, "SLURM_NTASKS")
    per_node = _number(environment, "SLURM_NTASKS_PER_NODE")
    allocated = _number(environment, "SLURM_NNODES")
    faults = []
    if "SLURM_STEP_ID" not in environment and max(launch.processes, tasks or 1) > 1:
        faults.append(
            f"in Slurm job {job}, but not started by srun: this one process would wait for "
            f"{max(launch.processes, tasks or 1) - 1} others; put srun before the command"
        )
    if allocated is not None and allocated != nodes:
        faults.append(
            f"SLURM_NNODES is {allocated}, but trainer.num_nodes is {nodes}: set trainer.num_nodes {allocated}, "
            f"or ask Slurm for --nodes={nodes}"
        )
    if per_node is not None and per_node != devices:
        faults.append(
            f"SLURM_NTASKS_PER_NODE is {per_node}, but trainer.devices is {devices}: set trainer.devices {per_node}, "
            f"or ask Slurm for --ntasks-per-node={devices}"
        )
    if per_node is None and (tasks or 1) > 1:
        faults.append(
            f"SLURM_NTASKS_PER_NODE is not set for {tasks} tasks: ask Slurm for --ntasks-per-node={devices}, "
            "not for --ntasks"
        )
    consistent = allocated in (None, nodes) and per_node in (None, devices)
    if consistent and (tasks or 1) != launch.processes:
        faults.append(
            f"SLURM_NTASKS is {tasks or 'not set'}, but trainer.num_nodes {nodes} x trainer.devices {devices} are "
            f"{launch.processes} processes: start it by srun --nodes={nodes} --ntasks-per-node={devices}"
        )
    spread = environment.get("SLURM_STEP_TASKS_PER_NODE", "")
    if "," in spread:
        faults.append(
            f"SLURM_STEP_TASKS_PER_NODE is {spread}: every node needs as many tasks as any other, "
            f"ask Slurm for --ntasks-per-node={devices}"
        )
    return faults


def rendezvous_faults(launch: Launch, environment: Mapping[str, str]) -> list[str]:
    """The address and the port at which the processes of a Slurm job find each other."""
    if "SLURM_JOB_ID" not in environment or launch.processes == 1:
        return []
    address = environment.get("MASTER_ADDR")
    source = "MASTER_ADDR" if address else "the first node of the job"
    address = address or SLURMEnvironment.resolve_root_node_address(environment.get("SLURM_NODELIST", "127.0.0.1"))
    # Without MASTER_PORT Lightning takes this one.
    asked = environment.get("MASTER_PORT", str(15000 + int(environment["SLURM_JOB_ID"][-4:])))
    if not (asked.isdecimal() and 0 < int(asked) < 2**16):
        return [f"MASTER_PORT is {asked!r}: it must be a port, a number from 1 to 65535"]
    try:
        socket.getaddrinfo(address, int(asked))
    except socket.gaierror:
        return [f"{source}, {address!r}, is a name without an address here: set MASTER_ADDR to one that has one"]
    if environment.get("SLURM_PROCID", "0") != "0":
        return []  # the first process listens, on its node
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("", int(asked)))
        except OSError as error:
            return [f"port {asked}, where the processes are to meet, cannot be had ({error.strerror}): set MASTER_PORT"]
    return []


def node_faults(launch: Launch) -> list[str]:
    """Devices, run folder and images, as they are seen from this node."""
    faults = []
    visible = torch.cuda.device_count()
    if launch.accelerator == "gpu" and visible < max(1, launch.devices):
        only = os.environ.get("CUDA_VISIBLE_DEVICES")
        limit = "" if only is None else f" (CUDA_VISIBLE_DEVICES is {only!r})"
        faults.append(f"{visible} GPUs are visible{limit}, but trainer.devices is {launch.devices}")
    try:
        launch.run_root.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=launch.run_root):
            pass
    except OSError as error:
        faults.append(f"trainer.default_root_dir: {launch.run_root}: {error.strerror}, no run can be written there")
    for folder in launch.train_folders:
        try:
            empty = not find_images(folder)
        except UserError as error:
            faults.append(f"data.train_folders: {error}")
        else:
            if empty:
                faults.append(f"data.train_folders: {folder}: no image files in this training folder")
    for name in launch.eval_sets:
        if name == "kodak" and launch.download:
            continue
        try:
            evaluation_set(name, launch.data_root)
        except UserError as error:
            faults.append(f"data.eval_sets: {error}")
    return faults


def node_name(environment: Mapping[str, str]) -> str:
    """As Slurm calls it, else the name of the machine."""
    return environment.get("SLURMD_NODENAME") or socket.gethostname()


def stop_at_faults(launch: Launch) -> None:
    """Report every fault on stderr: the first task of a job what all see alike, the first one of a node what it sees.

    Raises:
        SystemExit: with exit code 2, in every task that a fault concerns.
    """
    environment = os.environ
    common = launch_faults(launch, environment)
    own: list[str] = []
    if environment.get("SLURM_LOCALID", "0") == "0":
        own = [*rendezvous_faults(launch, environment), *node_faults(launch)]
    for fault in [*(common if environment.get("SLURM_PROCID", "0") == "0" else ()), *own]:
        report(UserError(f"{node_name(environment)}: {fault}"))
    if common or own:
        sys.stderr.flush()
        raise SystemExit(EXIT_ERROR)


def preflight_under_slurm(config: Namespace, command: str) -> None:
    """Check the configuration of a command that is a task of a Slurm job; do nothing elsewhere.

    Raises:
        SystemExit: with exit code 2, after a line for every fault.
    """
    if "SLURM_JOB_ID" in os.environ:
        stop_at_faults(Launch.of(config, command))


def _number(environment: Mapping[str, str], name: str) -> int | None:
    value = environment.get(name, "")
    return int(value) if value.isdecimal() else None
