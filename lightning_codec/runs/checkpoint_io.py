"""How checkpoints get to disk: whole or not at all, and read without executing anything."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from typing_extensions import override

from lightning_codec.files import replacing


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the old checkpoint, makes sure that it is on the disk, and renames.

    Whenever the process or the machine dies, the last complete checkpoint is there under its name. (Lightning's own
    writer collects the file in memory and moves it from the folder for temporary files, which may be another disk.)
    """

    @override
    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint; `storage_options` is for Lightning's signature.

        Raises:
            OSError: it cannot be written; an older one of that name is then untouched.
        """
        with replacing(Path(path)) as temporary, temporary.open("wb") as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())
        _sync_folder(Path(path).parent)

    @override
    def load_checkpoint(
        self,
        path: str | Path,
        map_location: Callable[..., Any] | None = lambda storage, _: storage,
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        """Read a checkpoint, by default to the CPU, as plain values and tensors whatever `weights_only` says."""
        return super().load_checkpoint(path, map_location, weights_only=True)


def _sync_folder(folder: Path) -> None:
    """Have the new name on the disk as well, where the system can do that for folders."""
    if os.name == "posix":
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)
