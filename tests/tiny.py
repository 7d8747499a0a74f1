"""A codec small enough for tests: a few thousand weights, every part of the architecture present."""

import torch

from lightning_codec.entropy import EntropyConfig
from lightning_codec.model import CompressionModel, NetworkConfig

TINY_NETWORK = NetworkConfig(
    channels=(4, 6, 8),
    latent_channels=12,
    analysis_units=1,
    synthesis_units=1,
    entropy=EntropyConfig(hyper_channels=4, channel_groups=[2, 4, 6], window=4, blocks=1),
    latent_residual_prediction=True,
)


def tiny_compression_model(seed: int = 0, spread: float = 8.0) -> CompressionModel:
    """Random weights; the last layer of g_a is scaled by `spread`, so that symbols other than 0 occur."""
    torch.manual_seed(seed)
    model = CompressionModel(TINY_NETWORK).eval()
    with torch.no_grad():
        for p in [*model.g_a.body[-1].parameters(), *model.entropy.h_a[-1].parameters()]:
            p.mul_(spread)
    return model
