"""`predictions.csv`: one row for every input of `predict`, and what they come to."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from lightning_codec.callbacks.prediction_journal import Entry
from lightning_codec.errors import UserError
from lightning_codec.files import write_csv


class PredictedFile(NamedTuple):
    """One line of `predictions.csv`; numbers are None where there is no output."""

    name: str
    """Path of the input in its set, posix."""
    output: str
    """Path of the output below the output folder, posix."""
    width: int | None
    """Of the picture, in pixels."""
    height: int | None
    bytes: int | None
    """Size of the `.lcb` file, whether that was written or read."""
    bpp: float | None
    """8 x bytes / (original height x width)."""
    seconds: float | None
    """Wall time of coding or decoding."""
    error: str
    """Why there is no output; else empty."""


class Total:
    """What the rows of a table come to."""

    def __init__(self) -> None:
        self.files = 0
        self.bytes = 0
        self.bpp = 0.0
        self.failures = 0
        self.first_failure = ""

    def add(self, file: PredictedFile) -> None:
        """Count one row."""
        if file.bytes is None or file.bpp is None:
            self.failures += 1
            self.first_failure = self.first_failure or f"{file.name}: {file.error}"
        else:
            self.files += 1
            self.bytes += file.bytes
            self.bpp += file.bpp

    def line(self, folder: Path, inputs: int, done_now: int, seconds: float) -> str:
        """The summary that is printed.

        Args:
            folder: of the outputs.
            inputs: how many there are.
            done_now: how many of them this run has worked on, in `seconds`.
            seconds: wall time, over all processes.
        """
        mean = f", mean {self.bpp / self.files:.4f} bpp" if self.files else ""
        speed = f"; {done_now} now in {seconds:.1f} s, {done_now / max(seconds, 1e-9):.2f} images/s" if done_now else ""
        return (
            f"{folder}: {self.files} of {inputs} files, {self.bytes} bytes{mean}, {inputs - self.files} failed{speed}"
        )

    def complain(self, table: Path, inputs: int) -> None:
        """Make a failure of an input one of the command.

        Raises:
            UserError: not all inputs have an output.
        """
        if self.failures:
            raise UserError(
                f"{self.failures} of {inputs} files failed (see {table}), the first is {self.first_failure}"
            )
        if self.files < inputs:
            raise UserError(f"{inputs - self.files} of {inputs} files were not reached; the same command goes on")


def write_table(path: Path, entries: Iterable[Entry]) -> Total:
    """Write the table row by row, whatever its length.

    Args:
        path: of the table.
        entries: sorted by name.
    """
    total = Total()

    def rows() -> Iterator[PredictedFile]:
        for entry in entries:
            bpp = None
            if entry.bytes is not None and entry.width and entry.height:
                bpp = 8 * entry.bytes / (entry.height * entry.width)
            file = PredictedFile(
                entry.name, entry.output, entry.width, entry.height, entry.bytes, bpp, entry.seconds, entry.error
            )
            total.add(file)
            yield file

    write_csv(path, PredictedFile._fields, rows())
    return total
