"""Running the jobs of a conversion: progress, one line for each file, the total, and what failed."""

import gc
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lightning_codec.commands.plan import Job
from lightning_codec.commands.reporting import EXIT_ERROR, one_line, report
from lightning_codec.errors import UserError, is_out_of_memory

Steps = Callable[[int, int], None]
"""Told how many steps of an image are done, and of how many, by work that has steps."""


class Coded(NamedTuple):
    """One converted image: its size in pixels, its .lcb file in bytes, the wall time of coding in seconds."""

    width: int
    height: int
    size: int
    seconds: float


def convert(jobs: Sequence[Job], work: Callable[[Job, Steps], Coded]) -> int:
    """Do all jobs. A job that fails is reported on stderr and the rest go on.

    Args:
        jobs: what to convert.
        work: does one.

    Returns:
        The exit code: 0, or 2 when at least one job failed.
    """
    label = max(len(str(job.source)) for job in jobs)
    done: list[Coded] = []
    console = Console(stderr=True)
    # Lines printed meanwhile pass through the display, and so to stderr, only where both are one terminal.
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
        redirect_stdout=sys.stdout.isatty(),
    ) as progress:
        task = progress.add_task("", total=len(jobs))
        steps = progress.add_task("steps", visible=False)

        def advance(done: int, total: int) -> None:
            progress.update(steps, completed=done, total=total, visible=True)

        for job in jobs:
            progress.update(task, description=job.source.name)
            progress.reset(steps, visible=False)
            try:
                coded = work(job, advance)
            except (UserError, OSError) as error:
                report(_named(job, one_line(error)))
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                report(_named(job, "not enough memory for this image"))
            else:
                done.append(coded)
                print(f"{job.source!s:<{label}}  {_figures(coded)}", flush=True)
            progress.advance(task)
    # What torch and the model have made stays to the end, where the interpreter would look through it for garbage: half
    # a second.
    gc.freeze()
    if len(jobs) > 1:
        print(_total(done, len(jobs)))
    return 0 if len(done) == len(jobs) else EXIT_ERROR


def _named(job: Job, message: str) -> UserError:
    """An error that names the input, where the message does not name one of the files yet."""
    known = str(job.source) in message or str(job.target) in message
    return UserError(message if known else f"{job.source}: {message}")


def _figures(coded: Coded) -> str:
    size = f"{coded.width}x{coded.height}"
    bpp = 8 * coded.size / (coded.width * coded.height)
    return f"{size:>11}  {coded.size:>9} bytes  {bpp:7.4f} bpp  {coded.seconds:7.2f} s"


def _total(done: Sequence[Coded], jobs: int) -> str:
    """Bytes and seconds of all files, and the bits of all files over the pixels of all images."""
    size = sum(coded.size for coded in done)
    pixels = sum(coded.width * coded.height for coded in done)
    seconds = sum(coded.seconds for coded in done)
    failed = "" if len(done) == jobs else f", {jobs - len(done)} failed"
    bpp = f"{8 * size / pixels:.4f} bpp, " if pixels else ""
    return f"total: {len(done)} of {jobs} files{failed}, {size} bytes, {bpp}{seconds:.2f} s"
