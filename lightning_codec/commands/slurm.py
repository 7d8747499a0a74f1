"""`lightning-codec slurm`: the batch script of a training."""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_codec.commands.parser import CommandParser, positive
from lightning_codec.errors import UserError

if TYPE_CHECKING:
    from jsonargparse import Namespace

    from lightning_codec.cluster.script import Resources

DECIDED_BY_THE_REQUEST = ("accelerator", "devices", "num_nodes")
PROGRAM = (sys.executable, "-m", "lightning_codec")
"""This program, in this environment, wherever a job starts."""


def run(name: str, arguments: list[str]) -> int:
    """Write the script, and submit it if asked; returns the exit code."""
    parser = CommandParser(
        name,
        "Write the batch script of a training: srun with one process for each device, a preflight on every node, and "
        "a requeue when the time is nearly up, which continues the run. All arguments of `fit` are passed on. The "
        "output of each process goes to <trainer.default_root_dir>/slurm.",
        "lightning-codec slurm --config configs/experiment/base_photos.yaml --nodes 2 --gpus-per-node 4 "
        "--time 1-00:00:00 --submit",
    )
    parser.usage = f"{parser.prog} [options] [arguments of fit]"
    add_resources(parser)
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        type=Path,
        help="the script (default: <trainer.default_root_dir>/slurm/job.sh)",
    )
    parser.add_argument("--submit", action="store_true", help="submit it too")
    options, fit_arguments = parser.parse_known_args(arguments)

    from lightning_codec.cluster.script import Place, training_script

    config, resources = resolved(options, fit_arguments)
    root = Path(config.trainer.default_root_dir).absolute()
    place = Place(options.job_name or root.name, Path.cwd(), PROGRAM, root / "slurm")
    script = training_script(place, resources, [*fit_arguments, *resources.trainer_arguments()])
    deliver(script, options.output or place.logs / "job.sh", place.logs, options.submit)
    return 0


def add_resources(parser: CommandParser) -> None:
    """The options that say what a job asks Slurm for."""
    group = parser.add_argument_group("resources of a job")
    group.add_argument("--nodes", type=positive, default=1, metavar="N", help="(1)")
    group.add_argument("--gpus-per-node", type=positive, metavar="N", help="train on them, one process for each")
    group.add_argument(
        "--tasks-per-node", type=positive, metavar="N", help="without GPUs: processes on each node (default: 1)"
    )
    group.add_argument(
        "--cpus-per-task", type=positive, metavar="N", help="of each process (default: data.num_workers and one more)"
    )
    group.add_argument("--mem", metavar="SIZE", help="of each node, such as 64G")
    group.add_argument("--time", metavar="LIMIT", help="such as 1-00:00:00 for a day; reached, the job is requeued")
    group.add_argument("--partition", metavar="NAME", help="of the cluster")
    group.add_argument("--account", metavar="NAME", help="that is charged")
    group.add_argument("--job-name", metavar="NAME", help="(default: name of the run's folder)")
    group.add_argument(
        "--signal-lead",
        type=positive,
        default=90,
        metavar="SECONDS",
        help="before the limit, for the last checkpoint; Slurm's clock has a grain of 60 seconds (90)",
    )
    group.add_argument(
        "--sbatch",
        action="append",
        default=[],
        metavar="OPTION",
        help="any other option of sbatch, such as --sbatch=--qos=high; repeatable",
    )


def resolved(options: argparse.Namespace, fit_arguments: list[str]) -> "tuple[Namespace, Resources]":
    """The configuration of the training, and what its job asks for.

    Raises:
        UserError: a mistake in the configuration, or one that contradicts the request.
    """
    for key in DECIDED_BY_THE_REQUEST:
        if any(word.partition("=")[0] == f"--trainer.{key}" for word in fit_arguments):
            raise UserError(f"--trainer.{key} follows from --nodes, --gpus-per-node and --tasks-per-node: leave it out")
    if options.gpus_per_node and options.tasks_per_node:
        raise UserError("--tasks-per-node is for jobs without GPUs: each GPU has a process of its own")

    from lightning_codec.cluster.script import Resources
    from lightning_codec.commands.resolved import fit_configuration

    config = fit_configuration(fit_arguments)
    resources = Resources(
        nodes=options.nodes,
        tasks_per_node=options.gpus_per_node or options.tasks_per_node or 1,
        gpus=options.gpus_per_node is not None,
        cpus_per_task=options.cpus_per_task or config.data.num_workers + 1,
        mem=options.mem,
        time=options.time,
        partition=options.partition,
        account=options.account,
        lead=options.signal_lead,
        options=tuple(options.sbatch),
    )
    return config, resources


def deliver(script: str, path: Path, logs: Path, submit: bool) -> None:
    """Write a script, make the folder of its logs, which Slurm does not, and submit it if asked.

    Raises:
        UserError: Slurm refuses it, or is not installed.
    """
    from lightning_codec.files import write_atomically

    logs.mkdir(parents=True, exist_ok=True)
    write_atomically(path, script.encode())
    print(f"script: {path}")
    if not submit:
        print(f"submit: sbatch {path}")
        return
    if shutil.which("sbatch") is None:
        raise UserError(f"--submit: there is no sbatch here; on a machine of the cluster: sbatch {path}")
    answer = subprocess.run(["sbatch", "--parsable", str(path)], capture_output=True, text=True)
    if answer.returncode != 0:
        raise UserError(f"sbatch refuses {path}: {answer.stderr}")
    print(f"job: {answer.stdout.strip()}")
