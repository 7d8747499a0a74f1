"""What Slurm itself does with the batch script; a program of a few lines stands for the training."""

from collections.abc import Callable
from pathlib import Path

import pytest

from lightning_codec.cluster.script import Place, Resources, training_script
from tests.cluster.local_slurm import LocalSlurm, wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

# At its first start `fit` waits for SIGUSR1 and then does what a training does on its first process: it puts the job
# back into the queue. At the second it waits for SIGTERM, at the third it ends.
PROGRAM = """#!/bin/bash
echo "$1 of $SLURMD_NODENAME, rank $SLURM_PROCID of $SLURM_NTASKS, $SLURM_NTASKS_PER_NODE a node, start \
${SLURM_RESTART_COUNT:-0}, $SLURM_CPUS_PER_TASK cpus"
if [ "$1" = preflight ]; then
    [ -e "fault-$SLURMD_NODENAME" ] && exit 2
    exit 0
fi
signalled=no
trap signalled=yes USR1
trap 'echo terminated; exit 143' TERM
touch "fit-${SLURM_RESTART_COUNT:-0}-$SLURM_PROCID"
case ${SLURM_RESTART_COUNT:-0} in
    0)
        while [ $signalled = no ]; do sleep 0.1; done
        echo signalled
        if [ "$SLURM_PROCID" = 0 ]; then scontrol requeue "$SLURM_JOB_ID"; exit 143; fi
        ;;
    1) while true; do sleep 0.1; done ;;
esac
"""
SECONDS = 300.0


def write_job(folder: Path) -> Path:
    program = folder / "program.sh"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    (folder / "logs").mkdir()
    place = Place("job", folder, [str(program)], folder / "logs")
    script = folder / "job.sh"
    script.write_text(training_script(place, Resources(2, 1, gpus=False, cpus_per_task=2), ["--x=1"]))
    return script


def both(folder: Path, start: int) -> Callable[[], bool]:
    return lambda: all((folder / f"fit-{start}-{rank}").exists() for rank in (0, 1))


def test_a_job_comes_back_by_itself_and_each_rank_goes_on_with_its_log(slurm: LocalSlurm, tmp_path: Path) -> None:
    job = slurm.submit(write_job(tmp_path))
    wait_until(both(tmp_path, 0), "both ranks train", SECONDS)
    slurm.run("scancel", "--signal=USR1", job)
    wait_until(both(tmp_path, 1), "both ranks train again", SECONDS)
    slurm.run("scontrol", "requeue", job)
    assert slurm.wait(job, SECONDS) == "COMPLETED"
    assert slurm.field(job, "Restarts") == "2"
    for rank, node in ((0, "n1"), (1, "n2")):
        lines = (tmp_path / "logs" / f"{job}-rank{rank}.log").read_text().splitlines()
        said = [f"fit of {node}, rank {rank} of 2, 1 a node, start {start}, 2 cpus" for start in (0, 1, 2)]
        wanted = [said[0], "signalled", said[1], "terminated", said[2]]
        assert [line for line in lines if line in wanted] == wanted
    checks = [line for line in (tmp_path / "logs" / f"{job}.log").read_text().splitlines() if "preflight of" in line]
    assert len(checks) == 6


def test_a_fault_on_one_node_ends_the_job_before_the_training(slurm: LocalSlurm, tmp_path: Path) -> None:
    script = write_job(tmp_path)
    (tmp_path / "fault-n2").touch()
    job = slurm.submit(script)
    assert slurm.wait(job, SECONDS) == "FAILED"
    assert slurm.field(job, "ExitCode") == "2:0"
    assert not list((tmp_path / "logs").glob("*-rank*.log"))
