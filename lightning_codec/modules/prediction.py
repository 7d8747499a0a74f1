"""Prediction, for every module with a codec: pictures to files, and files to pictures by either decoder."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

import lightning.pytorch as pl
import torch
from torch import Tensor

from lightning_codec.codec import Codec
from lightning_codec.data import NamedFile, PredictInput, Unreadable
from lightning_codec.diffusion.samplers import SamplerName
from lightning_codec.diffusion.sampling import SamplingConfig
from lightning_codec.diffusion_decoder import DecodeOptions, DiffusionDecoder
from lightning_codec.errors import UserError, is_out_of_memory, one_line
from lightning_codec.modules.coding import compress

DecoderName = Literal["mse", "diffusion"]


@dataclass(frozen=True)
class Decoding:
    """How files become pictures.

    Args:
        decoder: of least distortion, or the diffusion decoder.
        steps: of the latter's sampler; None for the model's own.
        sampler: of the latter; None for the model's own.
        options: of the latter.
    """

    decoder: DecoderName = "mse"
    steps: int | None = None
    sampler: SamplerName | None = None
    options: DecodeOptions = DecodeOptions()  # noqa: RUF009 - frozen

    def sampling(self, own: SamplingConfig) -> SamplingConfig:
        """The settings of the sampler, given the model's own."""
        return replace(own, steps=self.steps or own.steps, sampler=self.sampler or own.sampler)


class DecodedFile(NamedTuple):
    """What a file was decoded to."""

    x_hat: Tensor
    """[3, H, W] in [0, 1]"""
    bytes: int
    """of the file"""


class Failure(NamedTuple):
    """What happened in place of a result."""

    reason: str
    """One line."""


Predicted = bytes | DecodedFile | Failure


class FilePredictor(pl.LightningModule):
    """A module that predicts: the file of a picture, the picture of a file, or why there is none."""

    def __init__(self) -> None:
        super().__init__()
        self.decoding = Decoding()
        self._predicting: tuple[Codec | DiffusionDecoder, Callable[[bytes], Tensor]] | None = None

    def codec(self) -> Codec | DiffusionDecoder:
        """The codec of the weights as they are now."""
        raise NotImplementedError

    def on_predict_start(self) -> None:
        """Make codec and decoder once: the weights stay as they are."""
        self._predicting = self._workers()

    def on_predict_end(self) -> None:
        """The next prediction may be with other weights."""
        self._predicting = None

    def predict_step(self, batch: PredictInput, batch_idx: int, dataloader_idx: int = 0) -> Predicted:
        """The `.lcb` file of a picture, or what a `.lcb` file stands for; a failure is a result too."""
        codec, decode = self._predicting or self._workers()
        try:
            if isinstance(batch, Unreadable):
                return Failure(batch.reason)
            if isinstance(batch, NamedFile):
                data = Path(batch.path).read_bytes()
                with torch.autocast(self.device.type, enabled=False):
                    return DecodedFile(decode(data), len(data))
            return compress(codec, batch.image)
        except (UserError, OSError) as error:
            return Failure(one_line(error))
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            return Failure("not enough memory for this image")

    def _workers(self) -> tuple[Codec | DiffusionDecoder, Callable[[bytes], Tensor]]:
        codec = self.codec()
        return codec, picture_decoder(codec, self.decoding)


def picture_decoder(codec: Codec | DiffusionDecoder, decoding: Decoding) -> Callable[[bytes], Tensor]:
    """What makes the picture [3, H, W] in [0, 1] of a file's bytes.

    Raises:
        UserError: there is no diffusion decoder, or its memory limit holds no picture.
    """
    if decoding.decoder == "mse":
        return codec.codec.decompress if isinstance(codec, DiffusionDecoder) else codec.decompress
    if not isinstance(codec, DiffusionDecoder):
        raise UserError(
            "the model has no diffusion decoder, only the entropy codec: give a checkpoint of DiffusionDecoderModule, "
            "or decode with decoder mse"
        )
    decoder = copy.copy(codec)
    decoder.sampling = decoding.sampling(codec.sampling)
    decoder.plan(1, 1, decoding.options.memory_limit)  # a limit that no picture fits in is refused before any is tried
    return lambda data: decoder.decompress(data, decoding.options)
