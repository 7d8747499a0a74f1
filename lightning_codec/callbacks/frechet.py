"""Distances between the set of the decoded pictures and that of their originals."""

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
from lightning.pytorch.utilities import rank_zero_warn

from lightning_codec.callbacks.evaluation import EvaluatedImage, EvaluationCallback
from lightning_codec.callbacks.gathering import gather
from lightning_codec.callbacks.results import Origin, print_table, versions
from lightning_codec.files import write_array, write_json
from lightning_codec.metrics.features import Features, SetExtractor, SetMetricName, SetSuite, set_extractors
from lightning_codec.metrics.sets import SetResult, set_distance


class FrechetDistances(EvaluationCallback):
    """Measures Fréchet and kernel distances (`fid256`, `kid256`, `frechet_vgg64`) of every set.

    Each process writes the features of its images, one at a time, below `<run folder>/metrics/features`; the first one
    reads them in the order of the images' names. So the distances do not depend on the number of processes, and the
    memory does not grow with the set. (The processes have to share the run folder.)

    Logged as `val/<set>/<metric>` and `test/<set>/<metric>`; written to `<run folder>/metrics/{validate,test}_<set>_
    sets.json` with protocol and numbers of patches. A distance is absent, with its reason there, when its network
    cannot be had (one warning), when there are too few patches, or when a reconstruction is not finite.

    Args:
        test: distances at test; `frechet_vgg64` comes complete in a wheel, and costs some ten seconds of a CPU for an
            image of 768 x 512.
        validate: distances at validation.
    """

    def __init__(self, test: Sequence[SetMetricName] = (), validate: Sequence[SetMetricName] = ()) -> None:
        super().__init__()
        self.names = {"test": tuple(test), "validate": tuple(validate)}
        self._suites: dict[str, SetSuite] = {}
        self._seen: list[tuple[str, str, bool]] = []
        self._results: dict[str, dict[str, SetResult]] = {}

    @property
    def suite(self) -> SetSuite:
        """The distances of the running evaluation; networks are loaded when they are first needed, and once."""
        if self.stage not in self._suites:
            suite = set_extractors(self.names[self.stage])
            self._suites[self.stage] = suite
            for name, reason in suite.absent.items():
                rank_zero_warn(f"{name} is absent at {self.stage}: {reason}")
        return self._suites[self.stage]

    def start_evaluation(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Forget the last evaluation."""
        self._seen, self._results = [], {}

    def see_image(self, trainer: pl.Trainer, pl_module: pl.LightningModule, image: EvaluatedImage) -> None:
        """Write the features of one image and of its reconstruction."""
        finite = bool(image.step.x_hat.isfinite().all())
        self._seen.append((image.dataset, image.name, finite))
        for part in self.suite.extractors if finite else []:
            for side, picture in (("real", image.image), ("fake", image.step.x_hat)):
                write_array(self._file(part, image.dataset, side, image.name), part.features(picture))

    def finish_evaluation(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Compute on the first process, tell the others, log and write."""
        if not self.names[self.stage]:
            return
        # gathering waits for all processes, so all files are there; repeated images are the same file
        images = sorted(set(gather(self._seen)))
        if trainer.is_global_zero:
            origin = self.origin(trainer, pl_module)
            for dataset in sorted({dataset for dataset, _, _ in images}):
                seen = [(name, finite) for of, name, finite in images if of == dataset]
                self._results[dataset] = self._distances(dataset, seen)
                self._write(dataset, self._results[dataset], origin)
            shutil.rmtree(self._folder(), ignore_errors=True)
        self._results = gather([self._results])[0]
        for dataset, distances in self._results.items():
            for name, result in distances.items():
                self.log_mean(pl_module, f"{dataset}/{name}", result.value)

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print the distances."""
        metrics = [metric for part in self.suite.extractors for metric in part.metrics]
        if trainer.is_global_zero and metrics:
            rows = {
                dataset: [_shown(distances[metric.name].value) for metric in metrics]
                for dataset, distances in self._results.items()
            }
            print_table("Test, distances of the sets", [metric.label for metric in metrics], rows)

    def _distances(self, dataset: str, images: Sequence[tuple[str, bool]]) -> dict[str, SetResult]:
        results: dict[str, SetResult] = {}
        broken = [name for name, finite in images if not finite]
        for part in self.suite.extractors:

            def features(side: str, part: SetExtractor = part) -> Iterator[Features]:
                for name, _ in images:
                    yield np.load(self._file(part, dataset, side, name))

            for metric in part.metrics:
                if broken:
                    reason = f"{len(broken)} reconstructions are not finite, the first is {broken[0]}"
                    results[metric.name] = SetResult(None, None, reason, metric.protocol, 0, 0)
                else:
                    weights = part.extractor.weights
                    results[metric.name] = set_distance(metric.name, features("real"), features("fake"), weights)
        return results

    def _write(self, dataset: str, results: dict[str, SetResult], origin: Origin) -> None:
        entries = {}
        for name, result in results.items():
            entries[name] = {**result._asdict(), "protocol": result.protocol.facts()}
        document = {**origin._asdict(), "absent": self.suite.absent, "distances": entries, "versions": versions()}
        write_json(self.run_folder / "metrics" / f"{origin.stage}_{dataset}_sets.json", document)

    def _folder(self) -> Path:
        return self.run_folder / "metrics" / "features"

    def _file(self, part: SetExtractor, dataset: str, side: str, name: str) -> Path:
        return self._folder() / dataset / part.extractor.name / side / f"{name}.npy"


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
