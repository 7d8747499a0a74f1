from collections.abc import Iterator

import pytest

from tests.cluster.local_slurm import LocalSlurm, local_slurm, obstacle


@pytest.fixture(scope="session")
def slurm() -> Iterator[LocalSlurm]:
    """Two nodes, n1 and n2; skips, with the reason, where they cannot be had."""
    reason = obstacle()
    if reason is not None:
        pytest.skip(reason)
    with local_slurm() as cluster:
        yield cluster
