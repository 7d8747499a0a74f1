"""The small file that lies beside a model, and the picture that it must decode to."""

import copy
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor

from lightning_codec.codec import Codec
from lightning_codec.diffusion_decoder import DiffusionDecoder
from lightning_codec.images import to_uint8

SIDE = 128
STEPS = 4


def sample_picture() -> Tensor:
    """A procedural picture, so that it is nobody's: [3, 128, 128] in [0, 1]."""
    from lightning_codec.data.dead_leaves import DeadLeavesEvaluationSet

    return DeadLeavesEvaluationSet()[1].image[0, :, :SIDE, :SIDE]


def encode_sample(codec: Codec | DiffusionDecoder) -> bytes:
    """The file of `sample_picture`, coded by one thread."""
    with _one_thread():
        return codec.compress(sample_picture())


def decode_sample(decoder: Codec | DiffusionDecoder, data: bytes) -> Tensor:
    """The 8-bit picture of a file, uint8 [3, H, W].

    It is decoded by one thread, and by a diffusion decoder in 4 steps with seed 0.

    Raises:
        CodecError: as `Codec.decompress`.
    """
    if isinstance(decoder, DiffusionDecoder):
        decoder = copy.copy(decoder)
        decoder.sampling = replace(decoder.sampling, steps=STEPS)
    with _one_thread():
        return to_uint8(decoder.decompress(data))


def pixels_digest(pixels: Tensor) -> str:
    """SHA-256, in hexadecimal, of an 8-bit picture [3, H, W]: rows of RGB."""
    return hashlib.sha256(pixels.permute(1, 2, 0).contiguous().numpy().tobytes()).hexdigest()


@contextmanager
def _one_thread() -> Iterator[None]:
    """How many threads compute decides the last digits, and with them what can be decoded."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
