import os
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_codec.runs.checkpoint_io import AtomicCheckpointIO


def test_a_checkpoint_is_on_the_disk_before_it_takes_the_name_of_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "checkpoints/last.ckpt"
    events: list[object] = []
    sync, replace = os.fsync, os.replace

    def synced(number: int) -> None:
        events.append(Path(os.readlink(f"/proc/self/fd/{number}")).suffix)
        sync(number)

    def replaced(source: Path, target: Path) -> None:
        events.append((source.parent, torch.load(source, weights_only=True)["global_step"]))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    writer = AtomicCheckpointIO()
    for step in (1, 2):
        writer.save_checkpoint({"global_step": step}, path)
        assert writer.load_checkpoint(path)["global_step"] == step
    assert events == [".tmp", (path.parent, 1), "", ".tmp", (path.parent, 2), ""]  # file, name, folder
    assert list(path.parent.iterdir()) == [path]


def test_a_write_that_fails_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"global_step": 1}, path)

    def full(content: object, file: Any) -> None:
        file.write(b"PK\x03\x04")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space"):
        AtomicCheckpointIO().save_checkpoint({"global_step": 2}, path)
    assert AtomicCheckpointIO().load_checkpoint(path)["global_step"] == 1
    assert list(tmp_path.iterdir()) == [path]


class Malicious:
    def __reduce__(self) -> Any:
        return os.system, ("true",)


def test_nothing_in_a_checkpoint_is_executed(tmp_path: Path) -> None:
    torch.save({"x": Malicious()}, tmp_path / "bad.ckpt")
    with pytest.raises(Exception, match="Weights only load failed"):
        AtomicCheckpointIO().load_checkpoint(tmp_path / "bad.ckpt", weights_only=False)
