"""Transforms between image and latents: analysis g_a, the synthesis ladder g_s, padding."""

from lightning_codec.transforms.analysis import AnalysisTransform
from lightning_codec.transforms.linear_start import quantizer_step, start_linearly
from lightning_codec.transforms.padding import crop_to, pad_to_multiple, padded_size
from lightning_codec.transforms.residual import LatentResidualPrediction
from lightning_codec.transforms.synthesis import Ladder, SynthesisLadder

__all__ = [
    "AnalysisTransform",
    "Ladder",
    "LatentResidualPrediction",
    "SynthesisLadder",
    "crop_to",
    "pad_to_multiple",
    "padded_size",
    "quantizer_step",
    "start_linearly",
]
