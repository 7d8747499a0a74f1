"""What the processes of the pool's tests do; it imports nothing heavy, so that they start at once."""

import os
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path


def make_work(folder: Path) -> Callable[[str], None]:
    """Called once in every process."""
    (folder / f"started_{os.getpid()}").touch()
    return partial(work, folder)


def work(folder: Path, unit: str) -> None:
    """Units are "NAME" or "NAME ACTION"."""
    name, _, action = unit.partition(" ")
    (folder / f"begun_{name}_{os.getpid()}").touch()
    if action == "fail":
        raise ValueError("two\nlines")
    if action == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if action == "last":
        while len(list(folder.glob("done_*"))) < 5:
            time.sleep(0.02)
    if action == "hang":
        time.sleep(600)
    if action == "threads":
        (folder / "threads").write_text(os.environ["OMP_NUM_THREADS"])
    (folder / f"done_{name}").touch()
