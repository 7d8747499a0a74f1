"""Coding within an evaluation step, and what the step hands on: every callback sees the one decoded picture."""

import time
from collections.abc import Callable
from typing import NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from lightning_codec.images import to_uint8
from lightning_codec.model import ModelOutput

T = TypeVar("T")


class ImageCodec(Protocol):
    """The part of `lightning_codec.codec.Codec` that is measured."""

    @property
    def fingerprint(self) -> bytes:
        """Names the weights."""

    def compress(self, image: Tensor) -> bytes:
        """[3, H, W] in [0, 1] to the bytes of a file."""

    def decompress(self, data: bytes) -> Tensor:
        """The bytes of a file to [3, H, W] in [0, 1]."""


class CodedFile(NamedTuple):
    """The file of an image."""

    data: bytes
    fingerprint: bytes
    """of the weights that coded it"""
    encode_seconds: float | None = None
    """wall time, where it was taken"""
    decode_seconds: float | None = None


class EvalStep(NamedTuple):
    """What an evaluation step hands to the callbacks."""

    x_hat: Tensor
    """[1, 3, H, W] in [0, 1]; decoded from `file` where there is one, as always at test"""
    bpp_estimated: float
    """bits of the rounded latents over original pixels"""
    loss: float | None
    """None where it is not computed, as for an image that is too small for the distortion"""
    bits: Tensor
    """of each latent position, see `bits_map`"""
    file: CodedFile | None = None
    difference: int | None = None
    """largest difference of `x_hat` and the forward pass's picture in 8-bit levels, where one network makes both"""


class FileCoder:
    """Codes and decodes the images of evaluation steps, in full precision: the Trainer's autocast ends here.

    A file that is coded in half precision could be decoded by nobody else.
    """

    def __init__(self) -> None:
        self._warm: ImageCodec | None = None

    def __call__(self, codec: ImageCodec, image: Tensor, timed: bool) -> tuple[Tensor, CodedFile]:
        """Code and decode one image [1, 3, H, W] in [0, 1].

        Args:
            codec: of the weights as they are now.
            image: to be coded.
            timed: take the times; a codec's first image is then coded once more before, since that makes its tables.

        Returns:
            The decoded picture, [1, 3, H, W] in [0, 1], and its file.
        """
        x = image[0]
        with torch.autocast(image.device.type, enabled=False):
            if timed and codec is not self._warm:
                codec.decompress(codec.compress(x))
                self._warm = codec
            data, encode_seconds = _timed(lambda: codec.compress(x))
            x_hat, decode_seconds = _timed(lambda: codec.decompress(data))
        file = CodedFile(data, codec.fingerprint)
        if timed:
            file = file._replace(encode_seconds=encode_seconds, decode_seconds=decode_seconds)
        return x_hat[None].to(image.device), file


def compress(codec: ImageCodec, image: Tensor) -> bytes:
    """The file of one image [1, 3, H, W], in full precision as `FileCoder` makes it."""
    with torch.autocast(image.device.type, enabled=False):
        return codec.compress(image[0])


def bits_map(output: ModelOutput) -> Tensor:
    """Estimated bits of each latent position of one image: float32 [h, w], on the CPU; they add up to its estimate.

    A position has the bits of y in all channels, and its share, a sixteenth, of the position of z above it.
    """
    y, z = (-part[0].float().log2().sum(0) for part in (output.y_likelihoods, output.z_likelihoods))
    factor = y.shape[0] // z.shape[0]
    shared = z.repeat_interleave(factor, 0).repeat_interleave(factor, 1) / factor**2
    return (y + shared).detach().cpu()


def difference_8bit(x_hat: Tensor, other: Tensor) -> int | None:
    """Largest difference of two images in 8-bit levels; None when one is not finite, or their sizes differ."""
    if x_hat.shape != other.shape or not bool(x_hat.isfinite().all() & other.isfinite().all()):
        return None
    return int((to_uint8(x_hat).int() - to_uint8(other).int()).abs().max())


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    """Return the result and the wall time in seconds, with the work that a GPU still has queued."""
    start = time.perf_counter()
    result = work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return result, time.perf_counter() - start
