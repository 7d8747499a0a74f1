"""Runs commands in processes that can be hit by signals at a chosen moment: forked, so that all is imported once.

    python -m tests.runs.sabotage < orders.json

An order is {"arguments", "ranks", "at_step", "signal", "torn_write", "rank", "pause", "after"}; each prints one line of
JSON, the exit codes of its processes (negative: killed by that signal).
"""

import json
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

import torch

import lightning_codec.commands.training
from lightning_codec.cli import main
from lightning_codec.modules import DiffusionDecoderModule, EntropyModelModule

LOG = "samples.log"


def record_steps(order: dict[str, Any], rank: int) -> None:
    """Write a line for every training step; at the step `at_step` of this process, send itself the signal."""
    done = 0
    for kind in (EntropyModelModule, DiffusionDecoderModule):

        def step(module: Any, batch: Any, batch_idx: int, original: Any = kind.training_step) -> Any:
            nonlocal done
            done += 1
            with open(f"{LOG}.{rank}", "a") as file:
                file.write(f"{module.current_epoch} {batch_idx} {batch.double().sum().item()}\n")
            time.sleep(order.get("pause", 0.0))
            if done == order.get("at_step") and rank == order.get("rank", 0):
                os.kill(os.getpid(), signal.Signals[order["signal"]])
            return original(module, batch, batch_idx)

        kind.training_step = step  # type: ignore[method-assign,assignment]


def tear_write(number: int) -> None:
    """Die in the middle of a checkpoint, the `number`-th from now."""
    written = 0
    save = torch.save

    def half(content: Any, file: Any) -> None:
        nonlocal written
        written += 1
        save(content, file)
        if written == number:
            file.flush()
            os.ftruncate(file.fileno(), file.tell() // 2)
            os.kill(os.getpid(), signal.SIGKILL)

    torch.save = half  # type: ignore[assignment]


def start(order: dict[str, Any], rank: int, port: int) -> int:
    """Fork a process that runs the command; returns its id."""
    child = os.fork()
    if child:
        return child
    log = os.open(f"output.{rank}", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    if order.get("ranks", 1) > 1:  # as a cluster starts them: all at once, none by another
        os.environ |= {"LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    record_steps(order, rank)
    if "torn_write" in order and rank == 0:
        tear_write(order["torn_write"])
    code = 1
    try:
        code = main(order["arguments"])
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def lines() -> int:
    """How many steps of the first process are recorded."""
    return len(Path(f"{LOG}.0").read_text().splitlines()) if Path(f"{LOG}.0").exists() else 0


def carry_out(order: dict[str, Any]) -> list[int]:
    """Run one command to its end; with `after`, kill it so many seconds after its first step."""
    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    before = lines()
    children = [start(order, rank, port) for rank in range(order.get("ranks", 1))]
    if "after" in order:
        while lines() == before and os.waitid(os.P_PID, children[0], os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            time.sleep(0.01)
        time.sleep(order["after"])
        for child in children:
            os.kill(child, signal.SIGKILL)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


if __name__ == "__main__":
    # their modules are imported by name; once here rather than in every process
    import lightning_codec.callbacks.images
    import lightning_codec.callbacks.predict_writer  # noqa: F401

    for given in json.load(sys.stdin):
        print(json.dumps(carry_out(given)), flush=True)
