"""Triplets to look at: the original and the two pictures that one file decodes to, side by side."""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, cast

import lightning.pytorch as pl
import torch
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from torch import Tensor

from lightning_codec.callbacks.gathering import gather
from lightning_codec.callbacks.rate_distortion import EvalOutput
from lightning_codec.data.types import NamedImage
from lightning_codec.diffusion_decoder import DiffusionDecoder
from lightning_codec.errors import UserError
from lightning_codec.images import to_uint8, write_png


class _Shown(NamedTuple):
    """A triplet for the loggers."""

    tag: str
    pixels: Tensor
    """uint8 [3, H, 3 W], on the CPU"""


class Triplets(pl.Callback):
    """At validation and test, shows original | x_c | x_hat for the first images of every set.

    x_c is the entropy codec's picture, x_hat the diffusion decoder's, both of the same file. They are written to `<run
    folder>/triplets/<set>/<name>.png`, at validation `<name>_step-<N>.png`, and to every TensorBoard and W&B logger as
    `val/triplets/<set>/<name>` and `test/...`. Without a diffusion decoder nothing is; the sanity check leaves nothing.

    Args:
        images: how many images of each set; 0 for none.
    """

    def __init__(self, images: int = 2) -> None:
        if images < 0:
            raise UserError(f"Triplets: images must be 0 or more, not {images}")
        self.images = images
        self._folder = Path()
        self._shown: list[_Shown] = []
        self._loaded_step = 0

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Remember the step of a checkpoint: outside `fit` the Trainer does not restore its counters."""
        self._loaded_step = checkpoint["global_step"]

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Settle on the folder: the run's is a broadcast, so every process has to ask for it."""
        self._folder = Path(trainer.log_dir or trainer.default_root_dir) / "triplets"
        self._shown = []

    on_test_epoch_start = on_validation_epoch_start

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Tensor | Mapping[str, Any] | None,
        batch: Any,  # noqa: ANN401 - as Lightning declares it
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Show one image, with the picture that the step has decoded from its file."""
        if not trainer.sanity_checking:
            x_hat = cast("EvalOutput", outputs).x_hat
            self._show(trainer, pl_module, batch, (batch_idx, dataloader_idx), x_hat)

    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Tensor | Mapping[str, Any] | None,
        batch: Any,  # noqa: ANN401 - as Lightning declares it
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Show one image."""
        self._show(trainer, pl_module, batch, (batch_idx, dataloader_idx), None)

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Hand the images of all processes to the loggers, which are those of the first one."""
        # of a set that cannot be dealt out evenly some images come twice
        shown = {triplet.tag: triplet.pixels for triplet in gather(self._shown)}
        for logger in trainer.loggers if trainer.is_global_zero else []:
            for tag, pixels in shown.items():
                if isinstance(logger, TensorBoardLogger):
                    logger.experiment.add_image(tag, pixels, self._step(trainer))
                elif isinstance(logger, WandbLogger):
                    logger.log_image(tag, [pixels.permute(1, 2, 0).numpy()], self._step(trainer))

    on_test_epoch_end = on_validation_epoch_end

    def _show(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        batch: NamedImage,
        index: tuple[int, int],
        x_hat: Tensor | None,
    ) -> None:
        """Write a triplet and keep it for the loggers; without `x_hat` the file is decoded.

        `index` is that of the batch and of its set.
        """
        # a sampler that is not shuffled deals the images out to the processes in turn
        if index[0] * trainer.world_size + trainer.global_rank >= self.images:
            return
        decoder = cast("Any", pl_module).codec()
        if not isinstance(decoder, DiffusionDecoder):
            return
        image = batch.image[0]
        data = decoder.compress(image)
        x_c = decoder.codec.decompress(data)
        x_d = decoder.decompress(data) if x_hat is None else x_hat[0]
        triplet = torch.cat([picture.cpu() for picture in (image, x_c, x_d)], dim=-1)
        dataset: str = cast("Any", trainer).datamodule.eval_names[index[1]]
        name = PurePosixPath(dataset) / PurePosixPath(batch.name).with_suffix("")
        suffix = "" if trainer.testing else f"_step-{self._step(trainer)}"
        path = self._folder / name.with_name(f"{name.name}{suffix}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_png(triplet, path)
        self._shown.append(_Shown(f"{'test' if trainer.testing else 'val'}/triplets/{name}", to_uint8(triplet)))

    def _step(self, trainer: pl.Trainer) -> int:
        """The optimiser step of the weights: the Trainer's, or outside `fit` that of the checkpoint it was given."""
        trained_here = trainer.state.fn == "fit" or trainer.ckpt_path is None
        return trainer.global_step if trained_here else self._loaded_step
