"""CompressAI's published models with their own weights, as baselines; nothing is downloaded."""

from pathlib import Path
from typing import Any, NamedTuple

import torch
from compressai.zoo.image import cfgs, model_architectures, model_urls
from compressai.zoo.pretrained import load_pretrained
from torch import Tensor

from lightning_codec.bitstream import CorruptError
from lightning_codec.bitstream.varint import read_varint, write_varint
from lightning_codec.errors import UserError
from lightning_codec.files import sha256_of
from lightning_codec.images import check_image
from lightning_codec.transforms import crop_to, pad_to_multiple, padded_size
from lightning_codec.weights import find, folders, sha256_prefix

LATENT_STRIDES = (16, 64)
"""Of the latents whose shape a model asks for: y without a hyperprior, z with one."""


class PublishedModel(NamedTuple):
    """One of the published models, without its weights."""

    name: str
    """As on the command line: the architecture, and "-ms-ssim" where it was trained for that."""
    architecture: str
    metric: str
    qualities: tuple[int, ...]

    def url(self, quality: int) -> str:
        """Where CompressAI has the weights of a quality.

        Raises:
            UserError: there is no such quality.
        """
        if quality not in self.qualities:
            raise UserError(f"{self.name}: quality {quality}: it must be one of {', '.join(map(str, self.qualities))}")
        return str(model_urls[self.architecture][self.metric][quality])


def published_models() -> list[PublishedModel]:
    """All models that CompressAI has published weights of."""
    return [
        PublishedModel(
            architecture if metric == "mse" else f"{architecture}-{metric}", architecture, metric, tuple(sorted(urls))
        )
        for architecture, by_metric in model_urls.items()
        for metric, urls in by_metric.items()
        if architecture in cfgs
    ]


def published_model(name: str) -> PublishedModel | None:
    """The published model of a name; None where there is none."""
    return next((model for model in published_models() if model.name == name), None)


def find_weights(model: PublishedModel, quality: int) -> Path:
    """The file with the weights, where `lightning_codec.weights` looks for them too.

    Raises:
        UserError: no such quality, or the file is in none of the folders; the message says what to put where.
    """
    url = model.url(quality)
    path = find(url.rsplit("/", 1)[1])
    if path is None:
        raise UserError(f"{model.name} quality {quality}: its weights are not there: put {url} into {folders()[0]}")
    return path


def weights_sha256(path: Path) -> str:
    """SHA-256 of a file of weights, in hexadecimal.

    Raises:
        UserError: it does not begin with the 8 digits in the file's name, so the file is damaged.
    """
    digest = sha256_of(path)
    if not digest.startswith(sha256_prefix(path.name)):
        raise UserError(f"{path}: damaged, its SHA-256 begins with {digest[:8]}: get the file again")
    return digest


class CompressAICodec:
    """A published model as a codec, on the CPU.

    The file is height and width, then the length of every string but the last, all as varints, then the strings:
    5 to 7 bytes besides what the model codes.

    Args:
        network: of CompressAI, with its weights; its probability tables are made here.
    """

    def __init__(self, network: Any) -> None:  # noqa: ANN401 - CompressAI is not typed
        self.network = network.eval()
        self.network.update(force=True)

    @classmethod
    def load(cls, model: PublishedModel, quality: int) -> "CompressAICodec":
        """A model with its published weights.

        Raises:
            UserError: as `find_weights`, or the file is not one of weights.
        """
        path = find_weights(model, quality)
        try:
            weights = load_pretrained(torch.load(path, map_location="cpu", weights_only=True))
            return cls(model_architectures[model.architecture].from_state_dict(weights))
        except Exception as error:  # torch and CompressAI raise many types for a file that is not theirs
            raise UserError(f"{path}: no weights of {model.architecture} ({type(error).__name__})") from error

    @torch.inference_mode()
    def compress(self, image: Tensor) -> bytes:
        """A file of one picture [3, H, W] in [0, 1]; sides are padded to multiples of 64 by repetition."""
        x = check_image(image, "the image").float()
        coded = self.network.compress(pad_to_multiple(x))
        strings = [batch[0] for batch in coded["strings"]]
        numbers = (*image.shape[-2:], *(len(string) for string in strings[:-1]))
        return b"".join(map(write_varint, numbers)) + b"".join(strings)

    @torch.inference_mode()
    def decompress(self, data: bytes) -> Tensor:
        """The picture of a file, [3, H, W] in [0, 1].

        Raises:
            CodecError: the header is damaged.
        """
        count = 2 if hasattr(self.network, "h_a") else 1
        height, at = read_varint(data, 0)
        width, at = read_varint(data, at)
        lengths = []
        for _ in range(count - 1):
            length, at = read_varint(data, at)
            lengths.append(length)
        if at + sum(lengths) > len(data):
            raise CorruptError(f"the strings of {sum(lengths)} bytes and more do not fit in {len(data)} bytes")
        strings = []
        for length in [*lengths, len(data) - at - sum(lengths)]:
            strings.append([data[at : at + length]])
            at += length
        H, W = padded_size(height, width)
        stride = LATENT_STRIDES[count - 1]
        decoded = self.network.decompress(strings, (H // stride, W // stride))
        return crop_to(decoded["x_hat"], height, width)[0].clamp(0.0, 1.0)
