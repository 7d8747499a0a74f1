"""What all processes agree upon, with real processes."""

import os
import time
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.multiprocessing

from lightning_codec.errors import UserError
from lightning_codec.processes import Processes


def refuse() -> int:
    raise UserError("no such folder")


def agree(rank: int, folder: str) -> None:
    """One of two processes, the first of which is late; writes down what it was told."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2, timeout=timedelta(seconds=60)
    )
    processes = Processes()
    leader = processes.of_first(os.getpid)
    if rank == 0:
        time.sleep(0.5)
    waits: list[int] = []
    processes.wait(lambda: waits.append(1))
    try:
        processes.of_first(refuse)
        end = "nothing"
    except UserError as error:
        end = str(error)
    except SystemExit as stop:
        end = f"exit {stop.code}"
    Path(folder, f"{rank}.txt").write_text(f"{leader == os.getpid()}, {len(waits) > 1 or rank == 0}, {end}")


def test_the_first_of_two_decides_and_is_waited_for(tmp_path: Path) -> None:
    torch.multiprocessing.start_processes(agree, args=(str(tmp_path),), nprocs=2, start_method="fork")  # type: ignore
    assert (tmp_path / "0.txt").read_text() == "True, True, no such folder"
    assert (tmp_path / "1.txt").read_text() == "False, True, exit 0"


def test_one_process_asks_nobody() -> None:
    processes = Processes()
    assert processes.of_first(lambda: 7) == 7
    processes.wait(lambda: pytest.fail("waited"))
    with pytest.raises(UserError, match="no such folder"):
        processes.of_first(refuse)
