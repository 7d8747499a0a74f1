"""A codec small enough for tests: a few thousand weights, every part of the architecture present."""

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from lightning_codec.checkpoint import RECORD_KEY, make_record, to_plain
from lightning_codec.diffusion.denoiser import Denoiser, DenoiserConfig
from lightning_codec.diffusion.sampling import SamplingConfig
from lightning_codec.diffusion.unet import UNetConfig
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

TINY_DENOISER = DenoiserConfig(UNetConfig(channels=(6, 8, 8), units=1, attention=False, patch=2, head_channels=4))


def tiny_compression_model(seed: int = 0, spread: float = 8.0) -> CompressionModel:
    """Random weights; the last layer of g_a is scaled by `spread`, so that symbols other than 0 occur."""
    torch.manual_seed(seed)
    model = CompressionModel(TINY_NETWORK).eval()
    with torch.no_grad():
        for p in [*model.g_a.body[-1].parameters(), *model.entropy.h_a[-1].parameters()]:
            p.mul_(spread)
    return model


def uniform(shape: tuple[int, ...]) -> Tensor:
    """U(-1/2, 1/2) of torch's global generator, for `CompressionModel.rate_noise`."""
    return torch.rand(shape) - 0.5


def tiny_denoiser(seed: int = 0, config: DenoiserConfig = TINY_DENOISER) -> Denoiser:
    """Random weights, those too that start at zero, so that every input counts."""
    torch.manual_seed(seed)
    denoiser = Denoiser(config, TINY_NETWORK.channels).eval()
    with torch.no_grad():
        for p in denoiser.parameters():
            if not p.any():
                p.normal_(std=0.1)
    return denoiser


def seeing_denoiser() -> Denoiser:
    """One that looks at a texture map, which counts much."""
    denoiser = tiny_denoiser(config=replace(TINY_DENOISER, texture_map=True))
    with torch.no_grad():
        denoiser.unet.get_parameter("texture.weight").normal_()
    return denoiser


def write_codec_checkpoint(path: Path, model: CompressionModel) -> None:
    """What decoding needs of a checkpoint of EntropyModelModule."""
    weights = {f"model.{name}": value for name, value in model.state_dict().items()}
    init_args = {"network": to_plain(model.config), "lmbda": 0.01}
    torch.save({"state_dict": weights, RECORD_KEY: make_record(CompressionModel, init_args)}, path)


def write_diffusion_checkpoint(
    path: Path, model: CompressionModel, denoiser: Denoiser, sampling: SamplingConfig
) -> None:
    """What decoding needs of a checkpoint of DiffusionDecoderModule; `denoiser` has the averaged weights."""
    averaged = denoiser.state_dict()
    weights = {f"model.{name}": value for name, value in model.state_dict().items()}
    weights |= {f"decoder.{name}": torch.zeros_like(value) for name, value in averaged.items()}
    weights |= {f"ema.module.{name}": value for name, value in averaged.items()}
    weights["ema.n_averaged"] = torch.tensor(1)
    init_args = {
        "network": to_plain(model.config),
        "decoder": to_plain(denoiser.config),
        "sampling": to_plain(sampling),
    }
    torch.save({"state_dict": weights, RECORD_KEY: make_record(Denoiser, init_args)}, path)
