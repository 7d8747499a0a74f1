import contextlib
import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest
from torch.utils.data import DataLoader

from lightning_codec.data.loader import heed_the_main_process_alone
from lightning_codec.runs import signals
from lightning_codec.runs.requeue import requeue
from lightning_codec.runs.signals import SignalWatch


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    before = {signum: signal.getsignal(signum) for signum in (*signals.STOPPING, signal.SIGHUP)}
    yield
    for signum, handler in before.items():
        signal.signal(signum, handler)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGHUP])
def test_the_first_signal_is_noted_and_the_second_leaves(
    signum: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[int] = []
    now = 100.0
    monkeypatch.setattr(os, "_exit", left.append)
    monkeypatch.setattr(time, "monotonic", lambda: now)
    watch = SignalWatch()
    watch.listen(signal.SIGHUP)
    os.kill(os.getpid(), signum)
    now = 100.5
    os.kill(os.getpid(), signum)  # to the process and to its group: one request
    assert watch.received == signum
    assert left == []
    now = 102.0
    os.kill(os.getpid(), signum)
    assert left == [128 + signum]


def terminate(worker: Any) -> None:
    for _ in range(20):  # on a busy machine two signals may arrive as one
        with contextlib.suppress(RuntimeError):  # the loader's own, if it is the first to see
            worker.terminate()
            worker.join(1)


def test_reading_goes_on_when_every_process_of_a_job_is_signalled() -> None:
    numbers: Any = range(400)
    loader: DataLoader[int] = DataLoader(numbers, num_workers=1, worker_init_fn=heed_the_main_process_alone)
    items = iter(loader)
    read = [int(next(items))]
    (worker,) = items._workers  # type: ignore[attr-defined]
    for signum in (signal.SIGUSR1, signal.SIGINT, signal.SIGTERM):
        os.kill(worker.pid, signum)
    read += [int(item) for item in items]
    assert read == list(range(400))
    items = iter(loader)
    (worker,) = items._workers  # type: ignore[attr-defined]
    next(items)
    worker.terminate()
    worker.join(0.1)
    assert worker.is_alive()
    terminate(worker)
    assert worker.exitcode == -signal.SIGTERM  # one that hangs can be ended


@pytest.mark.parametrize(
    ("script", "said"),
    [("exit 0", "job 7_3 goes back"), ("echo no >&2; exit 1", "could not be requeued (no)"), (None, "No such file")],
)
def test_a_job_is_put_back_into_the_queue_by_its_number(
    script: str | None,
    said: str,
    tmp_path: object,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tool = f"{tmp_path}/scontrol"
    if script is not None:
        with open(tool, "w") as file:
            file.write(f'#!/bin/sh\necho "$@" > {tmp_path}/called\n{script}\n')
        os.chmod(tool, 0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin" if script is not None else str(tmp_path))
    for name, value in {"SLURM_JOB_ID": "8", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "3"}.items():
        monkeypatch.setenv(name, value)
    requeue()
    printed = capsys.readouterr()
    assert said in printed.out + printed.err
    if script is not None:
        with open(f"{tmp_path}/called") as file:
            assert file.read() == "requeue 7_3\n"
