import numpy as np
import pytest
import torch

from lightning_codec.metrics import kernel
from lightning_codec.metrics.features import Features
from lightning_codec.metrics.kernel import kernel_distance

metric_kid = pytest.importorskip("torch_fidelity.metric_kid", reason="torch-fidelity is not installed")
DEFAULTS = pytest.importorskip("torch_fidelity.defaults").DEFAULTS


def features(n: int, seed: int) -> Features:
    return np.random.default_rng(seed).normal(0.1 * seed, 1.0, (n, 8)).astype(np.float32)


def test_subsets_of_all_samples_give_the_unbiased_estimate_itself(monkeypatch):
    """1000 samples on both sides: every subset is the whole set, so the value follows from the definition."""
    monkeypatch.setattr(kernel, "SUBSETS", 3)
    real, fake = features(1000, 1), features(1000, 2)
    x, y = real.astype(np.float64), fake.astype(np.float64)
    k_xx, k_yy, k_xy = ((a @ b.T / 8 + 1) ** 3 for a, b in ((x, x), (y, y), (x, y)))
    off_diagonal = sum((k.sum() - np.trace(k)) / (1000 * 999) for k in (k_xx, k_yy))
    result = kernel_distance(real, fake)
    assert result.mean == pytest.approx(off_diagonal - 2 * k_xy.mean(), abs=1e-5)
    assert result.mean is not None
    assert result.mean > 0.01
    assert result.std == pytest.approx(0.0, abs=1e-6)
    assert (result.reason, result.n_real, result.n_fake) == (None, 1000, 1000)


def test_it_is_torch_fidelitys_with_its_defaults(monkeypatch):
    assert (
        DEFAULTS["kid_subsets"],
        DEFAULTS["kid_subset_size"],
        DEFAULTS["rng_seed"],
    ) == (kernel.SUBSETS, kernel.SUBSET_SIZE, kernel.SEED)
    monkeypatch.setattr(kernel, "SUBSETS", 3)
    real, fake = features(1100, 1), features(1050, 2)
    expected = metric_kid.kid_features_to_metric(
        torch.from_numpy(real), torch.from_numpy(fake), kid_subsets=3, verbose=False
    )
    result = kernel_distance(real, fake)
    assert result.mean == expected[metric_kid.KEY_METRIC_KID_MEAN]
    assert result.std == expected[metric_kid.KEY_METRIC_KID_STD]
    assert result.std is not None
    assert result.std > 0


@pytest.mark.parametrize(("n_real", "n_fake"), [(999, 1000), (1000, 999)])
def test_fewer_samples_than_a_subset_are_refused_with_the_numbers(n_real: int, n_fake: int):
    result = kernel_distance(features(n_real, 1), features(n_fake, 2))
    assert result.mean is None
    assert result.std is None
    assert result.reason == (
        f"too few samples: a subset has 1000, there are {n_real} original and {n_fake} decoded patches"
    )
    assert (result.n_real, result.n_fake) == (n_real, n_fake)
