"""Long-lived processes that do units of work, one each at a time, whoever is free taking the next."""

import os
import signal
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import connection, get_context, parent_process
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Generic, NamedTuple, TypeVar

from lightning_codec.errors import UserError

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

T = TypeVar("T")
"""A unit of work."""


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """A unit that was done, or that failed."""

    unit: T
    error: str | None
    """What went wrong, on one line."""


class _Worker(NamedTuple):
    process: BaseProcess
    pipe: Connection


class Pool(Generic[T]):
    """Processes for units; used as a context manager, which ends them whatever happens.

    They are spawned when the first unit is given, live until the end, and end by themselves when this process dies.
    The next unit goes to whoever is free. A process that dies over a unit is replaced.

    Args:
        make_work: makes the function that does a unit; it is sent to every process and called there once.
        processes: how many at most.
        threads: of the numeric libraries in each.
    """

    def __init__(self, make_work: Callable[[], Callable[[T], None]], processes: int, threads: int) -> None:
        self.make_work = make_work
        self.processes = processes
        self.threads = threads
        self._workers: list[_Worker] = []

    def __enter__(self) -> "Pool[T]":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.process.kill()  # what was done is on disk; taking the libraries down takes seconds
        for worker in self._workers:
            worker.process.join()
            worker.pipe.close()

    def run(self, units: Iterable[T]) -> Iterator[Outcome[T]]:
        """Do units, begun in the order given; yields each when it is done, in the order of their ends."""
        waiting = deque(units)
        while len(self._workers) < min(self.processes, len(waiting)):
            self._workers.append(self._start())
        busy: dict[Connection, tuple[_Worker, T]] = {}

        def give(worker: _Worker) -> None:
            if waiting:
                unit = waiting.popleft()
                busy[worker.pipe] = (worker, unit)
                with suppress(OSError):  # a process that died meanwhile is noticed when its answer is awaited
                    worker.pipe.send(unit)

        for worker in self._workers:
            give(worker)
        while busy:
            for pipe in connection.wait(list(busy)):
                assert isinstance(pipe, Connection)
                worker, unit = busy.pop(pipe)
                try:
                    error: str | None = pipe.recv()
                except (EOFError, OSError):
                    error = self._death(worker)
                    worker = self._replace(worker)
                give(worker)
                yield Outcome(unit, error)

    def _start(self) -> _Worker:
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, self.make_work), daemon=True)
        # Numeric libraries read these once, when they are loaded.
        changes = dict.fromkeys(THREAD_VARIABLES, str(self.threads))
        changes["PYTHONWARNINGS"] = os.environ.get("PYTHONWARNINGS", "ignore::FutureWarning")
        before = {name: os.environ.get(name) for name in changes}
        os.environ.update(changes)
        try:
            process.start()
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value
        theirs.close()
        return _Worker(process, ours)

    def _replace(self, worker: _Worker) -> _Worker:
        fresh = self._start()
        self._workers[self._workers.index(worker)] = fresh
        return fresh

    def _death(self, worker: _Worker) -> str:
        worker.process.join()
        worker.pipe.close()
        code = worker.process.exitcode
        hint = ": the system may have run out of memory" if code == -signal.SIGKILL else ""
        return f"its process died (exit code {code}{hint})"


def _serve(pipe: Connection, make_work: Callable[[], Callable[[T], None]]) -> None:
    """Do units as they come until the other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends this process
    threading.Thread(target=_die_with_parent, daemon=True).start()
    work = make_work()
    while True:
        try:
            unit: T = pipe.recv()
        except (EOFError, OSError):
            return
        error = None
        try:
            work(unit)
        except Exception as failure:  # one unit must not stop the others, whatever a codec raises
            message = " ".join(str(failure).split())
            error = message if isinstance(failure, (UserError, OSError)) else f"{type(failure).__name__}: {message}"
            if os.environ.get("LIGHTNING_CODEC_DEBUG") == "1":
                traceback.print_exc(file=sys.stderr)
        pipe.send(error)


def _die_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
