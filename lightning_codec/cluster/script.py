"""The batch scripts for Slurm."""

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lightning_codec.callbacks.last_checkpoint import LAST
from lightning_codec.cluster.grid import Member

FINISHED = "FINISHED"
"""An empty file in the folder of a sweep's member that was trained and tested."""


@dataclass(frozen=True)
class Resources:
    """What a job asks Slurm for.

    Args:
        nodes: how many.
        tasks_per_node: processes on each of them, one for each device.
        gpus: a GPU for each task; otherwise they compute on the CPU.
        cpus_per_task: of each process, its data workers included.
        mem: of a node, such as 64G; None leaves it to the cluster, as with the next three.
        time: limit, such as 2-00:00:00.
        partition: of the cluster.
        account: that is charged.
        lead: seconds before the limit at which the training writes a checkpoint and leaves, to be requeued.
        options: further ones of sbatch, such as --qos=high.
    """

    nodes: int
    tasks_per_node: int
    gpus: bool
    cpus_per_task: int
    mem: str | None = None
    time: str | None = None
    partition: str | None = None
    account: str | None = None
    lead: int = 90
    options: tuple[str, ...] = ()

    def trainer_arguments(self) -> list[str]:
        """What makes Lightning expect as many processes as the job has.

        Its strategy stays the configuration's; `auto` is DDP where there are several processes.
        """
        return [
            f"--trainer.accelerator={'gpu' if self.gpus else 'cpu'}",
            f"--trainer.num_nodes={self.nodes}",
            f"--trainer.devices={self.tasks_per_node}",
        ]


@dataclass(frozen=True)
class Place:
    """Where a job runs and what it is called.

    Args:
        name: of the job.
        folder: working directory, from which relative paths are read.
        program: the command line before the name of a command.
        logs: folder for what the script itself prints.
    """

    name: str
    folder: Path
    program: Sequence[str]
    logs: Path


def training_script(place: Place, resources: Resources, arguments: Sequence[str]) -> str:
    """One training, `fit` with these arguments."""
    log = place.logs / "%j.log"
    body = [f"logs={shlex.quote(str(place.logs))}", _array("arguments", arguments), "", FIT, 'exit "$code"']
    return "\n".join([*_head(place, resources, log), *body, ""])


def sweep_script(
    place: Place, resources: Resources, arguments: Sequence[str], members: Sequence[Member], wanted: Iterable[int]
) -> str:
    """An array of jobs, one for each member whose number is wanted; each trains, tests and marks its folder.

    Args:
        place: its `logs` lie in the folder of the sweep, where each member has a folder under its name.
        resources: of each job.
        arguments: of `fit`, which all members share.
        members: the whole grid.
        wanted: numbers of the members that are to be run.
    """
    log = place.logs / "%A_%a.log"
    cases = [
        f"    {index}) member={shlex.quote(member.name)}; settings=({shlex.join(member.arguments)}) ;;"
        for index, member in enumerate(members)
    ]
    body = [
        'case "$SLURM_ARRAY_TASK_ID" in',
        *cases,
        "esac",
        f'folder={shlex.quote(str(place.logs.parent))}/"$member"',
        'logs="$folder/slurm"',
        'mkdir -p "$logs"',
        _array("arguments", arguments, '"${settings[@]}"', '--trainer.default_root_dir="$folder"'),
        "",
        FIT,
        TEST,
        'exit "$code"',
    ]
    return "\n".join([*_head(place, resources, log, ",".join(map(str, wanted))), *body, ""])


def _head(place: Place, resources: Resources, log: Path, array: str | None = None) -> list[str]:
    asked = {
        "job-name": place.name,
        "array": array,
        "nodes": resources.nodes,
        "ntasks-per-node": resources.tasks_per_node,
        "gpus-per-node": resources.tasks_per_node if resources.gpus else None,
        "cpus-per-task": resources.cpus_per_task,
        "mem": resources.mem,
        "time": resources.time,
        "partition": resources.partition,
        "account": resources.account,
        "signal": f"USR1@{resources.lead}",
        "chdir": place.folder,
        "output": log,
        "open-mode": "append",
    }
    options = [f"--{key}={value}" for key, value in asked.items() if value is not None]
    return [
        "#!/bin/bash",
        *(f"#SBATCH {_directive(option)}" for option in (*options, "--requeue", *resources.options)),
        "",
        "# srun does not take this one over from sbatch.",
        f"export SRUN_CPUS_PER_TASK={resources.cpus_per_task}",
        _array("program", place.program),
    ]


def _directive(option: str) -> str:
    """An option as sbatch reads it in a script: quoted if there is a blank in it."""
    return f'"{option}"' if " " in option else option


def _array(name: str, words: Sequence[str], *ready: str) -> str:
    """An array of bash, a word on each line; `ready` are words that are quoted already."""
    lines = [*map(shlex.quote, words), *ready]
    return "\n".join([f"{name}=(", *(f"    {line}" for line in lines), ")"])


FIT = """\
# On every node, before anything waits for another: what would make the training hang.
srun "${program[@]}" preflight "${arguments[@]}" || exit

# A task that fails ends the others, which would wait for it. When Slurm says that the time is nearly up, the training
# writes a checkpoint and puts this job back into the queue; the same command then goes on with the same run.
step=(srun --kill-on-bad-exit=1 --open-mode=append --output="$logs/%j-rank%t.log")
"${step[@]}" "${program[@]}" fit "${arguments[@]}"
code=$?"""

TEST = f"""
if [ "$code" -eq 0 ]; then
    run=$(ls -d "$folder"/version_* | sort -V | tail -n 1)
    "${{step[@]}}" "${{program[@]}}" test "${{arguments[@]}}" \\
        --ckpt_path="$run/{LAST}" --trainer.default_root_dir="$folder/test"
    code=$?
fi
if [ "$code" -eq 0 ]; then
    touch "$folder/{FINISHED}"
fi"""
