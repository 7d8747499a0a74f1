"""Distances between sets of pictures from the features of each picture, whatever the number of pictures."""

import tempfile
from collections.abc import Iterable
from typing import IO, NamedTuple

import numpy as np
import torch

from lightning_codec.metrics.features import Features, SetMetricName, set_metric
from lightning_codec.metrics.frechet import FrechetDistance
from lightning_codec.metrics.kernel import kernel_distance
from lightning_codec.metrics.protocol import Protocol


class SetResult(NamedTuple):
    """A distance between two sets; exactly one of `value` and `reason` is None."""

    value: float | None
    std: float | None
    """Spread over the subsets, of a kernel distance."""
    reason: str | None
    protocol: Protocol
    n_real: int
    """Patches of the originals."""
    n_fake: int
    """Patches of the decoded pictures."""


def set_distance(name: SetMetricName, real: Iterable[Features], fake: Iterable[Features], weights: str) -> SetResult:
    """The distance of decoded pictures from their originals.

    Args:
        name: of the distance.
        real: features of each original, [n, D], in the order of the pictures' names; they are taken one by one, so
            an iterable that reads files keeps the memory flat.
        fake: those of the decoded pictures, in the same order.
        weights: hash of the network that made them (`FeatureExtractor.weights`).
    """
    protocol = set_metric(name, weights).protocol
    if name == "kid256":
        with tempfile.TemporaryFile() as first, tempfile.TemporaryFile() as second:
            kernel = kernel_distance(_mapped(real, first), _mapped(fake, second))
        return SetResult(kernel.mean, kernel.std, kernel.reason, protocol, kernel.n_real, kernel.n_fake)
    metric: FrechetDistance | None = None
    for features, is_real in ((real, True), (fake, False)):
        for array in features:
            metric = metric or FrechetDistance(array.shape[1])
            metric.update(torch.from_numpy(np.ascontiguousarray(array)), is_real)
    if metric is None:
        return SetResult(None, None, "there are no pictures", protocol, 0, 0)
    result = metric.compute()
    return SetResult(result.value, None, result.reason, protocol, result.n_real, result.n_fake)


def _mapped(features: Iterable[Features], file: IO[bytes]) -> Features:
    """Features of all pictures as one array [n, D] that lies in a file."""
    dimensions = 1
    for array in features:
        dimensions = array.shape[1]
        file.write(np.ascontiguousarray(array, dtype=np.float32).tobytes())
    file.flush()
    if file.tell() == 0:
        return np.empty((0, dimensions), np.float32)
    return np.memmap(file, np.float32, mode="r").reshape(-1, dimensions)
