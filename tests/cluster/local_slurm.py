"""Slurm on this machine: a controller and two nodes, n1 and n2, in a folder of their own, on free ports.

Nothing of the system's is touched: authentication has a key and a socket of its own. The daemons are children of the
test process, and each is ended by its own process id.
"""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

PROGRAMS = ("munged", "slurmctld", "slurmd", "srun", "sbatch", "scontrol", "sinfo")
NODES = ("n1", "n2")
MUNGE_KEY_BYTES = 128
SECONDS_TO_START = 60.0

# KillWait: seconds from SIGTERM to SIGKILL, in which a training writes its checkpoint on a busy machine. cred_expire:
# what is requeued starts again after as many seconds, 120 if nothing is said. config_overrides: the nodes have as many
# CPUs as is said here, whatever the machine has.
CONFIGURATION = """\
ClusterName=local
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
SlurmctldPort={port}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
MpiDefault=none
ReturnToService=2
JobRequeue=1
KillWait=60
SlurmdParameters=config_overrides
MinJobAge=86400
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
NODE = "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=4 RealMemory=4000"


def obstacle() -> str | None:
    """Why Slurm cannot be started here; None where it can."""
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        return f"no {', '.join(missing)}: apt-get install --no-install-recommends slurmctld slurmd slurm-client munge"
    return None if os.geteuid() == 0 else "two Slurm nodes on one machine need root"


class LocalSlurm:
    """A running cluster.

    Args:
        folder: where its configuration, its logs and its state are.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # The nodes have no addresses of their own, so the first one's name cannot be resolved.
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("SLURM_")},
            "SLURM_CONF": str(folder / "slurm.conf"),
            "MASTER_ADDR": "127.0.0.1",
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
        }

    def run(self, *command: str, check: bool = True) -> str:
        """What a command of Slurm prints."""
        result = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=300)
        if check and result.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}: {result.stdout}{result.stderr}")
        return result.stdout + result.stderr

    def submit(self, script: Path) -> str:
        """Submit a batch script; returns the job's id."""
        return self.run("sbatch", "--parsable", str(script)).strip()

    def field(self, job: str, name: str) -> str:
        """A field of `scontrol show job`, such as JobState or Restarts."""
        words = self.run("scontrol", "show", "job", job).split()
        return next(word.removeprefix(f"{name}=") for word in words if word.startswith(f"{name}="))

    def wait(self, job: str, seconds: float = 500.0) -> str:
        """Wait for the end of a job; returns its state."""
        ends = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY")
        wait_until(lambda: self.field(job, "JobState") in ends, f"job {job} has ended", seconds)
        return self.field(job, "JobState")


def wait_until(condition: Callable[[], bool], what: str, seconds: float) -> None:
    """Look every second whether something has come about.

    Raises:
        TimeoutError: it has not, in the given time.
    """
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"after {seconds:.0f} seconds it is still not so that {what}")
        time.sleep(1.0)


@contextmanager
def local_slurm() -> Iterator[LocalSlurm]:
    """Start a cluster, and stop it in the end."""
    with TemporaryDirectory(prefix="slurm-") as folder:
        # Not pytest's folder: munged wants one that all can enter, and that no other can write to.
        Path(folder).chmod(0o755)
        with _running(Path(folder)) as slurm:
            yield slurm


@contextmanager
def _running(folder: Path) -> Iterator[LocalSlurm]:
    host = socket.gethostname()
    port, *node_ports = _free_ports(1 + len(NODES))
    nodes = [NODE.format(name=name, host=host, port=p) for name, p in zip(NODES, node_ports, strict=True)]
    text = CONFIGURATION.format(host=host, folder=folder, port=port, nodes="\n".join(nodes))
    (folder / "slurm.conf").write_text(text)
    (folder / "state").mkdir()
    for name in NODES:
        (folder / f"spool-{name}").mkdir()
    key = folder / "munge.key"
    key.touch(0o600)
    key.write_bytes(os.urandom(MUNGE_KEY_BYTES))
    munge = [f"--{kind}={folder}/munge.{end}" for kind, end in (("socket", "socket"), ("key-file", "key"))]
    munge += [f"--{kind}-file={folder}/munge.{kind}" for kind in ("pid", "log", "seed")]
    slurm = LocalSlurm(folder)
    daemons: list[subprocess.Popen[bytes]] = []

    def start(*command: str) -> None:
        log = (folder / f"{Path(command[0]).name}.out").open("ab")
        daemons.append(subprocess.Popen(command, env=slurm.environment, stdout=log, stderr=log))

    def started(condition: Callable[[], bool], what: str) -> None:
        def alive() -> bool:
            for daemon in daemons:
                if daemon.poll() is not None:
                    raise RuntimeError(f"{daemon.args!r} has ended; see {folder}/*.out")
            return condition()

        wait_until(alive, what, SECONDS_TO_START)

    try:
        start("munged", "--foreground", *munge)
        started((folder / "munge.socket").exists, "munged listens")
        start("slurmctld", "-D", "-c")
        for name in NODES:
            start("slurmd", "-D", "-N", name)
        idle = ["sinfo", "--noheader", "--states=idle", "--format=%D"]
        started(lambda: slurm.run(*idle, check=False).strip() == str(len(NODES)), "both nodes are idle")
        yield slurm
    finally:
        slurm.run("scancel", "--user=root", check=False)
        _stop(reversed(daemons))


def _stop(daemons: Sequence[subprocess.Popen[bytes]] | Iterator[subprocess.Popen[bytes]]) -> None:
    for daemon in daemons:
        daemon.terminate()
        try:
            daemon.wait(15)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()


def _free_ports(count: int) -> list[int]:
    """Ports that nobody listens on at this moment."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        return [int(s.getsockname()[1]) for s in sockets]
    finally:
        for s in sockets:
            s.close()
