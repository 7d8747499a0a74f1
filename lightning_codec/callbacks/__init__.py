"""Callbacks of the Trainer; each is imported when it is first asked for."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightning_codec.callbacks.frechet import FrechetDistances
    from lightning_codec.callbacks.global_batch import GlobalBatch
    from lightning_codec.callbacks.images import ImagePanels
    from lightning_codec.callbacks.last_checkpoint import LastCheckpoint
    from lightning_codec.callbacks.non_finite import NonFiniteGuard
    from lightning_codec.callbacks.perceptual import PerceptualMetrics
    from lightning_codec.callbacks.png_writer import PngWriter
    from lightning_codec.callbacks.predict_writer import LcbWriter
    from lightning_codec.callbacks.progress import CodecProgressBar
    from lightning_codec.callbacks.rate_distortion import RateDistortion
    from lightning_codec.callbacks.reconstructions import Reconstructions
    from lightning_codec.callbacks.triplets import Triplets

__all__ = [
    "CodecProgressBar",
    "FrechetDistances",
    "GlobalBatch",
    "ImagePanels",
    "LastCheckpoint",
    "LcbWriter",
    "NonFiniteGuard",
    "PerceptualMetrics",
    "PngWriter",
    "RateDistortion",
    "Reconstructions",
    "Triplets",
]

_HOMES = {
    "CodecProgressBar": "progress",
    "FrechetDistances": "frechet",
    "GlobalBatch": "global_batch",
    "ImagePanels": "images",
    "LastCheckpoint": "last_checkpoint",
    "LcbWriter": "predict_writer",
    "NonFiniteGuard": "non_finite",
    "PerceptualMetrics": "perceptual",
    "PngWriter": "png_writer",
    "RateDistortion": "rate_distortion",
    "Reconstructions": "reconstructions",
    "Triplets": "triplets",
}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
