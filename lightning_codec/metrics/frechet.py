"""The Fréchet distance of two sets of features (Heusel et al.: GANs trained by a two time-scale update rule, 2017)."""

from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

LEAST_FACTOR = 2  # samples for each dimension of the features


class FrechetResult(NamedTuple):
    """A Fréchet distance; exactly one of `value` and `reason` is None."""

    value: float | None
    reason: str | None
    n_real: int
    n_fake: int


def frechet_distance(mean_1: Tensor, covariance_1: Tensor, mean_2: Tensor, covariance_2: Tensor) -> float:
    """|m_1 - m_2|^2 + tr(C_1 + C_2 - 2 (C_1 C_2)^(1/2)) of means [D] and covariances [D, D], float64.

    The last trace is the sum of the singular values of C_1^(1/2) C_2^(1/2). The eigenvalues of C_1 C_2 would need a
    root after the rounding: for equal and singular arguments their error is 1e-8 rather than 1e-15 of the largest.
    """
    covariance = torch.linalg.svdvals(_root(covariance_1) @ _root(covariance_2)).sum()
    distance = (mean_1 - mean_2).square().sum() + covariance_1.trace() + covariance_2.trace() - 2.0 * covariance
    return max(0.0, float(distance))


def _root(covariance: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(covariance)
    root: Tensor = (vectors * values.clamp(min=0.0).sqrt()) @ vectors.T
    return root


class FrechetDistance(Metric):
    """Fréchet distance of real and reconstructed features, from sums in float64: no feature is kept.

    `update(features, real)` takes [n, D]; `compute()` returns a `FrechetResult`, without a value unless there are
    2 D features or more on both sides. With D or fewer the covariances are singular; with few more the distance is not
    even in the order of the codecs' quality. It is biased at any number: compare what has the same one.

    Args:
        dimensions: D.
    """

    full_state_update = False
    real_sum: Tensor
    real_products: Tensor
    n_real: Tensor
    fake_sum: Tensor
    fake_products: Tensor
    n_fake: Tensor

    def __init__(self, dimensions: int) -> None:
        super().__init__()
        self.dimensions = dimensions
        for side in ("real", "fake"):
            self.add_state(f"{side}_sum", torch.zeros(dimensions, dtype=torch.float64), dist_reduce_fx="sum")
            products = torch.zeros(dimensions, dimensions, dtype=torch.float64)
            self.add_state(f"{side}_products", products, dist_reduce_fx="sum")
            self.add_state(f"n_{side}", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, features: Tensor, real: bool) -> None:
        """Add features [n, D] of the originals (`real`) or of the decoded pictures.

        Raises:
            ValueError: another shape, or a value that is not finite.
        """
        if features.dim() != 2 or features.shape[1] != self.dimensions:
            raise ValueError(f"features must be [n, {self.dimensions}], not {tuple(features.shape)}")
        if not bool(features.isfinite().all()):
            raise ValueError("features must be finite")
        features = features.detach().to(self.real_sum.device, torch.float64)
        sums, products = features.sum(0), features.T @ features
        if real:
            self.real_sum += sums
            self.real_products += products
            self.n_real += len(features)
        else:
            self.fake_sum += sums
            self.fake_products += products
            self.n_fake += len(features)

    def compute(self) -> FrechetResult:
        """Return the distance of what was added so far, or the reason for none."""
        n_real, n_fake = int(self.n_real), int(self.n_fake)
        least = LEAST_FACTOR * self.dimensions
        if min(n_real, n_fake) < least:
            counts = f"{n_real} original and {n_fake} decoded patches"
            reason = f"too few samples: {least} are needed on both sides, there are {counts}"
            return FrechetResult(None, reason, n_real, n_fake)
        real = _statistics(self.real_sum.cpu(), self.real_products.cpu(), n_real)
        fake = _statistics(self.fake_sum.cpu(), self.fake_products.cpu(), n_fake)
        return FrechetResult(frechet_distance(*real, *fake), None, n_real, n_fake)


def _statistics(sums: Tensor, products: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Mean [D] and unbiased covariance [D, D] from sums of n samples."""
    mean = sums / n
    return mean, (products - n * torch.outer(mean, mean)) / (n - 1)
