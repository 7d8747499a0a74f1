"""Everything that decides a probability, and nothing else.

Built from a small closed set of layers (convolutions, 1x1, masked 5x5, LayerNorm, GELU, masked softmax attention), so
that the same parameters can be executed a second time, exactly, in integer arithmetic.
"""

from lightning_codec.entropy.checkerboard import Sites, gather, scatter
from lightning_codec.entropy.config import EntropyConfig
from lightning_codec.entropy.gaussian import GaussianParams, Pmf, gaussian_pmfs, scale_index
from lightning_codec.entropy.model import EntropyModel, EntropyOutput
from lightning_codec.entropy.quantization import RateNoise

__all__ = [
    "EntropyConfig",
    "EntropyModel",
    "EntropyOutput",
    "GaussianParams",
    "Pmf",
    "RateNoise",
    "Sites",
    "gather",
    "gaussian_pmfs",
    "scale_index",
    "scatter",
]
