"""The mean of an image metric over any number of pictures of any sizes, as running sums."""

from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

from lightning_codec.metrics.contract import check_images
from lightning_codec.metrics.suite import ImageMetric


class MeanValue(NamedTuple):
    """The mean of a metric over a set of pictures, and the counts it rests on."""

    mean: float | None
    """Over the `images` with a value; None when there is none."""
    images: int
    not_applicable: int
    """Pictures that have no value: too small, or without any error where the PSNR is asked for."""


class ImageMean(Metric):
    """Mean of the per-image values of a metric, in float64: sizes may be mixed, nothing is kept of a picture.

    `update(x_hat, x)` takes [N, 3, H, W] or [3, H, W] in [0, 1]; `compute()` returns a `MeanValue`.

    Args:
        metric: of one picture, see `image_suite`.
    """

    full_state_update = False
    total: Tensor
    images: Tensor
    not_applicable: Tensor

    def __init__(self, metric: ImageMetric) -> None:
        super().__init__()
        self.metric = metric
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("images", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("not_applicable", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, x_hat: Tensor, x: Tensor) -> None:
        """Add pictures. Raises ValueError when one breaks the contract (see `check_images`)."""
        for picture, original in zip(*check_images(x_hat, x), strict=True):
            value = self.metric(picture, original).value
            if value is None:
                self.not_applicable += 1
            else:
                self.total += value
                self.images += 1

    def compute(self) -> MeanValue:
        """Return the mean over the pictures added so far, with its counts."""
        images = int(self.images)
        return MeanValue(float(self.total) / images if images else None, images, int(self.not_applicable))
