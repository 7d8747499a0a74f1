import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_codec.metrics.frechet import FrechetDistance, frechet_distance


def features(n: int, dimensions: int, seed: int) -> Tensor:
    """Correlated float32 features, off the origin as those behind a ReLU are."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(dimensions, dimensions, generator=torch.Generator().manual_seed(7))
    return (torch.randn(n, dimensions, generator=generator) @ mixing).abs() + 0.1 * seed


def distance(real: Tensor, fake: Tensor, chunk: int = 1000) -> float:
    metric = FrechetDistance(real.shape[1])
    for part in real.split(chunk):
        metric.update(part, real=True)
    for part in fake.split(chunk):
        metric.update(part, real=False)
    value, reason, n_real, n_fake = metric.compute()
    assert reason is None
    assert (n_real, n_fake) == (len(real), len(fake))
    assert value is not None
    return value


def test_it_is_torch_fidelitys_on_the_same_features():
    metric_fid = pytest.importorskip("torch_fidelity.metric_fid", reason="torch-fidelity is not installed")
    real, fake = features(300, 48, 1), features(200, 48, 2)
    statistics = [metric_fid.fid_features_to_statistics(x.double()) for x in (real, fake)]
    expected = metric_fid.fid_statistics_to_metric(*statistics, verbose=False)[metric_fid.KEY_METRIC_FID]
    assert expected > 1
    assert distance(real, fake) == pytest.approx(expected, rel=1e-9)


def test_of_gaussians_along_the_same_axes_it_is_the_difference_of_means_and_deviations():
    """|m1 - m2|^2 + sum (s1 - s2)^2 where the covariances share their eigenvectors."""
    axes, _ = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    m1, m2 = torch.tensor([[0.0, 1, 2, 3, 4], [1.0, 1, 0, 3, 2]], dtype=torch.float64)
    s1, s2 = torch.tensor([[1.0, 2, 3, 0.5, 0], [2.0, 2, 1, 0.1, 0]], dtype=torch.float64)
    c1, c2 = ((axes * s.square()) @ axes.T for s in (s1, s2))
    assert frechet_distance(m1, c1, m2, c2) == pytest.approx((1 + 4 + 4) + (1 + 4 + 0.16), abs=1e-10)


def test_the_product_of_covariances_that_do_not_commute():
    """For 2 x 2, tr (A B)^(1/2) = (tr AB + 2 (det AB)^(1/2))^(1/2)."""
    a = torch.tensor([[2.0, 1.0], [1.0, 3.0]], dtype=torch.float64)
    b = torch.tensor([[5.0, -2.0], [-2.0, 1.0]], dtype=torch.float64)
    root = ((a @ b).trace() + 2 * (a @ b).det().sqrt()).sqrt()
    zero = torch.zeros(2, dtype=torch.float64)
    assert frechet_distance(zero, a, zero, b) == pytest.approx(float(5 + 6 - 2 * root), abs=1e-12)


def test_the_covariances_are_numpys_and_large_means_do_not_harm_them():
    real, fake = features(80, 6, 1) + 100.0, features(90, 6, 2) + 100.0
    a, b = real.double().numpy(), fake.double().numpy()
    moments = [torch.from_numpy(m) for x in (a, b) for m in (x.mean(0), np.cov(x, rowvar=False))]
    assert distance(real, fake) == pytest.approx(frechet_distance(*moments), rel=1e-8)


@pytest.mark.parametrize("rank", [64, 20])
def test_a_set_is_at_distance_zero_from_itself_even_where_features_are_redundant(rank: int):
    x = 10 * features(500, 64, 1)  # variances of a thousand and more: a root of rounding errors would be seen
    x[:, rank:] = x[:, : 64 - rank]
    assert distance(x, x) == pytest.approx(0.0, abs=1e-6)
    assert distance(x, x.flip(0), chunk=7) == pytest.approx(0.0, abs=1e-6)
    assert distance(x.double(), x.double() + 0.01) == pytest.approx(64 * 0.01**2, rel=1e-5)


def test_neither_the_order_nor_the_batches_matter():
    real, fake = features(120, 16, 1), features(110, 16, 2)
    whole = distance(real, fake)
    assert distance(real, fake, chunk=1) == pytest.approx(whole, rel=1e-10)
    assert distance(real[torch.randperm(120)], fake.flip(0), chunk=13) == pytest.approx(whole, rel=1e-10)
    assert distance(fake, real) == pytest.approx(whole, rel=1e-10)


def test_it_keeps_sums_in_float64_and_no_feature():
    metric = FrechetDistance(16)
    sizes = []
    for n in (10, 1000):
        metric.update(features(n, 16, 1), real=True)
        sums = (metric.real_sum, metric.real_products, metric.fake_sum, metric.fake_products)
        assert {state.dtype for state in sums} == {torch.float64}
        sizes.append(sum(torch.as_tensor(state).numel() for state in metric.metric_state.values()))
    assert sizes == [2 * (16 + 16 * 16 + 1)] * 2
    assert all(reduction is torch.sum or "sum" in str(reduction) for reduction in metric._reductions.values())


@pytest.mark.parametrize(("n_real", "n_fake"), [(31, 100), (100, 31), (0, 100)])
def test_too_few_samples_are_refused_with_the_numbers(n_real: int, n_fake: int):
    metric = FrechetDistance(16)
    metric.update(features(n_real, 16, 1), real=True)
    metric.update(features(n_fake, 16, 2), real=False)
    reason = f"too few samples: 32 are needed on both sides, there are {n_real} original and {n_fake} decoded patches"
    assert metric.compute() == (None, reason, n_real, n_fake)
    metric.update(features(32 - min(n_real, n_fake), 16, 3), real=n_real < 32)
    assert metric.compute().value is not None


def test_wrong_features_are_refused():
    with pytest.raises(ValueError, match=r"\[n, 16\], not \(4, 15\)"):
        FrechetDistance(16).update(torch.zeros(4, 15), real=True)
    with pytest.raises(ValueError, match="finite"):
        FrechetDistance(2).update(torch.tensor([[0.0, torch.nan]]), real=True)
