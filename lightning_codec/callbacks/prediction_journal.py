"""What `predict` has done already: a line for every file, kept beside the files, by which a repeated run goes on.

<output>/.predict/job.json                the job; files of two jobs are not mixed
<output>/.predict/<run>-<rank>.jsonl      what one process did in one run, sorted by name; only ever appended to
<output>/.predict/.lock                   held by the process that leads a run
<output>/.predict/<random>.tmp            a file that is being written
"""

import heapq
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from typing import IO, Any, NamedTuple
from uuid import uuid4

from lightning_codec.errors import UserError
from lightning_codec.files import write_json
from lightning_codec.lock import HOLDER, FolderLock

FOLDER = ".predict"


class Entry(NamedTuple):
    """A line of the journal: what became of one input."""

    name: str
    """Path of the input in its set, posix."""
    output: str
    """Path of the output below the output folder, posix."""
    width: int | None = None
    """Of the picture, in pixels; None, as the numbers below, where there is no output."""
    height: int | None = None
    bytes: int | None = None
    """Size of the `.lcb` file."""
    seconds: float | None = None
    """Wall time of coding or decoding, without reading and writing files."""
    error: str = ""
    """Why there is no output; else empty."""
    written: int | None = None
    """Size of the output, which in decoding is not the `.lcb` file."""
    run: int = 0
    """Number of the run that wrote the line."""


class Journal:
    """The journal of an output folder. One process calls `begin`, then every process `open`.

    Args:
        output: the folder of the outputs.
    """

    def __init__(self, output: Path) -> None:
        self.output = output
        self.folder = output / FOLDER
        self.replaces = False
        """Whether files are replaced that this job did not write."""
        self._run = 0
        self._lock: FolderLock | None = None
        self._part: IO[str] | None = None

    def begin(self, job: Mapping[str, object], anew: bool) -> int:
        """Begin a run, the first one or one that goes on.

        Args:
            job: all that the content of the outputs depends on beside the inputs.
            anew: forget what was done.

        Returns:
            The number of the run.

        Raises:
            UserError: the folder cannot be made, holds the outputs of another job, or is being written to.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = FolderLock(self.folder)
            self._lock.acquire(f"{self.output}: {HOLDER} is writing there now; wait, or give another folder")
        except OSError as error:
            raise UserError(f"{self.output}: no files can be written there ({error.strerror})") from error
        for leftover in self.folder.glob("*.tmp"):
            leftover.unlink()
        known = self._job()
        if known is None or anew:
            for part in self._parts():
                part.unlink()
            write_json(self.folder / "job.json", {"job": job, "replaces": anew})
        else:
            self._check(known["job"], job)
        return 1 + max((int(part.name.partition("-")[0]) for part in self._parts()), default=0)

    def open(self, run: int, rank: int) -> None:
        """Take part in a run, as process number `rank`.

        Raises:
            UserError: the journal is not there.
        """
        job = self._job()
        if job is None:
            raise UserError(
                f"{self.output}: is another folder here than for process 0; give one that all machines share"
            )
        self._run = run
        self.replaces = bool(job["replaces"])
        self._part = (self.folder / f"{run:06d}-{rank:06d}.jsonl").open("a", encoding="ascii")

    def close(self) -> None:
        """Let another run begin."""
        if self._part is not None:
            self._part.close()
            self._part = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def note(self, entry: Entry) -> None:
        """Write a line; it survives the death of this process."""
        assert self._part is not None
        self._part.write(json.dumps(entry._replace(run=self._run)._asdict()) + "\n")
        self._part.flush()

    def write(self, entry: Entry, data: bytes) -> None:
        """Write the output of an input, and its line.

        The file appears last and whole: a line without its file counts for nothing.

        Raises:
            OSError: it cannot be written.
        """
        target = self.output / entry.output
        temporary = self.folder / f"{uuid4().hex}.tmp"
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(data)
            if self.replaces:  # its size might be that of the line
                target.unlink(missing_ok=True)
            self.note(entry._replace(written=len(data)))
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)

    def entries(self, names: Iterable[str]) -> Iterator[Entry]:
        """The latest line of each of some inputs.

        Args:
            names: sorted.

        Returns:
            Sorted by name; inputs without a line are left out.
        """
        streams = (_read(part) for part in self._parts())  # by run: of equal names the last counts
        latest = (list(group)[-1] for _, group in groupby(heapq.merge(*streams, key=_name), key=_name))
        wanted = iter(names)
        name = next(wanted, None)
        for entry in latest:
            while name is not None and name < entry.name:
                name = next(wanted, None)
            if name == entry.name:
                yield entry

    def is_done(self, entry: Entry) -> bool:
        """Whether the output that a line tells of is there, in full."""
        if entry.error:
            return False
        with suppress(OSError):
            return os.stat(self.output / entry.output).st_size == entry.written
        return False

    def _job(self) -> dict[str, Any] | None:
        try:
            job: dict[str, Any] = json.loads((self.folder / "job.json").read_bytes())
        except (FileNotFoundError, ValueError):
            return None
        return job

    def _check(self, known: Mapping[str, object], job: Mapping[str, object]) -> None:
        other = [key for key in {**known, **job} if known.get(key) != job.get(key)]
        if other:
            changes = ", ".join(f"{key} was {known.get(key, 'none')}, is {job.get(key, 'none')}" for key in other)
            raise UserError(
                f"{self.output}: holds the files of another job ({changes}): give another output_dir, "
                "or overwrite: true to begin anew"
            )

    def _parts(self) -> list[Path]:
        return sorted(self.folder.glob("*.jsonl"))


def _name(entry: Entry) -> str:
    return entry.name


def _read(part: Path) -> Iterator[Entry]:
    """Lines of a part; one that a killed process left unfinished is none."""
    for line in part.read_bytes().splitlines():  # not line by line: a thousand parts are open at once
        with suppress(ValueError):
            yield Entry(**json.loads(line))
