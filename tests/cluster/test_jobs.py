"""What Slurm itself does with the batch script; a program of a few lines stands for the training."""

from collections.abc import Callable
from pathlib import Path

import pytest

from lightning_codec.cluster.grid import Axis, grid
from lightning_codec.cluster.script import Place, Resources, sweep_script, training_script
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
        touch "signalled-$SLURM_PROCID"
        if [ "$SLURM_PROCID" = 0 ]; then
            until [ -e signalled-1 ]; do sleep 0.1; done  # or it may be ended before it has seen the signal
            scontrol requeue "$SLURM_JOB_ID"
            exit 143
        fi
        ;;
    1) while true; do sleep 0.1; done ;;
esac
"""
# Of a sweep: `fit` makes a run folder, and says for which member.
MEMBER = """#!/bin/bash
root=${*: -1}
[ "$1" = fit ] && mkdir -p "${root#*=}/version_0"
echo "$@"
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


def test_an_array_runs_the_members_that_are_wanted(slurm: LocalSlurm, tmp_path: Path) -> None:
    program = tmp_path / "program.sh"
    program.write_text(MEMBER)
    program.chmod(0o755)
    sweep = tmp_path / "rates"
    (sweep / "slurm").mkdir(parents=True)
    members = grid([Axis("lmbda", ("1", "2", "3"))])
    place = Place("rates", tmp_path, [str(program)], sweep / "slurm")
    script = tmp_path / "job.sh"
    script.write_text(sweep_script(place, Resources(1, 2, gpus=False, cpus_per_task=1), ["--x=1"], members, [0, 2]))
    job = slurm.submit(script)
    marks = [sweep / f"lmbda={value}" / "FINISHED" for value in (1, 2, 3)]
    wait_until(lambda: marks[0].exists() and marks[2].exists(), "both members are finished", SECONDS)
    assert not marks[1].parent.exists()
    assert sorted(path.name for path in (sweep / "slurm").iterdir()) == [f"{job}_0.log", f"{job}_2.log"]
    for rank in (0, 1):
        (log,) = (sweep / "lmbda=3" / "slurm").glob(f"*-rank{rank}.log")
        folder = sweep / "lmbda=3"
        assert log.read_text().splitlines() == [
            f"fit --x=1 --lmbda=3 --trainer.default_root_dir={folder}",
            f"test --x=1 --lmbda=3 --trainer.default_root_dir={folder} "
            f"--ckpt_path={folder}/version_0/checkpoints/last.ckpt --trainer.default_root_dir={folder}/test",
        ]
