"""Which folder a command gets, and who may write there."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_codec.errors import UserError
from lightning_codec.files import write_atomically
from lightning_codec.lock import FolderLock
from lightning_codec.runs.manifest import Manifest, read_manifest
from lightning_codec.runs.opening import Opening, lock_run, new_folder, open_run

ONE = Manifest({"model": {"lr": 0.1, "widths": [1, 2]}, "resume": True})
OTHER = Manifest({"model": {"lr": 0.2, "widths": [1, 2]}, "resume": True})


def opened(root: Path, wanted: Manifest = ONE, name: str | None = None, afresh: bool = False) -> Opening:
    return open_run(root, name, wanted, afresh, lambda folder: None)


def change(folder: Path, **fields: Any) -> None:
    Manifest(**{**vars(read_manifest(folder / "manifest.json")), **fields}).write(folder)


def write_checkpoint(folder: Path, step: int) -> Path:
    path = folder / "checkpoints/last.ckpt"
    path.parent.mkdir()
    torch.save({"global_step": step}, path)
    return path


def test_the_same_configuration_goes_on_and_another_gets_a_folder_of_its_own(tmp_path: Path) -> None:
    root = tmp_path / "deep/runs"
    assert opened(root) == Opening(root / "version_0", f"new run: {root}/version_0")
    again = opened(root)
    assert (again.folder, again.checkpoint, again.step) == (root / "version_0", None, 0)
    assert "begun before, without a checkpoint" in again.news
    checkpoint = write_checkpoint(root / "version_0", 7)
    torn = root / "version_0/checkpoints" / f".{'0a' * 16}.tmp"
    torn.write_text("half a checkpoint")
    assert opened(root) == Opening(root / "version_0", f"{root}/version_0: going on at step 7", checkpoint, 7)
    assert not torn.exists()
    other = opened(root, OTHER)
    assert other.folder == root / "version_1"
    assert other.news.endswith("(" + f"{root}/version_0 has another configuration: model.lr: 0.1 -> 0.2)")
    # read from JSON, tuples are lists; and whether to go on is no part of what goes on
    assert opened(root, Manifest({"model": {"lr": 0.1, "widths": (1, 2)}, "resume": False})).folder == again.folder


def test_the_newest_of_several_equal_runs_counts(tmp_path: Path) -> None:
    for number in range(11):
        assert opened(tmp_path, afresh=True).folder == tmp_path / f"version_{number}"
    assert opened(tmp_path).folder == tmp_path / "version_10"
    change(tmp_path / "version_10", finished={"step": 9})
    assert opened(tmp_path).finished


def test_a_finished_run_is_said_to_be_finished_and_left_alone(tmp_path: Path) -> None:
    folder = opened(tmp_path).folder
    checkpoint = write_checkpoint(folder, 30)
    change(folder, finished={"step": 30})
    before = sorted(folder.rglob("*"))
    found = opened(tmp_path)
    assert found.finished
    assert found.checkpoint is None
    for word in ("finished (step 30)", str(checkpoint), "--ckpt_path", "--trainer.max_steps", "--resume false"):
        assert word in found.news
    assert sorted(folder.rglob("*")) == before
    assert opened(tmp_path, afresh=True).folder == tmp_path / "version_1"


def test_a_repetition_is_a_run_of_its_own_that_goes_on_as_well(tmp_path: Path) -> None:
    first = opened(tmp_path).folder
    change(first, finished={"step": 30})
    repetition = Manifest(ONE.configuration, repeats=str(first / "manifest.json"))
    assert opened(tmp_path, repetition).folder == tmp_path / "version_1"
    assert opened(tmp_path, repetition).folder == tmp_path / "version_1"
    assert opened(tmp_path).finished


def test_a_configured_folder_is_taken_unless_it_holds_another_run(tmp_path: Path) -> None:
    assert opened(tmp_path, name="mine").folder == tmp_path / "mine"
    write_checkpoint(tmp_path / "mine", 3)
    assert opened(tmp_path, name="mine").step == 3
    for wanted, afresh in ((OTHER, False), (ONE, True)):
        with pytest.raises(UserError, match="mine: holds another run"):
            opened(tmp_path, wanted, "mine", afresh)


def test_folders_without_a_readable_manifest_are_no_runs(tmp_path: Path) -> None:
    (tmp_path / "version_3").mkdir()
    write_atomically(tmp_path / "version_4/manifest.json", b"{")
    assert opened(tmp_path).folder == tmp_path / "version_5"
    assert new_folder(tmp_path) == tmp_path / "version_6"


def test_a_damaged_checkpoint_is_one_line(tmp_path: Path) -> None:
    write_checkpoint(opened(tmp_path).folder, 3).write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(UserError, match=r"last\.ckpt: not a readable checkpoint") as caught:
        opened(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[None]:
    """Another process that has the lock of version_0."""
    opened(tmp_path)
    script = (
        "import sys, pathlib, lightning_codec.lock as lock\n"
        "held = lock.FolderLock(pathlib.Path(sys.argv[1])); held.acquire(None)\n"
        "print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "version_0")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield
        process.kill()


def test_a_run_is_written_by_one_process_at_a_time(tmp_path: Path, holder: None) -> None:
    with pytest.raises(UserError, match=r"version_0: process \d+ on .* is training this run now.* --resume false"):
        open_run(tmp_path, None, ONE, False, lock_run)
    assert opened(tmp_path, OTHER).folder == tmp_path / "version_1"


def test_the_lock_of_a_process_that_was_killed_is_free(tmp_path: Path, holder: None) -> None:
    subprocess.run(["kill", "-9", (tmp_path / "version_0/.lock").read_text().split()[1]], check=True)
    FolderLock(tmp_path / "version_0").acquire(None)
