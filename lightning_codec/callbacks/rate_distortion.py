"""Rate and distortion of every evaluated image, the rate from real files."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar, cast

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from lightning_codec.callbacks.gathering import gather
from lightning_codec.callbacks.results import MeasuredImage, Origin, merge, print_table, write_results
from lightning_codec.data.types import NamedImage
from lightning_codec.errors import UserError
from lightning_codec.images import to_uint8
from lightning_codec.metrics.ms_ssim import ms_ssim, ms_ssim_obstacle
from lightning_codec.metrics.psnr import psnr
from lightning_codec.metrics.rows import ImageRow, mean, set_means

T = TypeVar("T")
LOGGED_MEANS = ("psnr", "ms_ssim", "bpp", "bpp_estimated", "gap_percent")


class EvalOutput(Protocol):
    """What a module's validation and test step return."""

    @property
    def x_hat(self) -> Tensor | None:
        """The reconstruction, [1, 3, H, W] in [0, 1]; at test it may be left to the decoding of the file."""

    @property
    def bpp_estimated(self) -> float:
        """Bits per pixel by the likelihoods."""

    @property
    def loss(self) -> float | None:
        """The rate-distortion loss of the image; None where it cannot be computed for its size."""


class ImageCodec(Protocol):
    """The part of `lightning_codec.codec.Codec` that is measured."""

    @property
    def fingerprint(self) -> bytes:
        """Names the weights."""

    def compress(self, image: Tensor) -> bytes:
        """[3, H, W] in [0, 1] to the bytes of a file."""

    def decompress(self, data: bytes) -> Tensor:
        """The bytes of a file to [3, H, W] in [0, 1]."""


class _Coded(NamedTuple):
    """What came of coding one image; `reason` says why nothing did."""

    size: int | None = None
    decoded: Tensor | None = None
    encode_seconds: float | None = None
    decode_seconds: float | None = None
    reason: str | None = None


