import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_codec.metrics import kernel
from lightning_codec.metrics.features import Features
from lightning_codec.metrics.frechet import FrechetDistance
from lightning_codec.metrics.kernel import kernel_distance
from lightning_codec.metrics.sets import set_distance

HASH = "0123456789ab"


def pictures(seed: int, counts: list[int]) -> list[Features]:
    generator = np.random.default_rng(seed)
    return [generator.normal(0.1 * seed, 1.0, (n, 8)).astype(np.float32) for n in counts]


def test_frechet_of_pictures_is_that_of_all_their_patches():
    real, fake = pictures(1, [5, 0, 30]), pictures(2, [7, 21])
    metric = FrechetDistance(8)
    metric.update(torch.from_numpy(np.concatenate(real)), real=True)
    metric.update(torch.from_numpy(np.concatenate(fake)), real=False)
    result = set_distance("frechet_vgg64", real, fake, HASH)
    assert result.value == pytest.approx(metric.compute().value, rel=1e-10)
    assert (result.reason, result.std, result.n_real, result.n_fake) == (None, None, 35, 28)
    assert result.protocol.key == f"frechet-vgg64-v1@{HASH}"
    assert set_distance("fid256", real, fake, HASH).protocol.key == f"fid256-hific-v1@{HASH}"


def test_kid_of_pictures_is_that_of_all_their_patches_in_their_order(monkeypatch):
    pytest.importorskip("torch_fidelity", reason="torch-fidelity is not installed")
    monkeypatch.setattr(kernel, "SUBSETS", 2)
    real, fake = pictures(1, [400, 0, 700]), pictures(2, [1000, 10])
    expected = kernel_distance(np.concatenate(real), np.concatenate(fake))
    result = set_distance("kid256", real, fake, HASH)
    assert (result.value, result.std) == (expected.mean, expected.std)
    assert (result.n_real, result.n_fake) == (1100, 1010)
    assert result.protocol.key == f"kid256-hific-v1@{HASH}"


@pytest.mark.parametrize("name", ["fid256", "kid256", "frechet_vgg64"])
def test_one_picture_is_held_at_a_time(name):
    living: list[weakref.ref[Features]] = []

    def stream() -> Iterator[Features]:
        for array in map(np.copy, pictures(1, [4, 4, 4, 4])):
            assert sum(reference() is not None for reference in living) <= 1
            living.append(weakref.ref(array))
            yield array
            del array

    assert set_distance(name, stream(), stream(), HASH).n_real == 16


def test_features_may_lie_in_files(tmp_path: Path):
    for index, array in enumerate(pictures(1, [9, 9])):
        np.save(tmp_path / f"{index}.npy", array)
    files = sorted(tmp_path.iterdir())
    mapped = set_distance("frechet_vgg64", (np.load(f, mmap_mode="r") for f in files), map(np.load, files), HASH)
    assert mapped.value == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("name", ["fid256", "kid256"])
@pytest.mark.parametrize("counts", [[], [0, 0], [3]])
def test_no_pictures_and_too_few_patches_are_a_reason(name, counts):
    result = set_distance(name, pictures(1, counts), pictures(2, counts), HASH)
    assert result.value is None
    assert result.reason is not None
    assert "no pictures" in result.reason or f"{sum(counts)} original" in result.reason
    assert (result.n_real, result.n_fake) == (sum(counts), sum(counts))
