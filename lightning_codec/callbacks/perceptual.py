"""Perceptual distances of every evaluated image, beside rate and distortion."""

from collections.abc import Sequence
from typing import NamedTuple

import lightning.pytorch as pl
from lightning.pytorch.utilities import rank_zero_warn

from lightning_codec.callbacks.evaluation import EvaluatedImage, EvaluationCallback
from lightning_codec.callbacks.gathering import gather
from lightning_codec.callbacks.results import Origin, print_table, versions
from lightning_codec.files import write_csv, write_json
from lightning_codec.metrics.rows import mean
from lightning_codec.metrics.suite import ImageMetricName, Suite, Value, image_suite


class ScoredImage(NamedTuple):
    """What the metrics say of one image."""

    dataset: str
    name: str
    values: dict[str, Value]
    """By metric."""


class PerceptualMetrics(EvaluationCallback):
    """Measures the distances of every image's `x_hat` from its original, at test that of the decoded picture.

    Gathered, de-duplicated and averaged as `RateDistortion` does; logged as `val/<set>/<metric>` and
    `test/<set>/<metric>`; written to `<run folder>/metrics/{validate,test}_<set>_perceptual.{csv,json}` with the
    protocol of each metric. A metric whose network cannot be had is absent: one warning, its reason in the JSON file.

    Args:
        test: metrics at test. The default ones come complete in a wheel.
        validate: metrics at validation; each costs its time at every one of them.
    """

    def __init__(
        self,
        test: Sequence[ImageMetricName] = ("stlpips_alex", "stlpips_vgg"),
        validate: Sequence[ImageMetricName] = (),
    ) -> None:
        super().__init__()
        self.names = {"test": tuple(test), "validate": tuple(validate)}
        self._suites: dict[str, Suite] = {}
        self._scored: list[ScoredImage] = []

    @property
    def suite(self) -> Suite:
        """The metrics of the running evaluation; networks are loaded when they are first needed, and once."""
        if self.stage not in self._suites:
            suite = image_suite(self.names[self.stage])
            self._suites[self.stage] = suite
            for name, reason in suite.absent.items():
                rank_zero_warn(f"{name} is absent at {self.stage}: {reason}")
        return self._suites[self.stage]

    def start_evaluation(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Forget the last evaluation."""
        self._scored = []

    def see_image(self, trainer: pl.Trainer, pl_module: pl.LightningModule, image: EvaluatedImage) -> None:
        """Measure one image."""
        x_hat = image.step.x_hat
        values = {metric.name: Value(None, "the reconstruction is not finite") for metric in self.suite.metrics}
        if bool(x_hat.isfinite().all()):
            values = {metric.name: metric(x_hat, image.image) for metric in self.suite.metrics}
        self._scored.append(ScoredImage(image.dataset, image.name, values))

    def finish_evaluation(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Gather, log and write."""
        # a distributed sampler repeats images to fill the last batch
        kept = {(image.dataset, image.name): image for image in gather(self._scored)}
        self._scored = [kept[key] for key in sorted(kept)]
        if not self.names[self.stage]:
            return
        origin = self.origin(trainer, pl_module)
        for dataset, means in self._means().items():
            for name, value in means.items():
                self.log_mean(pl_module, f"{dataset}/{name}", value)
            if trainer.is_global_zero:
                self._write(dataset, means, origin)

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print the table of means."""
        if trainer.is_global_zero and self.suite.metrics:
            rows = {
                dataset: ["-" if value is None else f"{value:.4f}" for value in means.values()]
                for dataset, means in self._means().items()
            }
            print_table("Test, perceptual distances", [metric.label for metric in self.suite.metrics], rows)

    def _means(self) -> dict[str, dict[str, float | None]]:
        """Means over the images that have a value, by data set and metric."""
        datasets = sorted({image.dataset for image in self._scored})
        return {
            dataset: {
                metric.name: mean(image.values[metric.name].value for image in self._scored if image.dataset == dataset)
                for metric in self.suite.metrics
            }
            for dataset in datasets
        }

    def _write(self, dataset: str, means: dict[str, float | None], origin: Origin) -> None:
        """Write the CSV and the JSON file of one set."""
        images = [image for image in self._scored if image.dataset == dataset]
        metrics = self.suite.metrics
        header = {
            **origin._asdict(),
            "protocol": {m.name: m.protocol.facts() for m in metrics},
            "absent": self.suite.absent,
            "means": means,
            "counts": {m.name: sum(image.values[m.name].value is not None for image in images) for m in metrics},
            "versions": versions(),
        }
        entries = {
            image.name: {
                **{name: value.value for name, value in image.values.items()},
                "reasons": {name: value.reason for name, value in image.values.items() if value.reason is not None},
            }
            for image in images
        }
        stem = self.run_folder / "metrics" / f"{origin.stage}_{dataset}_perceptual"
        columns = ["dataset", "name", *(metric.name for metric in metrics)]
        rows = ([dataset, image.name, *(image.values[m.name].value for m in metrics)] for image in images)
        write_csv(stem.with_name(f"{stem.name}.csv"), columns, rows)
        write_json(stem.with_name(f"{stem.name}.json"), {"header": header, "images": entries})
