"""Benchmarks of the diffusion decoder: where the time of a decode goes, its memory, what the blur costs in training."""

import multiprocessing
import time
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_codec.benchmark.entropy import KODAK_SIZE, LATENT_SPREAD
from lightning_codec.benchmark.memory import peak_mib
from lightning_codec.benchmark.timing import alternate
from lightning_codec.codec import Codec
from lightning_codec.diffusion.denoiser import Denoiser, DenoiserConfig, Estimate
from lightning_codec.diffusion.noise import noise_key, position_noise
from lightning_codec.diffusion.objective import stratified_times
from lightning_codec.diffusion.process import diffuse
from lightning_codec.diffusion.sampling import SamplingConfig
from lightning_codec.diffusion.schedule import BlurSchedule
from lightning_codec.diffusion.unet import UNetConfig
from lightning_codec.diffusion_decoder import DecodeOptions, DiffusionDecoder
from lightning_codec.model import CompressionModel, NetworkConfig
from lightning_codec.modules import DiffusionDecoderModule, DiffusionLossConfig, OptimizerConfig
from lightning_codec.modules.optimizer import build_optimizer
from lightning_codec.transforms import padded_size

TINY_DECODER = DenoiserConfig(
    UNetConfig(channels=(48, 64, 96, 128), units=1, attention=False, patch=2, head_channels=16)
)
PAPER_DECODER = DenoiserConfig(
    UNetConfig(channels=(64, 128, 192, 256, 320, 384), units=2, attention=True),
    BlurSchedule(log_snr_min=-10.0, sigma_blur_max=20.0),
    prediction="epsilon",
)
PAPER_STEPS = 500
SMALL_NETWORK = NetworkConfig()
OPTIONS = DecodeOptions()
CROPS = (8, 3, 128, 128)


class Decoding(NamedTuple):
    """Seconds of a decode of a 768x512 file, random weights, and of its parts."""

    whole: float
    """`DiffusionDecoder.decompress`"""
    latents: float
    """`Codec.decode`: hyperprior, all passes, rANS"""
    ladder: float
    """y_hat to c_0 .. c_3"""
    noise: float
    """the start's noise, by position"""
    arithmetic: float
    """DCTs, schedule, start and steps of the sampler, putting the picture together: the decode of the same latents by
    a denoiser that returns c_0 at no cost, less `ladder` and `noise`"""

    @property
    def network(self) -> float:
        """The evaluations of the U-Net: what the parts leave of the whole."""
        return self.whole - self.latents - self.ladder - self.noise - self.arithmetic


class _FreeDenoiser(Denoiser):
    """Takes c_0 for x, at no cost."""

    def forward(self, z: Tensor, t: Tensor, ladder: Sequence[Tensor]) -> Estimate:
        return Estimate(ladder[0], ladder[0])


def decoding_times(
    repeats: int,
    size: tuple[int, int] = KODAK_SIZE,
    network: NetworkConfig = SMALL_NETWORK,
    config: DenoiserConfig = TINY_DECODER,
    steps: int = 4,
) -> Decoding:
    """Decode one file with and without the U-Net, and its parts, taking turns.

    Args:
        repeats: counted rounds.
        size: (H, W) in pixels.
        network: of the codec.
        config: of the decoder.
        steps: S of the default sampler, which takes noise at its start only.
    """
    decoder = _decoder(network, config, steps)
    codec = decoder.codec
    free = DiffusionDecoder(codec, _FreeDenoiser(config, network.channels), decoder.sampling)
    data = _file(codec, size)
    decoded, key = codec.decode(data), noise_key(data, OPTIONS.seed)
    H, W = padded_size(*size)
    with torch.inference_mode():
        median = alternate(
            {
                "whole": lambda: decoder.decompress(data, OPTIONS),
                "free": lambda: free.decode(decoded, key, OPTIONS),
                "latents": lambda: codec.decode(data),
                "ladder": lambda: codec.model.synthesize(decoded.psi, decoded.y_hat),
                "noise": lambda: position_noise(key, 0, 3, range(H), range(W)),
            },
            repeats,
        )
    arithmetic = median.pop("free") - median["ladder"] - median["noise"]
    return Decoding(**median, arithmetic=arithmetic)


