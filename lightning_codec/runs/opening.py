"""In which folder a training runs: the one that the same command has begun, or a new one."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

import lightning.pytorch as pl
import torch
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher

from lightning_codec.callbacks.last_checkpoint import LAST
from lightning_codec.errors import UserError
from lightning_codec.files import sweep
from lightning_codec.lock import HOLDER, FolderLock
from lightning_codec.runs.manifest import MANIFEST, Manifest, differences, read_manifest

T = TypeVar("T")


class Opening(NamedTuple):
    """The folder of a run, and what to do there."""

    folder: Path
    news: str
    """one line for the user"""
    checkpoint: Path | None = None
    """to go on from; None: begin"""
    step: int = 0
    """that of the checkpoint"""
    finished: bool = False
    """there is nothing left to train"""


def new_folder(root: Path) -> Path:
    """Make the next `version_<n>` below `root`; processes that do so at once get different ones."""
    root.mkdir(parents=True, exist_ok=True)
    number = max(_versions(root), default=-1) + 1
    while True:
        folder = root / f"version_{number}"
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
        else:
            return folder


def lock_run(folder: Path) -> FolderLock:
    """Take the lock of a run's folder.

    Raises:
        UserError: another process has it.
        OSError: the folder cannot be written.
    """
    lock = FolderLock(folder)
    lock.acquire(
        f"{folder}: {HOLDER} is training this run now; wait for it or stop it, "
        "or start a run of its own beside it with --resume false"
    )
    return lock


def open_run(root: Path, name: str | None, wanted: Manifest, afresh: bool, lock: Callable[[Path], object]) -> Opening:
    """Find the newest run of the same configuration below `root` and go on with it, or make a new folder.

    Args:
        root: folder of the `version_<n>`.
        name: the folder in `root` that is to be used, rather than any; None: the next `version_<n>` is made.
        wanted: of this command.
        afresh: make a new folder in any case.
        lock: called with the folder in which something is to be written; raises a UserError where it must not be.

    Raises:
        UserError: from `lock`; or the folder `name` holds another run.
        OSError: the folder cannot be written.
    """
    root.mkdir(parents=True, exist_ok=True)
    # Of two commands that start at once the second finds the folder of the first.
    gate = FolderLock(root)
    gate.acquire(refusal=None)
    try:
        runs = _runs(root, name)
        for folder, manifest in runs:
            if manifest.same_run(wanted) and not afresh:
                return _opened(folder, manifest, lock)
        if name is not None and runs:
            raise UserError(f"{root / name}: holds another run already; give the logger another version, or none")
        folder = new_folder(root) if name is None else root / name
        folder.mkdir(exist_ok=True)
        lock(folder)
        wanted.write(folder)
    finally:
        gate.release()
    news = f"new run: {folder}"
    if runs and not afresh:
        folder_before, before = runs[0]
        changes = differences(before.configuration, wanted.configuration)
        if changes:
            more = f" and {len(changes) - 1} more" if len(changes) > 1 else ""
            news += f" ({folder_before} has another configuration: {changes[0]}{more})"
    return Opening(folder, news)


def _opened(folder: Path, manifest: Manifest, lock: Callable[[Path], object]) -> Opening:
    """Go on in a folder, or say that its run is finished."""
    checkpoint = folder / LAST
    present = checkpoint.is_file()
    if manifest.finished is not None:
        place = f"its checkpoint is {checkpoint}" if present else "it kept no checkpoint"
        news = (
            f"{folder}: this run is finished (step {manifest.finished['step']}), {place}; to train longer, give it as "
            "--ckpt_path with a larger --trainer.max_steps or --trainer.max_epochs; to train afresh, --resume false"
        )
        return Opening(folder, news, finished=True)
    lock(folder)
    sweep(folder)
    if not present:
        return Opening(folder, f"{folder}: begun before, without a checkpoint yet; it begins again")
    step = _step_of(checkpoint)
    return Opening(folder, f"{folder}: going on at step {step}", checkpoint, step)


def _step_of(checkpoint: Path) -> int:
    try:
        step: int = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)["global_step"]
    except Exception as error:  # torch raises many types for a file that is not its own
        raise UserError(
            f"{checkpoint}: not a readable checkpoint ({type(error).__name__}); give another one as --ckpt_path, "
            "or delete it to begin again"
        ) from error
    return step


def _runs(root: Path, name: str | None) -> list[tuple[Path, Manifest]]:
    """The trainings below `root`, the newest first, or only that in `name`; without a readable manifest it is none."""
    names = [f"version_{number}" for number in sorted(_versions(root), reverse=True)] if name is None else [name]
    found = []
    for folder in (root / name for name in names):
        try:
            found.append((folder, read_manifest(folder / MANIFEST)))
        except UserError:
            continue
    return found


def _versions(root: Path) -> list[int]:
    matches = (re.fullmatch(r"version_(\d+)", path.name) for path in root.iterdir() if path.is_dir())
    return [int(match[1]) for match in matches if match]


def together(trainer: pl.Trainer, decide: Callable[[], T]) -> T:
    """Let the first process decide and tell the others, before any of them writes or trains.

    The processes are started and connected for this, as the Trainer would do a moment later and then finds done.
    Where each process looked for itself, two of them could see different folders: a shared file system tells one
    node later than another, and a second job makes its folder in between.

    Raises:
        UserError, OSError: what `decide` raised, in the first process; the others leave.
    """
    strategy = trainer.strategy
    launcher = strategy.launcher
    if not isinstance(launcher, _SubprocessScriptLauncher):
        return decide()

    def connected() -> tuple[T | None, Exception | None]:
        strategy.setup_environment()
        outcome: tuple[T | None, Exception | None] = (None, None)
        if trainer.is_global_zero:
            try:
                outcome = (decide(), None)
            except (UserError, OSError) as error:
                outcome = (None, error)
        return strategy.broadcast(outcome)

    result, error = launcher.launch(connected)
    if error is not None:
        if trainer.is_global_zero:
            raise error
        raise SystemExit(0)  # told by the first process; a launcher would kill that for an exit code of another
    return result  # type: ignore[no-any-return]  # what `decide` gives, through an untyped launcher