class RateDistortion(pl.Callback):
    """Measures PSNR, MS-SSIM, `bpp_estimated` and `bpp` of every image at validation and test.

    The module's steps return an `EvalOutput` for a batch of one `NamedImage`; `module.codec()` returns an
    `ImageCodec` of the current weights. At test every image is coded and decoded, and the distortion is that
    of the *decoded* image. At validation the distortion is that of the step's `x_hat`; only the first images
    are coded, and not decoded.

    Rows are gathered from all processes, repeated images dropped, sorted by name, then averaged in float64:
    the figures do not depend on the number of processes. Logged are `val/<set>/<mean>` and
    `test/<set>/<mean>` for psnr, ms_ssim, bpp, bpp_estimated and gap_percent (`bpp` against the estimate on
    the same images), and `val/loss`, `test/loss`, the mean loss over the first set. Rows are written to `<run
    folder>/metrics/{validate,test}_<set>.{csv,json}`. A value that could not be computed is absent, with its
    reason in the JSON file. The sanity check leaves no result.

    Args:
        coded_images: at validation, how many images of each set (the first ones) are coded to real bytes; 0
            for none. A coding error at validation is reported and does not stop the training; at test it is
            raised.
    """

    def __init__(self, coded_images: int = 2) -> None:
        if coded_images < 0:
            raise UserError(f"RateDistortion: coded_images must be 0 or more, not {coded_images}")
        self.coded_images = coded_images
        self._measured: list[MeasuredImage] = []
        self._fingerprint: str | None = None
        self._loaded: tuple[int, int] = (0, 0)

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Remember where a checkpoint stood: outside `fit` the Trainer does not restore its counters."""
        self._loaded = (checkpoint["global_step"], checkpoint["epoch"])

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Forget the last evaluation."""
        self._measured, self._fingerprint = [], None

    def on_test_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Forget the last evaluation."""
        self._measured, self._fingerprint = [], None

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Tensor | Mapping[str, Any] | None,
        batch: Any,  # noqa: ANN401 - as Lightning declares it
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Measure one image, and code it when it is one of the first of its set."""
        if trainer.sanity_checking:
            return
        # a sampler that is not shuffled deals the images out to the processes in turn
        position = batch_idx * trainer.world_size + trainer.global_rank
        coded = _Coded(reason=f"not coded: only the first {self.coded_images} images of a set are, at validation")
        if position < self.coded_images:
            try:
                coded = self._code(pl_module, batch, decode=False)
            except Exception as error:  # must not end a training run: it is reported, and raised at test
                coded = _Coded(reason=f"coding failed: {type(error).__name__}: {error}")
                rank_zero_warn(f"{batch.name}: {coded.reason}")
        self._measure(trainer, cast("EvalOutput", outputs), batch, dataloader_idx, coded)

    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Tensor | Mapping[str, Any] | None,
        batch: Any,  # noqa: ANN401 - as Lightning declares it
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Code, decode and measure one image."""
        coded = self._code(pl_module, batch, decode=True)
        self._measure(trainer, cast("EvalOutput", outputs), batch, dataloader_idx, coded)

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Gather, log and write the rows."""
        self._publish(trainer, pl_module, "validate", "val")

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Gather, log and write the rows."""
        self._publish(trainer, pl_module, "test", "test")

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print the table of means (after the progress bar's last line)."""
        if trainer.is_global_zero and self._measured:
            sets = _by_dataset(self._measured).values()
            print_table([set_means([image.row for image in images]) for images in sets], "Test, mean over images")

    def _code(self, pl_module: pl.LightningModule, batch: NamedImage, decode: bool) -> _Coded:
        codec = cast("ImageCodec", cast("Any", pl_module).codec())
        image = batch.image[0]
        warm = self._fingerprint is not None
        self._fingerprint = codec.fingerprint.hex()
        if not decode:
            return _Coded(len(codec.compress(image)))
        if not warm:  # the first call builds the tables; a time that is reported does not contain them
            codec.decompress(codec.compress(image))
        data, encode_seconds = _timed(lambda: codec.compress(image))
        decoded, decode_seconds = _timed(lambda: codec.decompress(data))
        return _Coded(len(data), decoded[None].to(image.device), encode_seconds, decode_seconds)

    def _measure(
        self, trainer: pl.Trainer, outputs: EvalOutput, batch: NamedImage, dataloader_idx: int, coded: _Coded
    ) -> None:
        image, x_hat = batch.image, coded.decoded
        if x_hat is None:
            if outputs.x_hat is None:
                raise TypeError("a validation step has to return its reconstruction")
            x_hat = outputs.x_hat
        height, width = image.shape[-2:]
        reasons = {} if coded.reason is None else dict.fromkeys(("bytes", "bpp"), coded.reason)
        if coded.decoded is None:
            reasons |= dict.fromkeys(("encode_seconds", "decode_seconds"), "timed only at test")
        quality = similarity = None
        if bool(x_hat.isfinite().all()):
            quality, similarity = psnr(x_hat, image), ms_ssim(x_hat, image)
        else:
            reasons["psnr"] = "the reconstruction is not finite"
        if similarity is None:
            reasons["ms_ssim"] = ms_ssim_obstacle(height, width) or "the reconstruction is not finite"
        row = ImageRow(
            dataset=cast("Any", trainer).datamodule.eval_names[dataloader_idx],
            name=batch.name,
            height=height,
            width=width,
            bytes=coded.size,
            bpp=None if coded.size is None else 8 * coded.size / (height * width),
            bpp_estimated=float(outputs.bpp_estimated),
            psnr=None if quality is None else quality.item(),
            ms_ssim=None if similarity is None else similarity.item(),
            encode_seconds=coded.encode_seconds,
            decode_seconds=coded.decode_seconds,
        )
        difference = None if coded.decoded is None else _difference(coded.decoded, outputs.x_hat)
        self._measured.append(MeasuredImage(row, outputs.loss, reasons, difference))

    def _publish(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str, prefix: str) -> None:
        self._measured = merge(gather(self._measured))
        # every process holds the same rows now, so all log the same value and nothing is reduced again
        names: list[str] = cast("Any", trainer).datamodule.eval_names
        first = [image.loss for image in self._measured if image.row.dataset == names[0]]
        self._log(pl_module, f"{prefix}/loss", mean(first))
        folder = (
            Path(trainer.log_dir or trainer.default_root_dir) / "metrics"
        )  # log_dir is a broadcast: on every process
        origin = self._origin(trainer, str(pl_module.device), stage)
        for dataset, images in _by_dataset(self._measured).items():
            means = set_means([image.row for image in images])
            for name in LOGGED_MEANS:
                self._log(pl_module, f"{prefix}/{dataset}/{name}", getattr(means, name))
            off = [image.row.name for image in images if (image.decoded_difference or 0) > 1]
            if off:
                rank_zero_warn(
                    f"{dataset}: {len(off)} decoded images differ from the step's by more than rounding, "
                    f"the first is {off[0]}; the figures are those of the decoded images"
                )
            if trainer.is_global_zero:
                write_results(folder, images, origin)

    def _log(self, pl_module: pl.LightningModule, name: str, value: float | None) -> None:
        if value is not None:
            pl_module.log(name, value, on_step=False, on_epoch=True, batch_size=1)

    def _origin(self, trainer: pl.Trainer, device: str, stage: str) -> Origin:
        fitting = trainer.state.fn == "fit"
        checkpoint = None if fitting or trainer.ckpt_path is None else str(trainer.ckpt_path)
        step, epoch = (trainer.global_step, trainer.current_epoch) if checkpoint is None else self._loaded
        return Origin(stage, step, epoch, checkpoint, device, self._fingerprint)


def _by_dataset(images: list[MeasuredImage]) -> dict[str, list[MeasuredImage]]:
    sets: dict[str, list[MeasuredImage]] = {}
    for image in images:
        sets.setdefault(image.row.dataset, []).append(image)
    return sets


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    """Return the result and the wall time in seconds, with the work that a GPU still has queued."""
    start = time.perf_counter()
    result = work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return result, time.perf_counter() - start


def _difference(decoded: Tensor, x_hat: Tensor | None) -> int | None:
    """Largest difference of two images in 8-bit levels; None when one is missing, not finite, or of another size."""
    if x_hat is None or decoded.shape != x_hat.shape or not bool(x_hat.isfinite().all() & decoded.isfinite().all()):
        return None
    return int((to_uint8(decoded).int() - to_uint8(x_hat).int()).abs().max())
