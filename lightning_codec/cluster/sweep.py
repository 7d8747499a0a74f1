"""A sweep: its folder, its members run in processes here, and the table of what they came to."""

import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from lightning_codec.callbacks.last_checkpoint import LAST
from lightning_codec.cluster.grid import Axis, Member, grid
from lightning_codec.cluster.script import FINISHED
from lightning_codec.errors import UserError
from lightning_codec.files import write_csv, write_json

RECORD = "sweep.json"
TABLE = "rd.csv"


@dataclass(frozen=True)
class Sweep:
    """A grid of trainings in a folder.

    Args:
        folder: of the sweep; each member has a folder in it.
        arguments: of `fit`, which all members share.
        axes: what differs.
    """

    folder: Path
    arguments: tuple[str, ...]
    axes: tuple[Axis, ...]

    @property
    def members(self) -> list[Member]:
        """All of the grid."""
        return grid(self.axes)

    def finished(self, member: Member) -> bool:
        """Whether it was trained and tested."""
        return (self.folder / member.name / FINISHED).is_file()

    @classmethod
    def read(cls, folder: Path) -> "Sweep":
        """The sweep that was begun in a folder.

        Raises:
            UserError: there is none.
        """
        path = folder / RECORD
        if not path.is_file():
            raise UserError(f"{folder}: no sweep was begun in this folder (it has no {RECORD})")
        record = json.loads(path.read_text())
        axes = tuple(Axis(key, tuple(values)) for key, values in record["axes"].items())
        return cls(folder, tuple(record["arguments"]), axes)

    def begin(self) -> None:
        """Note in the folder what the sweep is, or go on with the one that is there, whose grid may have grown.

        Raises:
            UserError: the folder has a sweep with other arguments.
        """
        if (self.folder / RECORD).is_file():
            earlier = Sweep.read(self.folder).arguments
            if earlier != self.arguments:
                raise UserError(
                    f"{self.folder}: holds a sweep with other arguments ({' '.join(earlier)}); "
                    "give the same ones to go on with it, or another folder"
                )
        axes = {axis.key: list(axis.values) for axis in self.axes}
        write_json(self.folder / RECORD, {"arguments": list(self.arguments), "axes": axes})


class Ended(NamedTuple):
    """A member that was run."""

    member: Member
    failure: str | None
    """What went wrong, on one line."""


def run_here(sweep: Sweep, program: Sequence[str], processes: int) -> Iterator[Ended]:
    """Run what is not finished, so many at a time; yields each when it has ended.

    What a member prints goes to fit.log and test.log in its folder. The cores are shared among the processes.
    """
    threads = max(1, (os.cpu_count() or 1) // processes)
    environment = {"OMP_NUM_THREADS": str(threads), **os.environ}
    waiting = [member for member in sweep.members if not sweep.finished(member)]
    executor = ThreadPoolExecutor(processes)
    try:
        futures = [executor.submit(_run_member, sweep, member, program, environment) for member in waiting]
        for future in as_completed(futures):
            yield future.result()
    finally:
        executor.shutdown(cancel_futures=True)  # after an interrupt, which the processes have had as well


def _run_member(sweep: Sweep, member: Member, program: Sequence[str], environment: dict[str, str]) -> Ended:
    folder = sweep.folder / member.name
    folder.mkdir(parents=True, exist_ok=True)
    shared = [*sweep.arguments, *member.arguments]

    def failure(command: str, *arguments: str) -> str | None:
        log = folder / f"{command}.log"
        with log.open("ab") as output:
            line = [*program, command, *shared, *arguments]
            code = subprocess.run(line, stdout=output, stderr=subprocess.STDOUT, env=environment).returncode
        return f"{command} has ended with exit code {code}, see {log}" if code != 0 else None

    failed = failure("fit", f"--trainer.default_root_dir={folder}")
    if failed is None:
        checkpoint = newest_run(folder) / LAST
        failed = failure("test", f"--ckpt_path={checkpoint}", f"--trainer.default_root_dir={folder / 'test'}")
    if failed is None:
        (folder / FINISHED).touch()
    return Ended(member, failed)


def newest_run(root: Path) -> Path:
    """The run folder that was made last below a `trainer.default_root_dir`."""
    return max(root.glob("version_*"), key=lambda path: int(path.name.removeprefix("version_")))


def collect(sweep: Sweep) -> tuple[Path, list[str]]:
    """Gather the means that `test` wrote into one table.

    Returns:
        The table's path and the names of the members that are not in it, since they are not finished. A line is a
        member and a set of images: name, settings, set, number of weights that were trained, then every mean, empty
        where a member lacks it.
    """
    rows: list[dict[str, Any]] = []
    missing = []
    for member in sweep.members:
        if not sweep.finished(member):
            missing.append(member.name)
            continue
        for dataset, means in _means(newest_test(sweep, member)).items():
            rows.append({"member": member.name, **member.settings, "set": dataset, **means})
    columns = list(dict.fromkeys(column for row in rows for column in row))
    write_csv(sweep.folder / TABLE, columns, ([row.get(column) for column in columns] for row in rows))
    return sweep.folder / TABLE, missing


def newest_test(sweep: Sweep, member: Member) -> Path:
    """The folder with what the last test of a finished member measured."""
    return newest_run(sweep.folder / member.name / "test") / "metrics"


def trained_parameters(path: Path) -> int | None:
    """How many weights the training changed, from the JSON file of a test; None where it does not say."""
    count: int | None = _document(path).get("header", {}).get("trained_parameters")
    return count


def _means(metrics: Path) -> dict[str, dict[str, Any]]:
    """Every mean and every distance of a test, by set of images."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(metrics.glob("test_*.json")):
        header = _document(path).get("header", {})
        means = header.get("means", {})
        dataset = means.pop("dataset", None)  # only rate and distortion have it among their means
        if dataset is None:
            continue
        perceptual = _document(path.with_name(f"test_{dataset}_perceptual.json")).get("header", {}).get("means", {})
        distances = _document(path.with_name(f"test_{dataset}_sets.json")).get("distances", {})
        measured = {**means, **perceptual, **{name: entry["value"] for name, entry in distances.items()}}
        found[dataset] = {"trained_parameters": trained_parameters(path), **measured}
    return found


def _document(path: Path) -> dict[str, Any]:
    """A JSON file, empty where there is none."""
    content: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    return content
