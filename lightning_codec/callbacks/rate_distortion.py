"""Rate and distortion of every evaluated image, the rate from real files."""

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import lightning.pytorch as pl
from lightning.pytorch.utilities import rank_zero_warn

from lightning_codec.callbacks.evaluation import EvaluatedImage, EvaluationCallback
from lightning_codec.callbacks.gathering import gather
from lightning_codec.callbacks.results import MeasuredImage, merge, print_means, write_results
from lightning_codec.errors import UserError
from lightning_codec.metrics.ms_ssim import ms_ssim, ms_ssim_obstacle
from lightning_codec.metrics.psnr import psnr
from lightning_codec.metrics.rows import ImageRow, mean, set_means
from lightning_codec.tracking.history import Table
from lightning_codec.tracking.publishing import publish

if TYPE_CHECKING:
    from lightning_codec.modules.coding import ImageCodec

LOGGED_MEANS = ("psnr", "ms_ssim", "bpp", "bpp_estimated", "gap_percent")
TABLE_COLUMNS = ("name", "bpp", "bpp_estimated", "psnr", "ms_ssim")


class _Coded(NamedTuple):
    """The size of an image's file; `reason` says why there is none."""

    size: int | None = None
    reason: str | None = None


class RateDistortion(EvaluationCallback):
    """Measures PSNR, MS-SSIM, `bpp_estimated` and `bpp` of every image at validation and test.

    The module's steps return an `EvalStep` for a batch of one `NamedImage`; `module.codec()` returns an `ImageCodec` of
    the current weights. The distortion is that of the step's `x_hat`: at test the picture decoded from the file. At
    validation only the first images are coded.

    Rows are gathered from all processes, repeated images dropped, sorted by name, then averaged in float64:
    the figures do not depend on the number of processes. Logged are `val/<set>/<mean>` and
    `test/<set>/<mean>` for psnr, ms_ssim, bpp, bpp_estimated and gap_percent (`bpp` against the estimate on
    the same images), and `val/loss`, `test/loss`, the mean loss over the first set. Rows are written to `<run
    folder>/metrics/{validate,test}_<set>.{csv,json}`, and go to the loggers that know tables as `val/<set>/rd` and
    `test/<set>/rd`. A value that could not be computed is absent, with its reason in the JSON file. The sanity check
    leaves no result.

    Args:
        coded_images: at validation, how many images of each set (the first ones) are coded to real bytes; 0
            for none. A coding error at validation is reported and does not stop the training; at test it is
            raised.
    """

    def __init__(self, coded_images: int = 2) -> None:
        super().__init__()
        if coded_images < 0:
            raise UserError(f"RateDistortion: coded_images must be 0 or more, not {coded_images}")
        self.coded_images = coded_images
        self._measured: list[MeasuredImage] = []
        self._own_count: int | None = None

    def start_evaluation(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Forget the last evaluation."""
        self._measured = []

    def see_image(self, trainer: pl.Trainer, pl_module: pl.LightningModule, image: EvaluatedImage) -> None:
        """Measure one image."""
        coded = self._coded(pl_module, image)
        x, x_hat, file = image.image, image.step.x_hat, image.step.file
        height, width = x.shape[-2:]
        reasons = {} if coded.reason is None else dict.fromkeys(("bytes", "bpp"), coded.reason)
        if file is None or file.encode_seconds is None:
            reasons |= dict.fromkeys(("encode_seconds", "decode_seconds"), "timed only at test")
        quality = similarity = None
        if bool(x_hat.isfinite().all()):
            quality, similarity = psnr(x_hat, x), ms_ssim(x_hat, x)
        else:
            reasons["psnr"] = "the reconstruction is not finite"
        if similarity is None:
            reasons["ms_ssim"] = ms_ssim_obstacle(height, width) or "the reconstruction is not finite"
        row = ImageRow(
            dataset=image.dataset,
            name=image.name,
            height=height,
            width=width,
            bytes=coded.size,
            bpp=None if coded.size is None else 8 * coded.size / (height * width),
            bpp_estimated=image.step.bpp_estimated,
            psnr=None if quality is None else quality.item(),
            ms_ssim=None if similarity is None else similarity.item(),
            encode_seconds=None if file is None else file.encode_seconds,
            decode_seconds=None if file is None else file.decode_seconds,
        )
        self._measured.append(MeasuredImage(row, image.step.loss, reasons, file is not None, image.step.difference))

    def _coded(self, pl_module: pl.LightningModule, image: EvaluatedImage) -> _Coded:
        """The file's size: of the step's own file, or of one made now for the first images of a validation."""
        file = image.step.file
        if self.stage == "validate" and image.position >= self.coded_images:
            return _Coded(reason=f"not coded: only the first {self.coded_images} images of a set are, at validation")
        if file is not None:
            return _Coded(len(file.data))
        codec: ImageCodec = cast("Any", pl_module).codec()
        self._fingerprint = codec.fingerprint.hex()
        try:
            return _Coded(len(codec.compress(image.image[0])))
        except Exception as error:  # must not end a training run: it is reported, and raised at test
            reason = f"coding failed: {type(error).__name__}: {error}"
            rank_zero_warn(f"{image.name}: {reason}")
            return _Coded(reason=reason)

    def finish_evaluation(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Gather, log and write the rows."""
        self._measured = merge(gather(self._measured))
        # every process holds the same rows now, so all log the same value and nothing is reduced again
        names: list[str] = cast("Any", trainer).datamodule.eval_names
        self.log_mean(pl_module, "loss", mean(image.loss for image in self._measured if image.row.dataset == names[0]))
        origin = self.origin(trainer, pl_module)
        tables: dict[str, Table] = {}
        for dataset, images in _by_dataset(self._measured).items():
            rows = [image.row for image in images]
            means = set_means(rows)
            for name in LOGGED_MEANS:
                self.log_mean(pl_module, f"{dataset}/{name}", getattr(means, name))
            off = [image.row.name for image in images if (image.decoded_difference or 0) > 1]
            if off:
                rank_zero_warn(
                    f"{dataset}: {len(off)} decoded images differ from the step's by more than rounding, "
                    f"the first is {off[0]}; the figures are those of the decoded images"
                )
            if trainer.is_global_zero:
                write_results(self.run_folder / "metrics", images, origin)
            tables[f"{self.prefix}/{dataset}/rd"] = _table(rows)
        publish(trainer, self.run_folder, origin.step, tables=tables)
        self._count_for_loggers(trainer, origin.step)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Give the Trainer its count back, before a checkpoint of it is written."""
        self._count_for_loggers(trainer, None)

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print the table of means (after the progress bar's last line)."""
        self._count_for_loggers(trainer, None)
        if trainer.is_global_zero and self._measured:
            sets = _by_dataset(self._measured).values()
            print_means([set_means([image.row for image in images]) for images in sets], "Test, mean over images")

    def _count_for_loggers(self, trainer: pl.Trainer, step: int | None) -> None:
        """Let the Trainer hand the values of this evaluation to the loggers under `step`; None undoes it.

        Left alone, it takes a count that in training is one too low at every validation (the step is counted
        afterwards), and 0 for a checkpoint that is only evaluated: pictures and tables of the same weights would stand
        elsewhere. (To log a value named "step" helps as well, but it stays in `callback_metrics`, from where
        `ModelCheckpoint` takes the step of its next file name.)
        """
        loop = trainer.fit_loop.epoch_loop
        if step is not None:
            self._own_count = loop._batches_that_stepped
            loop._batches_that_stepped = step
        elif self._own_count is not None:
            loop._batches_that_stepped, self._own_count = self._own_count, None


def _by_dataset(images: Iterable[MeasuredImage]) -> dict[str, list[MeasuredImage]]:
    sets: dict[str, list[MeasuredImage]] = {}
    for image in images:
        sets.setdefault(image.row.dataset, []).append(image)
    return sets


def _table(rows: list[ImageRow]) -> Table:
    """Rate and distortion of each image, to be drawn over each other: bpp, or where not all are coded the estimate."""
    rate = "bpp" if all(row.bpp is not None for row in rows) else "bpp_estimated"
    rows = [row._replace(psnr=None) if row.psnr == math.inf else row for row in rows]
    cells = [[getattr(row, column) for column in TABLE_COLUMNS] for row in rows]
    return Table(list(TABLE_COLUMNS), cells, x=rate, y="psnr")
