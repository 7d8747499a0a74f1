"""Under Slurm: back into the queue before the time is up."""

import os
import re
import signal
import subprocess
import sys

import lightning.pytorch as pl
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment


def requeue_signal(trainer: pl.Trainer) -> signal.Signals | None:
    """The signal on which the job is to go back into the queue; None: on none, or not under Slurm."""
    environment = trainer._accelerator_connector.cluster_environment
    if not isinstance(environment, SLURMEnvironment) or not environment.auto_requeue:
        return None
    return signal.Signals(environment.requeue_signal or signal.SIGUSR1)


def restarted_job() -> bool:
    """Whether Slurm has started this job before."""
    return int(os.environ.get("SLURM_RESTART_COUNT", "0")) > 0


def requeue() -> None:
    """Ask Slurm to start this job again; what it says is printed."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    job = f"{array}_{task}" if array and task else os.environ["SLURM_JOB_ID"]
    if re.fullmatch(r"[0-9_]+", job) is None:
        raise ValueError(f"SLURM_JOB_ID is {job!r}")
    try:
        done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True)
        failure = " ".join(done.stderr.split()) or f"exit code {done.returncode}" if done.returncode else ""
    except OSError as error:
        failure = str(error)
    if failure:
        print(f"job {job} could not be requeued ({failure}): submit it again, it goes on", file=sys.stderr, flush=True)
    else:
        print(f"job {job} goes back into the queue", flush=True)
