"""Keeps `manifest.json` of the run folder up to date, and the configuration in every checkpoint."""

import os
import platform
import socket
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, cast

import lightning
import lightning.pytorch as pl
import torch

from lightning_codec.callbacks.gathering import gather
from lightning_codec.checkpoint import CONFIGURATION_KEY
from lightning_codec.provenance import provenance
from lightning_codec.runs.manifest import MANIFEST, Manifest, read_manifest

JOB_VARIABLES = (
    "SLURM_JOB",
    "SLURM_ARRAY",
    "SLURM_CLUSTER_NAME",
    "SLURM_NNODES",
    "SLURM_NTASKS",
    "SLURM_RESTART_COUNT",
)


class RunManifest(pl.Callback):
    """Writes down each start of a training, how it ended, and the end of the whole.

    Args:
        configuration: of the command, every setting as a plain value.
        folder: of the run; None: there is none, and only the checkpoints are told.
    """

    def __init__(self, configuration: dict[str, Any], folder: Path | None) -> None:
        self.configuration = configuration
        self.folder = folder
        self._begun = False

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Write the configuration into a checkpoint."""
        checkpoint[CONFIGURATION_KEY] = self.configuration

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Add a start."""
        places = gather([_place(pl_module)])
        if self.folder is None or not trainer.is_global_zero:
            return
        origin = provenance()
        start = {
            "time": _now(),
            "step": trainer.global_step,
            "versions": {**origin.versions, "lightning": lightning.__version__, "cuda": torch.version.cuda},
            "commit": origin.commit,
            "platform": platform.platform(),
            "processes": places,
            "slurm": {name: value for name, value in sorted(os.environ.items()) if name.startswith(JOB_VARIABLES)},
            "seed": os.environ.get("PL_GLOBAL_SEED"),
        }
        self._begun = True
        manifest = self._read()
        data = cast("Any", trainer).datamodule.contents()
        self._write(replace(manifest, starts=[*manifest.starts, start], data=data))

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Write down that the training was interrupted, and by what."""
        if not self._begun:
            return
        manifest = self._read()
        cause = " ".join(f"{type(exception).__name__}: {exception}".split())[:300]
        end = {"interrupted": {"time": _now(), "step": trainer.global_step, "by": cause}}
        self._write(replace(manifest, starts=[*manifest.starts[:-1], {**manifest.starts[-1], **end}]))

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write down that the training has come to its end."""
        if self.folder is not None and trainer.is_global_zero:
            end = {"time": _now(), "step": trainer.global_step, "epoch": trainer.current_epoch}
            self._write(replace(self._read(), finished=end))

    def _read(self) -> Manifest:
        assert self.folder is not None
        return read_manifest(self.folder / MANIFEST)

    def _write(self, manifest: Manifest) -> None:
        assert self.folder is not None
        manifest.write(self.folder)


def _place(pl_module: pl.LightningModule) -> dict[str, Any]:
    """Where this process runs."""
    device = pl_module.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else provenance().device
    return {
        "host": socket.gethostname(),
        "device": f"{device} ({name})" if device.type == "cuda" else name,
        "threads": torch.get_num_threads(),
    }


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
