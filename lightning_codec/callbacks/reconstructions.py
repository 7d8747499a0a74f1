"""Files to look at: originals, coded files and decoded pictures of the test images."""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, cast

import lightning.pytorch as pl
from torch import Tensor

from lightning_codec.callbacks.files import write_atomically
from lightning_codec.errors import UserError
from lightning_codec.images import write_png


class Reconstructions(pl.Callback):
    """At test, writes the first images of every set to `<run folder>/reconstructions/<set>/`.

    For an image `a.png` these are `a_original.png`, `a.lcb` and `a_decoded.png`, the picture decoded from that file.

    Args:
        images: how many images of each set; 0 for none.
    """

    def __init__(self, images: int = 0) -> None:
        if images < 0:
            raise UserError(f"Reconstructions: images must be 0 or more, not {images}")
        self.images = images
        self._folder = Path()

    def on_test_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Settle on the folder: the run's is a broadcast, so every process has to ask for it."""
        self._folder = Path(trainer.log_dir or trainer.default_root_dir) / "reconstructions"

    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Tensor | Mapping[str, Any] | None,
        batch: Any,  # noqa: ANN401 - as Lightning declares it
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Code, decode and write one image."""
        # a sampler that is not shuffled deals the images out to the processes in turn
        if batch_idx * trainer.world_size + trainer.global_rank >= self.images:
            return
        dataset: str = cast("Any", trainer).datamodule.eval_names[dataloader_idx]
        name = PurePosixPath(batch.name).with_suffix("")
        stem = self._folder / dataset / name
        codec = cast("Any", pl_module).codec()
        data: bytes = codec.compress(batch.image[0])
        write_atomically(stem.with_name(f"{stem.name}.lcb"), data)
        write_png(batch.image[0].cpu(), stem.with_name(f"{stem.name}_original.png"))
        write_png(codec.decompress(data).cpu(), stem.with_name(f"{stem.name}_decoded.png"))
