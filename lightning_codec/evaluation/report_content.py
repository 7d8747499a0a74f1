"""What a report says: the tables, curves and pictures of an evaluation, ready to be shown."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from lightning_codec.evaluation.bd_rate import BDRow
from lightning_codec.evaluation.curves import Curve
from lightning_codec.evaluation.measures import MetricFacts
from lightning_codec.evaluation.report_pictures import PictureSet
from lightning_codec.metrics.suite import Value
from lightning_codec.provenance import Provenance


class TableRow(NamedTuple):
    """The means of a setting over the images of the set."""

    codec: str
    setting: str
    images: int
    """How many images it has coded."""
    is_complete: bool
    """It has coded all images of the set; else its means are not those of the set."""
    bpp: float
    values: Mapping[str, Value]
    """Mean by metric, of image metrics and of distances between sets; a metric that is not there has no value."""
    counts: Mapping[str, int]
    """How many images have a value, by image metric."""
    encode_seconds: float
    decode_seconds: float


class SetRow(NamedTuple):
    """A distance between the decoded pictures of a setting and the originals; `value` or `reason` is None."""

    codec: str
    setting: str
    metric: str
    value: float | None
    std: float | None
    reason: str | None
    n_real: int
    n_fake: int


class ReportContent(NamedTuple):
    """All that a report says."""

    title: str
    dataset: str
    images: int
    """In the set."""
    command: str
    provenance: Provenance
    threads: int
    """Of each process that measured."""
    codecs: Mapping[str, str]
    """How each codec is used, by its name, in the order of their colours."""
    metrics: Sequence[MetricFacts]
    """In the order of columns and plots."""
    rows: Sequence[TableRow]
    set_rows: Sequence[SetRow]
    curves: Sequence[Curve]
    """Measured and published ones, of all metrics."""
    bd_rates: Sequence[BDRow]
    absent: Mapping[str, str]
    """Why a metric or a codec ("codec:setting") that was asked for could not be had."""
    failures: Sequence[tuple[str, str]]
    """What failed, and the error."""
    pictures: Sequence[PictureSet]
