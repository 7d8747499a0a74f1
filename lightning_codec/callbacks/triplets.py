"""Triplets to look at: the original and the two pictures that one file decodes to, side by side."""

from typing import Any, ClassVar, cast

import lightning.pytorch as pl
import torch
from torch import Tensor

from lightning_codec.callbacks.evaluation import EvaluatedImage
from lightning_codec.callbacks.pictures import PictureCallback
from lightning_codec.diffusion_decoder import DiffusionDecoder


class Triplets(PictureCallback):
    """Shows original | x_c | x_hat for the first images of every set, see `PictureCallback`; its kind is `triplets`.

    x_c is the entropy codec's picture, x_hat the diffusion decoder's, both of the same file. Without a diffusion
    decoder nothing is shown.

    Args:
        images: how many images of each set; 0 for none.
        budget: how many pictures in one training.
        every_n_steps: optimiser steps from one shown validation to the next, at least.
    """

    kind: ClassVar[str] = "triplets"

    def __init__(self, images: int = 2, budget: int = 200, every_n_steps: int = 0) -> None:
        super().__init__(images, budget, every_n_steps)

    def draw(self, pl_module: pl.LightningModule, image: EvaluatedImage, step: int) -> tuple[Tensor, str] | None:
        """The three side by side, [3, H, 3 W]."""
        decoder = cast("Any", pl_module).codec()
        if not isinstance(decoder, DiffusionDecoder) or image.step.file is None:
            return None
        x_c = decoder.codec.decompress(image.step.file.data)
        pictures = (image.image[0], x_c, image.step.x_hat[0])
        return torch.cat([picture.cpu() for picture in pictures], dim=-1), "original | x_c | x_hat"
