"""The units of work of an evaluation, and the bench on which a process does them one after another."""

import math
import time
from collections import OrderedDict
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lightning_codec.errors import UserError
from lightning_codec.evaluation.baselines import BaselineCodec
from lightning_codec.evaluation.measures import Instruments, Measures
from lightning_codec.evaluation.settings import CodecSetting
from lightning_codec.evaluation.store import Store
from lightning_codec.images import read_image, to_uint8
from lightning_codec.metrics.features import Features, SetMetricName
from lightning_codec.metrics.sets import set_distance
from lightning_codec.provenance import Provenance

ENGINE_VERSION = 1
"""Changes when the same unit would give another result."""
CODECS_KEPT = 2
"""Per process. Units come ordered by setting, so that more would only take memory."""
WARM_UP_SIDE = 64
"""Pixels of the square that a codec codes before its times count."""


class SourceImage(NamedTuple):
    """An image of the set."""

    name: str
    """Path relative to the root of the set, posix."""
    path: Path
    digest: str
    """SHA-256 of the file."""
    pixels: int


class OriginalUnit(NamedTuple):
    """Read an original, and compute its features."""

    key: str
    image: SourceImage

    @property
    def label(self) -> str:
        """For messages."""
        return f"original {self.image.name}"


class CodedUnit(NamedTuple):
    """Code an image, decode the file, measure the picture."""

    key: str
    setting: CodecSetting
    image: SourceImage

    @property
    def label(self) -> str:
        """For messages."""
        return f"{self.setting.codec} {self.setting.setting} {self.image.name}"


class DistanceUnit(NamedTuple):
    """The distance of all pictures of a setting from the originals."""

    key: str
    metric: SetMetricName
    codec: str
    setting: str
    network: str
    weights: str
    """Hash of the network."""
    real: tuple[str, ...]
    """Keys of the units of the originals, in the order of their names."""
    fake: tuple[str, ...]

    @property
    def label(self) -> str:
        """For messages."""
        return f"{self.metric} of {self.codec} {self.setting}"


Unit = OriginalUnit | CodedUnit | DistanceUnit


class Bench:
    """What a process needs for its units: networks of the metrics, the last few codecs, the store.

    Args:
        store: where finished units go.
        measures: the metrics.
        provenance: written into every record.
        threads: of torch, which is told of them here.
    """

    def __init__(self, store: Store, measures: Measures, provenance: Provenance, threads: int) -> None:
        self.store = store
        self.measures = measures
        self.provenance = provenance
        self.threads = threads
        torch.set_num_threads(threads)
        self._codecs: OrderedDict[tuple[str, str], BaselineCodec] = OrderedDict()

    @cached_property
    def instruments(self) -> Instruments:
        """The metrics, loaded when first needed."""
        return self.measures.load()

    def do(self, unit: Unit) -> None:
        """Do one unit and write all of it.

        Raises:
            Exception: whatever the codec, the metrics or the disk raise; nothing of the unit counts as finished then.
        """
        if isinstance(unit, CodedUnit):
            self._code(unit)
        elif isinstance(unit, OriginalUnit):
            self._read(unit)
        else:
            self._distance(unit)

    def _read(self, unit: OriginalUnit) -> None:
        image = read_image(unit.image.path)
        self._keep(unit.key, image)
        self.store.finish(unit.key, {"unit": unit.label})

    def _code(self, unit: CodedUnit) -> None:
        image = read_image(unit.image.path)
        codec = self._codec(unit.setting)
        start = time.perf_counter()
        data = codec.compress(image)
        coded = time.perf_counter()
        decoded = codec.decompress(data)
        done = time.perf_counter()
        if decoded.shape != image.shape:
            raise UserError(f"the decoded picture is of shape {list(decoded.shape)}, the original {list(image.shape)}")
        x_hat = to_uint8(decoded).float() / 255
        values: dict[str, float | None] = {}
        reasons: dict[str, str] = {}
        for metric in self.instruments.image:
            value, reason = metric(x_hat, image)
            if value is not None and not math.isfinite(value):
                value, reason = None, f"not finite: {value}"
            values[metric.name] = value
            if reason is not None:
                reasons[metric.name] = reason
        self._keep(unit.key, x_hat)
        _, height, width = image.shape
        record = {
            "unit": unit.label,
            "height": height,
            "width": width,
            "bytes": len(data),
            "bpp": 8 * len(data) / (height * width),
            "values": values,
            "reasons": reasons,
            "encode_seconds": coded - start,
            "decode_seconds": done - coded,
            "threads": 1 if unit.setting.single_thread else self.threads,
            **self.provenance._asdict(),
        }
        self.store.finish(unit.key, record)

    def _distance(self, unit: DistanceUnit) -> None:
        real, fake = self._stored(unit.real, unit.network), self._stored(unit.fake, unit.network)
        result = set_distance(unit.metric, real, fake, unit.weights)
        record = {
            "unit": unit.label,
            "value": result.value,
            "std": result.std,
            "reason": result.reason,
            "n_real": result.n_real,
            "n_fake": result.n_fake,
        }
        self.store.finish(unit.key, record)

    def _keep(self, key: str, picture: Tensor) -> None:
        """Write a picture and its features."""
        self.store.write_picture(key, picture)
        for extractor in self.instruments.sets:
            self.store.write_features(key, extractor.extractor.name, extractor.features(picture))

    def _stored(self, keys: tuple[str, ...], network: str) -> Iterator[Features]:
        for key in keys:
            yield np.load(self.store.features(key, network), allow_pickle=False)

    def _codec(self, setting: CodecSetting) -> BaselineCodec:
        """A codec that has coded something small, so that tables and caches are made before its time counts."""
        name = (setting.codec, setting.setting)
        if name not in self._codecs:
            while len(self._codecs) >= CODECS_KEPT:
                self._codecs.popitem(last=False)
            codec = setting.source.load()
            codec.decompress(codec.compress(torch.full((3, WARM_UP_SIDE, WARM_UP_SIDE), 0.5)))
            self._codecs[name] = codec
        self._codecs.move_to_end(name)
        return self._codecs[name]
