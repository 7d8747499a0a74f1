"""Panels to look at: original, reconstruction, where it errs, and where the bits went."""

from typing import ClassVar

import lightning.pytorch as pl
from torch import Tensor

from lightning_codec.callbacks.evaluation import EvaluatedImage
from lightning_codec.callbacks.panel import draw_panel
from lightning_codec.callbacks.pictures import PictureCallback
from lightning_codec.metrics.psnr import psnr


class ImagePanels(PictureCallback):
    """Shows original | reconstruction | error | bits for the first images of every set, see `PictureCallback`.

    Its kind is `panels`. The reconstruction is the step's: at test the picture decoded from the file. The caption
    states the step, and the rate: of the file, or where the step has not coded the image the estimate. The map of the
    bits is the estimate's.

    Args:
        images: how many images of each set; 0 for none.
        budget: how many pictures in one training.
        every_n_steps: optimiser steps from one shown validation to the next, at least.
    """

    kind: ClassVar[str] = "panels"

    def __init__(self, images: int = 1, budget: int = 50, every_n_steps: int = 0) -> None:
        super().__init__(images, budget, every_n_steps)

    def draw(self, pl_module: pl.LightningModule, image: EvaluatedImage, step: int) -> tuple[Tensor, str] | None:
        """The panel; None of a picture that is not finite."""
        x, x_hat, file = image.image, image.step.x_hat, image.step.file
        if not bool(x_hat.isfinite().all()):
            return None
        if file is None:
            rate = f"{image.step.bpp_estimated:.4f} bpp (estimated)"
        else:
            rate = f"{8 * len(file.data) / (x.shape[-2] * x.shape[-1]):.4f} bpp ({len(file.data)} bytes)"
        quality = f"{psnr(x_hat, x).item():.2f} dB"
        caption = f"{image.name}, step {step}: {rate}, {quality}"
        panel = draw_panel(x[0], x_hat[0], image.step.bits, f"{image.name}, step {step}", f"{rate}, {quality}")
        return panel, caption
