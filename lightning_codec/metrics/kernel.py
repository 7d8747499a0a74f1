"""The kernel distance of two sets of features (Bińkowski et al.: Demystifying MMD GANs, 2018), by torch-fidelity."""

import warnings
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

SUBSETS = 100
SUBSET_SIZE = 1000
SEED = 2020  # torch-fidelity's default


class KernelResult(NamedTuple):
    """A kernel distance; `mean` and `std` are None exactly where there is a `reason`."""

    mean: float | None
    std: float | None
    """Over the subsets."""
    reason: str | None
    n_real: int
    n_fake: int


def kernel_distance(real: npt.NDArray[np.float32], fake: npt.NDArray[np.float32]) -> KernelResult:
    """Squared maximum mean discrepancy, unbiased, cubic polynomial kernel: 100 subsets of 1000, a fixed seed.

    Args:
        real: features of the originals, [n, D]; may be mapped from a file.
        fake: those of the decoded pictures, [m, D].

    Returns:
        Mean and spread over the subsets, or the reason for none: fewer samples than a subset has, no package.
    """
    n_real, n_fake = len(real), len(fake)
    if min(n_real, n_fake) < SUBSET_SIZE:
        counts = f"{n_real} original and {n_fake} decoded patches"
        reason = f"too few samples: a subset has {SUBSET_SIZE}, there are {counts}"
        return KernelResult(None, None, reason, n_real, n_fake)
    try:
        from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, KEY_METRIC_KID_STD, kid_features_to_metric
    except ImportError as error:
        reason = f"{error}; install it with pip install 'lightning_codec[perceptual]'"
        return KernelResult(None, None, reason, n_real, n_fake)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*not writable.*")  # nothing writes to a file that is mapped
        tensors = torch.from_numpy(real), torch.from_numpy(fake)
    result = kid_features_to_metric(
        *tensors, kid_subsets=SUBSETS, kid_subset_size=SUBSET_SIZE, rng_seed=SEED, verbose=False
    )
    return KernelResult(result[KEY_METRIC_KID_MEAN], result[KEY_METRIC_KID_STD], None, n_real, n_fake)
