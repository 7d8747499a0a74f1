"""The image metrics by name: each takes one picture and its original, and gives a number or the reason for none."""

import math
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, cast, get_args

import torch
from torch import Tensor

from lightning_codec.errors import UserError
from lightning_codec.images import to_uint8
from lightning_codec.metrics.contract import check_images
from lightning_codec.metrics.dists import Dists
from lightning_codec.metrics.ms_ssim import MS_SSIM_PROTOCOL, ms_ssim, ms_ssim_obstacle
from lightning_codec.metrics.protocol import Protocol
from lightning_codec.metrics.psnr import PSNR_PROTOCOL, psnr
from lightning_codec.perceptual import PerceptualDistance, PerceptualName

LearnedName = Literal["lpips_alex", "lpips_vgg", "stlpips_alex", "stlpips_vgg", "dists"]
ImageMetricName = Literal["psnr", "ms_ssim", "lpips_alex", "lpips_vgg", "stlpips_alex", "stlpips_vgg", "dists"]


class Value(NamedTuple):
    """What a metric says of one picture; exactly one of the two is None."""

    value: float | None
    reason: str | None
    """Why there is no number."""


class ImageMetric(typing.Protocol):
    """A metric of one picture against its original."""

    @property
    def name(self) -> str:
        """Its name in tables and on the command line."""

    @property
    def protocol(self) -> Protocol:
        """How it measures."""

    @property
    def label(self) -> str:
        """Its name for people, as "LPIPS (AlexNet)"."""

    @property
    def higher_is_better(self) -> bool:
        """The direction."""

    def __call__(self, x_hat: Tensor, x: Tensor) -> Value:
        """Compare a decoded picture with its original, each [3, H, W] or [1, 3, H, W] in [0, 1].

        Raises:
            ValueError: an image breaks the contract (see `check_images`), or there are several.
        """


class Suite(NamedTuple):
    """The metrics that can be had, in the order asked for, and why the others cannot."""

    metrics: list[ImageMetric]
    absent: dict[str, str]


@dataclass(frozen=True)
class _CheckedMetric:
    """An `ImageMetric` from a function of two pictures that keep the contract, each [1, 3, H, W]."""

    name: str
    label: str
    higher_is_better: bool
    protocol: Protocol
    measure: Callable[[Tensor, Tensor], Value]

    def __call__(self, x_hat: Tensor, x: Tensor) -> Value:
        x_hat, x = check_images(x_hat, x)
        if len(x) != 1:
            raise ValueError(f"{self.name} compares one picture with its original, {len(x)} were given")
        return self.measure(x_hat, x)


def _psnr(x_hat: Tensor, x: Tensor) -> Value:
    value = float(psnr(x_hat, x))
    return Value(value, None) if math.isfinite(value) else Value(None, "infinite: no 8-bit value differs")


def _ms_ssim(x_hat: Tensor, x: Tensor) -> Value:
    value = ms_ssim(x_hat, x)
    return Value(None, ms_ssim_obstacle(*x.shape[-2:])) if value is None else Value(float(value), None)


_PSNR = _CheckedMetric("psnr", "PSNR (dB)", True, PSNR_PROTOCOL, _psnr)
_MS_SSIM = _CheckedMetric("ms_ssim", "MS-SSIM", True, MS_SSIM_PROTOCOL, _ms_ssim)


class _Learned(NamedTuple):
    """The facts about a learned distance."""

    label: str
    description: str
    smallest_side: int
    """Pixels: below it a pooling of the network has nothing left to pool."""


_ON_8_BIT = "on RGB rounded to 8 bit, whole picture, not resized, per image, then the mean"
_LEARNED: dict[LearnedName, _Learned] = {
    "lpips_alex": _Learned("LPIPS (AlexNet)", f"LPIPS 0.1 on AlexNet (package lpips), {_ON_8_BIT}", 31),
    "lpips_vgg": _Learned("LPIPS (VGG16)", f"LPIPS 0.1 on VGG16 (package lpips), {_ON_8_BIT}", 16),
    "stlpips_alex": _Learned(
        "ST-LPIPS (AlexNet)", f"shift-tolerant LPIPS on AlexNet (package stlpips-pytorch), {_ON_8_BIT}", 21
    ),
    "stlpips_vgg": _Learned(
        "ST-LPIPS (VGG16)", f"shift-tolerant LPIPS on VGG16 (package stlpips-pytorch), {_ON_8_BIT}", 18
    ),
    "dists": _Learned("DISTS", f"DISTS (torchmetrics' network), {_ON_8_BIT}", 16),
}


def _learned_metric(name: LearnedName) -> ImageMetric:
    """Load a learned metric. Raises UserError where its package or its weights cannot be had."""
    distance = Dists() if name == "dists" else PerceptualDistance(cast(PerceptualName, name.replace("_", "-")))
    facts = _LEARNED[name]

    def measure(x_hat: Tensor, x: Tensor) -> Value:
        height, width = x.shape[-2:]
        if min(height, width) < facts.smallest_side:
            needed = f"both sides must have at least {facts.smallest_side} pixels"
            return Value(None, f"not applicable: {needed}, the image is {height} x {width}")
        with torch.no_grad():
            return Value(float(distance(to_uint8(x_hat).float() / 255, to_uint8(x).float() / 255)), None)

    protocol = Protocol(f"{name.replace('_', '-')}-v1", facts.description, distance.weights)
    return _CheckedMetric(name, facts.label, False, protocol, measure)


def image_suite(names: Sequence[ImageMetricName]) -> Suite:
    """Load the metrics of these names; nothing is downloaded.

    Returns:
        The metrics in the order of the names; those whose network cannot be had are absent, with the reason.

    Raises:
        UserError: there is no metric of a name.
    """
    suite = Suite([], {})
    for name in names:
        if name not in get_args(ImageMetricName):
            raise UserError(f"image metric {name!r}: it must be one of {', '.join(get_args(ImageMetricName))}")
        try:
            if name == "psnr":
                suite.metrics.append(_PSNR)
            elif name == "ms_ssim":
                suite.metrics.append(_MS_SSIM)
            else:
                suite.metrics.append(_learned_metric(name))
        except UserError as error:
            suite.absent[name] = str(error)
    return suite