def _decoder(network: NetworkConfig, config: DenoiserConfig, steps: int) -> DiffusionDecoder:
    """Random weights, the same in every process."""
    torch.manual_seed(0)
    model = CompressionModel(network)
    return DiffusionDecoder(Codec(model), Denoiser(config, network.channels), SamplingConfig(steps=steps))


def _file(codec: Codec, size: tuple[int, int]) -> bytes:
    """A file of made-up latents."""
    H, W = padded_size(*size)
    y = LATENT_SPREAD * torch.randn(1, codec.model.config.latent_channels, H // 16, W // 16)
    return codec.encode_latents(y, *size).data


class Memory(NamedTuple):
    """One decode in a process that does nothing else."""

    seconds: float
    """the first call of the process"""
    tiles: int
    peak_mib: float
    """libraries included, MiB"""


def memory(
    size: tuple[int, int],
    network: NetworkConfig = SMALL_NETWORK,
    config: DenoiserConfig = TINY_DECODER,
    steps: int = 4,
) -> Memory:
    """Decode a file of (H, W) pixels in a process of its own, under the default memory limit."""
    threads = torch.get_num_threads()  # of the encoder and the decoder: their floating-point results must not differ
    data = _file(_decoder(network, config, steps).codec, size)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_decode_alone, (data, size, network, config, steps, threads))


def _decode_alone(
    data: bytes, size: tuple[int, int], network: NetworkConfig, config: DenoiserConfig, steps: int, threads: int
) -> Memory:
    torch.set_num_threads(threads)
    decoder = _decoder(network, config, steps)
    start = time.perf_counter()
    decoder.decompress(data, OPTIONS)
    seconds = time.perf_counter() - start
    return Memory(seconds, len(decoder.plan(*size, OPTIONS.memory_limit)), peak_mib())


class Training(NamedTuple):
    """Seconds of one training step of the decoder on 8 crops of 128x128, codec frozen, no perceptual network."""

    step: float
    """`training_step`, backward pass, optimiser, averaged weights; float32, channels last"""
    noising: float
    """`diffuse` of such a batch"""
    isotropic_noising: float
    """the same without blur"""

    @property
    def blur_share(self) -> float:
        """What the blur adds to the forward process, of a step."""
        return (self.noising - self.isotropic_noising) / self.step


def training_times(
    repeats: int,
    shape: tuple[int, int, int, int] = CROPS,
    network: NetworkConfig = SMALL_NETWORK,
    config: DenoiserConfig = TINY_DECODER,
) -> Training:
    """Training steps on [B, 3, H, W] images, and their forward process with and without blur, taking turns."""
    torch.manual_seed(0)
    loss = DiffusionLossConfig(rho=0.0)
    module = DiffusionDecoderModule(network=network, decoder=config, loss=loss).train()
    optimizer, _ = build_optimizer(module, OptimizerConfig(), 1000)
    image, noise = torch.rand(shape), torch.randn(shape)
    x, t = 2.0 * image - 1.0, stratified_times(shape[0], loss.t_max, torch.rand(()))
    isotropic = replace(config.schedule, sigma_blur_max=0.0)

    def step() -> None:
        optimizer.zero_grad()
        torch.autograd.backward(module.training_step(image, 0))
        optimizer.step()
        module.ema.update_parameters(module.decoder)

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*self.log.*")  # there is no Trainer to log to
        median = alternate(
            {
                "step": step,
                "noising": lambda: diffuse(config.schedule, x, t, noise),
                "isotropic_noising": lambda: diffuse(isotropic, x, t, noise),
            },
            repeats,
        )
    return Training(**median)


def evaluation_time(
    repeats: int,
    size: tuple[int, int] = KODAK_SIZE,
    ladder_channels: tuple[int, int, int] = (192, 192, 192),
    config: DenoiserConfig = PAPER_DECODER,
) -> float:
    """Seconds of one evaluation of the U-Net, float32, channels last, for an image of (H, W) pixels."""
    torch.manual_seed(0)
    unet = Denoiser(config, ladder_channels).unet.eval().to(memory_format=torch.channels_last)
    shapes = [(channels, size[0] >> level, size[1] >> level) for level, channels in enumerate((3, *ladder_channels))]
    z, *ladder = (torch.rand(1, *shape).contiguous(memory_format=torch.channels_last) for shape in (shapes[0], *shapes))
    t = torch.full((1,), 0.5)
    with torch.inference_mode():
        return alternate({"unet": lambda: unet(z, t, ladder)}, repeats)["unet"]
