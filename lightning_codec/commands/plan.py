"""Which file becomes which: decided and checked for all inputs before any work starts."""

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from lightning_codec.errors import UserError


class Job(NamedTuple):
    """One file to read and the file to write from it."""

    source: Path
    target: Path


def plan(
    inputs: Sequence[Path], output: str, suffix: str, find: Callable[[Path], Iterable[Path]], force: bool
) -> list[Job]:
    """Lay out the outputs of a conversion.

    A single input file becomes `output`, or a file in it where `output` is a folder or ends with a slash. Several
    inputs, or a folder, go into the folder `output`: files under their name, the files of a folder under their path
    within it, each with `suffix` in place of its own.

    Args:
        inputs: files and folders.
        output: file or folder, as it was typed.
        suffix: of the outputs, with its dot.
        find: the files that count in a folder, recursively.
        force: existing files may be overwritten.

    Raises:
        UserError: an input does not exist, a folder holds nothing, two inputs have one output, an input is an
            output, `output` is a file where a folder is needed, or an output exists and `force` is not given.
    """
    for path in inputs:
        if not path.exists():
            raise UserError(f"{path}: no such file or folder")
    place = Path(output)
    folder_named = place.is_dir() or output.endswith(("/", os.sep))
    if len(inputs) == 1 and not inputs[0].is_dir() and not folder_named:
        jobs = [Job(inputs[0], place)]
    else:
        if place.exists() and not place.is_dir():
            raise UserError(f"{output}: is a file; the output of several inputs or of a folder must be a folder")
        jobs = [Job(file, place / name.with_suffix(suffix)) for file, name in _files(inputs, find)]
    _check_distinct(jobs)
    existing = [job.target for job in jobs if job.target.exists()]
    if existing and not force:
        more = f" (and {len(existing) - 1} more)" if len(existing) > 1 else ""
        raise UserError(f"{existing[0]}{more}: exists already; give --force to overwrite")
    if any(target.is_dir() for target in existing):
        raise UserError(f"{existing[0]}: is a folder, a file is to be written there")
    return jobs


def make_folders(jobs: Iterable[Job]) -> None:
    """Make the folders of all outputs, so that a place that cannot be written is found before any work.

    Raises:
        OSError: a folder cannot be made.
        UserError: a folder is not writable.
    """
    for folder in {job.target.parent for job in jobs}:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise UserError(f"{folder}: no permission to write into this folder")


def _files(inputs: Sequence[Path], find: Callable[[Path], Iterable[Path]]) -> Iterable[tuple[Path, Path]]:
    """Each file, and its name below the output folder."""
    for path in inputs:
        if not path.is_dir():
            yield path, Path(path.name)
            continue
        found = list(find(path))
        if not found:
            raise UserError(f"{path}: nothing to do, the folder has no such files in it")
        for file in found:
            yield file, file.relative_to(path)


def _check_distinct(jobs: Sequence[Job]) -> None:
    sources = {os.path.realpath(job.source) for job in jobs}
    writers: dict[str, Path] = {}
    for source, target in jobs:
        place = os.path.realpath(target)
        if place in writers:
            raise UserError(f"{writers[place]} and {source} would both be written to {target}; rename one of them")
        if place in sources:
            raise UserError(f"{target}: is an input and would be overwritten; give another output")
        writers[place] = source
