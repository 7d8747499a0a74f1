"""Checkpoints of this program as codecs of an evaluation."""

import hashlib
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

import lightning_codec
from lightning_codec.checkpoint import weights_digest
from lightning_codec.codec import Codec
from lightning_codec.diffusion.sampling import SamplingConfig
from lightning_codec.diffusion_decoder import DecodeOptions, DiffusionDecoder
from lightning_codec.errors import UserError
from lightning_codec.evaluation.baselines import BaselineCodec
from lightning_codec.evaluation.settings import CodecSetting, ModelRequest

FINGERPRINT_DIGITS = 8
DECIDING_ROOMS = ("bitstream", "diffusion", "entropy", "shipped", "transforms")
DECIDING_FILES = tuple(
    f"{name}.py"
    for name in ("checkpoint", "codec", "diffusion_decoder", "images", "model", "multirate", "networks", "tiling")
)
"""With these rooms, all that `Codec` and `DiffusionDecoder` are made of."""
DEFAULT_NAMES = {"mse": "lightning-codec", "diffusion": "lightning-codec-diffusion"}
"""Of a model's curve, by decoder."""


class DiffusionCodec:
    """A checkpoint with its diffusion decoder at fixed options."""

    def __init__(self, decoder: DiffusionDecoder, options: DecodeOptions) -> None:
        self.decoder = decoder
        self.options = options

    def compress(self, image: Tensor) -> bytes:
        """As `Codec.compress`."""
        return self.decoder.compress(image)

    def decompress(self, data: bytes) -> Tensor:
        """As `DiffusionDecoder.decompress`."""
        return self.decoder.decompress(data, self.options)


@dataclass(frozen=True)
class ModelSource:
    """A checkpoint, or the name of a model that ships, and how it decodes."""

    checkpoint: Path
    digest: str
    """Of its weights when the evaluation began: a training that goes on may write another one there."""
    sampling: SamplingConfig | None
    """None for the distortion-oriented decoder."""
    options: DecodeOptions

    def load(self) -> BaselineCodec:
        """The codec.

        Raises:
            CheckpointError: the file cannot be read.
            UserError: the file holds other weights than when the evaluation began.
        """
        network = _load_model(self.checkpoint, self.sampling is not None)
        if _digest(network) != self.digest:
            raise UserError(f"{self.checkpoint}: was overwritten with other weights meanwhile: evaluate a copy of it")
        if isinstance(network, Codec):
            return network
        assert self.sampling is not None
        network.sampling = self.sampling
        return DiffusionCodec(network, self.options)


def model_setting(request: ModelRequest) -> CodecSetting:
    """The setting of a checkpoint.

    Raises:
        UserError: the checkpoint cannot be read, has no such decoder, or cannot be sampled so.
    """
    is_diffusion = request.decoder == "diffusion"
    network = _load_model(request.checkpoint, is_diffusion)
    digest = _digest(network)
    setting = digest[:FINGERPRINT_DIGITS]
    description = "this program, distortion-oriented decoder"
    sampling, options, cost = None, DecodeOptions(), 5.0
    if isinstance(network, DiffusionDecoder):
        sampling = replace(network.sampling, **request.sampling)
        options = DecodeOptions(request.seed, request.perception)
        setting += f",{sampling.sampler},steps={sampling.steps}"
        setting += f",t_start={sampling.t_start:g}" if "t_start" in request.sampling else ""
        setting += f",seed={options.seed},perception={options.perception:g}"
        description = "this program, diffusion decoder"
        cost += 3.0 * sampling.evaluations
    identity = f"{description} {digest} {sampling} {options}, source {_source_digest()}, torch {torch.__version__}"
    name = request.name or DEFAULT_NAMES[request.decoder]
    source = ModelSource(request.checkpoint, digest, sampling, options)
    return CodecSetting(name, setting, description, identity, cost, False, source)


def _load_model(checkpoint: Path, is_diffusion: bool) -> Codec | DiffusionDecoder:
    return DiffusionDecoder.load(checkpoint) if is_diffusion else Codec.load(checkpoint)


def _digest(network: Codec | DiffusionDecoder) -> str:
    """SHA-256 in hexadecimal over configurations and weights of all that codes and decodes."""
    codec = network if isinstance(network, Codec) else network.codec
    digest = weights_digest(codec.model.config, codec.model) + bytes([codec.texture_map])
    if isinstance(network, DiffusionDecoder):
        digest = hashlib.sha256(digest + weights_digest(network.denoiser.config, network.denoiser)).digest()
    return digest.hex()


@cache
def _source_digest() -> str:
    """SHA-256 over the source that decides files and pictures, so that a changed program measures anew."""
    package = Path(lightning_codec.__file__).parent
    files = [package / name for name in DECIDING_FILES]
    files += [path for room in DECIDING_ROOMS for path in (package / room).rglob("*.py")]
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
