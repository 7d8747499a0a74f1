"""The metrics of an evaluation, by name in its plan and loaded in every process that measures."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast, get_args

from lightning_codec.errors import UserError
from lightning_codec.metrics.features import SetExtractor, SetMetricName, set_extractors
from lightning_codec.metrics.protocol import Protocol
from lightning_codec.metrics.suite import ImageMetric, ImageMetricName, image_suite


class Instruments(NamedTuple):
    """Loaded metrics."""

    image: list[ImageMetric]
    sets: list[SetExtractor]
    absent: dict[str, str]
    """Why a metric that was asked for cannot be had."""


class MetricFacts(NamedTuple):
    """What a table or a plot has to know of a metric."""

    name: str
    label: str
    protocol: Protocol
    higher_is_better: bool
    of_sets: bool
    """One number for a set of images, not one for each."""


@dataclass(frozen=True)
class Measures:
    """The metrics that are asked for; it is sent to other processes."""

    image: tuple[ImageMetricName, ...]
    sets: tuple[SetMetricName, ...]

    @classmethod
    def named(cls, names: Sequence[str]) -> "Measures":
        """Tell image metrics from set metrics.

        Raises:
            UserError: an unknown name.
        """
        known = (*get_args(ImageMetricName), *get_args(SetMetricName))
        for name in names:
            if name not in known:
                raise UserError(f"metric {name!r}: it must be one of {', '.join(known)}")
        image = tuple(name for name in dict.fromkeys(names) if name in get_args(ImageMetricName))
        sets = tuple(name for name in dict.fromkeys(names) if name in get_args(SetMetricName))
        return cls(cast("tuple[ImageMetricName, ...]", image), cast("tuple[SetMetricName, ...]", sets))

    def load(self) -> Instruments:
        """Load the networks; nothing is downloaded."""
        suite = image_suite(self.image)
        sets = set_extractors(self.sets)
        return Instruments(suite.metrics, sets.extractors, {**suite.absent, **sets.absent})


def facts(instruments: Instruments) -> list[MetricFacts]:
    """The facts of all metrics that could be loaded, image metrics first."""
    found = [
        MetricFacts(metric.name, metric.label, metric.protocol, metric.higher_is_better, False)
        for metric in instruments.image
    ]
    for extractor in instruments.sets:
        found += [MetricFacts(m.name, m.label, m.protocol, False, True) for m in extractor.metrics]
    return found
