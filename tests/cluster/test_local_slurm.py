import pytest

from tests.cluster.local_slurm import LocalSlurm

pytestmark = pytest.mark.cluster


def test_two_nodes_run_a_task_each(slurm: LocalSlurm) -> None:
    lines = slurm.run("srun", "-N2", "-n2", "sh", "-c", "echo $SLURM_PROCID $SLURMD_NODENAME").splitlines()
    assert sorted(lines) == ["0 n1", "1 n2"]
