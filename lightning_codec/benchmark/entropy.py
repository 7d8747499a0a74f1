"""Benchmarks of the entropy codec: coding against CompressAI's models, growth with the image, training precision."""

import math
import multiprocessing
import time
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_codec.benchmark.memory import peak_mib
from lightning_codec.benchmark.timing import alternate
from lightning_codec.bitstream import SymbolDecoder, unpack
from lightning_codec.codec import Codec
from lightning_codec.entropy import EntropyConfig, GaussianParams, Sites, gather, scale_index
from lightning_codec.model import CompressionModel, NetworkConfig
from lightning_codec.modules import OptimizerConfig
from lightning_codec.modules.entropy_model import estimated_bits
from lightning_codec.modules.optimizer import build_optimizer

PAPER_NETWORK = NetworkConfig(
    channels=(192, 192, 192),
    latent_channels=320,
    analysis_units=3,
    synthesis_units=3,
    entropy=EntropyConfig(hyper_channels=192, window=8, blocks=2),
)
KODAK_SIZE = (512, 768)
# Spread of the made-up latents: about one symbol in ten is not 0, as in a file of low rate.
LATENT_SPREAD = 0.3


class DecodingTimes(NamedTuple):
    """Seconds to decode the latents of a 768x512 image, all at paper size with random weights."""

    ours: float
    """`Codec.decode`: container, hyperprior, all passes, rANS, checksum"""
    arithmetic: float
    """the part of `ours` that rANS and its tables take"""
    elic: float
    """CompressAI's Elic2022Official, `latent_codec.decompress`, same M, groups and N"""
    autoregressive: float
    """CompressAI's mbt2018 (quality 8: N = 192, M = 320), `decompress` less its synthesis transform"""


def decoding_times(repeats: int, size: tuple[int, int] = KODAK_SIZE) -> DecodingTimes:
    """Decode the same latents with our entropy model and with CompressAI's.

    Args:
        repeats: counted rounds; the autoregressive model is timed once.
        size: (H, W) in pixels, multiples of 64.
    """
    from compressai.models import Elic2022Official, JointAutoregressiveHierarchicalPriors

    torch.manual_seed(0)
    codec = Codec(CompressionModel(PAPER_NETWORK))
    M = PAPER_NETWORK.latent_channels
    y = LATENT_SPREAD * torch.randn(1, M, size[0] // 16, size[1] // 16)
    encoded = codec.encode_latents(y, *size)
    replay = _arithmetic_decoding(codec, encoded.data)

    elic = Elic2022Official(N=192, M=M, groups=list(codec.model.entropy.widths)).eval()
    elic.update(force=True)
    autoregressive = JointAutoregressiveHierarchicalPriors(192, M).eval()
    autoregressive.update(force=True)
    with torch.inference_mode():
        coded = elic.latent_codec.compress(y)
        file = autoregressive.compress(torch.rand(1, 3, *size))
        y_hat = torch.round(y)

        def decode_autoregressive() -> float:
            start = time.perf_counter()
            autoregressive.decompress(file["strings"], file["shape"])
            whole = time.perf_counter() - start
            return whole - alternate({"g_s": lambda: autoregressive.g_s(y_hat)}, 1)["g_s"]

        median = alternate(
            {
                "ours": lambda: codec.decode(encoded.data),
                "arithmetic": replay,
                "elic": lambda: elic.latent_codec.decompress(coded["strings"], coded["shape"]),
            },
            repeats,
        )
        slow = decode_autoregressive()
    return DecodingTimes(median["ours"], median["arithmetic"], median["elic"], slow)


def _arithmetic_decoding(codec: Codec, data: bytes) -> "ArithmeticReplay":
    """What `Codec.decode` asks of the arithmetic decoder for this file, recorded."""
    entropy = codec.model.entropy
    decoded = codec.decode(data)
    groups = entropy.split_groups(decoded.y_hat)
    recorded: list[Tensor] = []

    def code(j: int, sites: Sites, params: GaussianParams) -> Tensor:
        recorded.append(params.log_scale)
        return gather(groups[j], sites)

    with torch.inference_mode():
        entropy.walk(decoded.psi, code)
    return ArithmeticReplay(codec, unpack(data).segments[1], recorded)


class ArithmeticReplay:
    """Table look-up and rANS decoding of recorded passes, without the network."""

    def __init__(self, codec: Codec, segment: bytes, log_scales: Sequence[Tensor]) -> None:
        self.tables = codec.y_tables
        self.segment = segment
        self.log_scales = log_scales

    def __call__(self) -> None:
        """Decode all passes once."""
        decoder = SymbolDecoder(self.segment, sum(t.numel() for t in self.log_scales))
        for log_scale in self.log_scales:
            decoder.get(scale_index(log_scale).flatten().cpu(), self.tables)


class ScalingRow(NamedTuple):
    """Decoding the latents of a square image."""

    side: int
    """pixels"""
    seconds: float
    rounds: int
    """sequential rounds of arithmetic decoding"""
    peak_mib: float
    """peak memory of a process that does nothing else, libraries included, MiB"""


def scaling(sides: Sequence[int], threads: int, network: NetworkConfig = PAPER_NETWORK) -> list[ScalingRow]:
    """Time, rounds and memory by image size; every size in a process of its own."""
    context = multiprocessing.get_context("spawn")
    rows = []
    for side in sides:
        with context.Pool(1) as pool:
            rows.append(pool.apply(_decode_square, (side, threads, network)))
    return rows


def growth_exponent(rows: Sequence[ScalingRow]) -> float:
    """e of seconds ~ pixels^e between the smallest and the largest image; 1 is linear."""
    return math.log(rows[-1].seconds / rows[0].seconds) / math.log((rows[-1].side / rows[0].side) ** 2)


def _decode_square(side: int, threads: int, network: NetworkConfig) -> ScalingRow:
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    codec = Codec(CompressionModel(network))
    y = LATENT_SPREAD * torch.randn(1, network.latent_channels, side // 16, side // 16)
    data = codec.encode_latents(y, side, side).data
    seconds = alternate({"decode": lambda: codec.decode(data)}, 3)["decode"]
    return ScalingRow(side, seconds, codec.decode(data).rounds, peak_mib())


class StepTimes(NamedTuple):
    """Seconds of one training step on 8 crops of 128x128."""

    float32: float
    """default memory layout"""
    float32_channels_last: float
    bf16_channels_last: float


def training_step_times(repeats: int, network: NetworkConfig | None = None) -> StepTimes:
    """Forward, backward and optimiser step in three settings, taking turns."""
    config = network or NetworkConfig()
    torch.manual_seed(0)
    steps = {
        "float32": _TrainingStep(config, channels_last=False, bf16=False),
        "float32_channels_last": _TrainingStep(config, channels_last=True, bf16=False),
        "bf16_channels_last": _TrainingStep(config, channels_last=True, bf16=True),
    }
    return StepTimes(**alternate(steps, repeats))


class _TrainingStep:
    def __init__(self, network: NetworkConfig, channels_last: bool, bf16: bool) -> None:
        layout = torch.channels_last if channels_last else torch.contiguous_format
        self.model = CompressionModel(network).to(memory_format=layout)
        self.optimizer, _ = build_optimizer(self.model, OptimizerConfig(), 1000)
        self.x = torch.rand(8, 3, 128, 128).contiguous(memory_format=layout)
        self.bf16 = bf16

    def __call__(self) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            output = self.model(self.x, self.model.rate_noise(self.x, lambda shape: torch.rand(shape) - 0.5))
            loss = estimated_bits(output) / self.x.numel() + (output.x_hat.float() - self.x).square().mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
