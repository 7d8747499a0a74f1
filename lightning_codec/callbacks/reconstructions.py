"""Files to look at: originals, coded files and decoded pictures of the test images."""

from pathlib import PurePosixPath

import lightning.pytorch as pl

from lightning_codec.callbacks.evaluation import EvaluatedImage, EvaluationCallback
from lightning_codec.errors import UserError
from lightning_codec.files import write_atomically
from lightning_codec.images import write_png


class Reconstructions(EvaluationCallback):
    """At test, writes the first images of every set to `<run folder>/reconstructions/<set>/`.

    For an image `a.png` these are `a_original.png`, `a.lcb` and `a_decoded.png`, the picture decoded from that file.

    Args:
        images: how many images of each set; 0 for none.
    """

    def __init__(self, images: int = 0) -> None:
        super().__init__()
        if images < 0:
            raise UserError(f"Reconstructions: images must be 0 or more, not {images}")
        self.images = images

    def see_image(self, trainer: pl.Trainer, pl_module: pl.LightningModule, image: EvaluatedImage) -> None:
        """Write one image."""
        if self.stage != "test" or image.position >= self.images or image.step.file is None:
            return
        stem = self.run_folder / "reconstructions" / image.dataset / PurePosixPath(image.name).with_suffix("")
        write_atomically(stem.with_name(f"{stem.name}.lcb"), image.step.file.data)
        write_png(image.image[0].cpu(), stem.with_name(f"{stem.name}_original.png"))
        write_png(image.step.x_hat[0].cpu(), stem.with_name(f"{stem.name}_decoded.png"))
