"""Random numbers of the training, addressed by where a sample stands and not by what was drawn before.

Every number is a function of the run's seed, the epoch and a position in the training order, as order and crops are
(`lightning_codec.data.sampling`). Nothing is carried from step to step: a resumed run draws what an uninterrupted one
would have drawn, and a picture meets the same noise in one process, in several, and in accumulated batches.
"""

import os
from collections.abc import Sequence

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor

from lightning_codec.data.sampling import Stream, generator


class BatchNoise:
    """The random numbers of one training batch.

    An optimiser step takes S = batch_size * world_size * accumulation samples. The i-th one of a batch has the index
    ((batch_idx mod accumulation) * batch_size + i) * world_size + rank among them, as `EpochSampler` hands them out;
    all batches are taken to be equally large. Numbers of samples are drawn on `device` by a generator for each, and
    differ between kinds of devices as those of torch do.

    Attributes:
        indices: of the batch's samples in the optimiser step, int64 [batch_size], on the CPU.
        step_size: S.
        choices: generator of what is chosen once for an optimiser step, the same in all its batches and processes.

    Args:
        seed: of the run, 0 <= seed < 2**64.
        epoch: from 0.
        batch_idx: number of the batch in the epoch, of this process.
        batch_size: samples in it.
        rank: of this process.
        world_size: number of processes.
        accumulation: batches of one process in an optimiser step.
        device: where numbers of samples are drawn.
    """

    def __init__(
        self,
        seed: int,
        epoch: int,
        batch_idx: int,
        batch_size: int,
        rank: int = 0,
        world_size: int = 1,
        accumulation: int = 1,
        device: torch.device | None = None,
    ) -> None:
        step, number = divmod(batch_idx, accumulation)
        self.indices = (number * batch_size + torch.arange(batch_size)) * world_size + rank
        self.step_size = batch_size * world_size * accumulation
        first = step * self.step_size
        self.choices = generator(seed, Stream.TRAINING_STEP, epoch, first)
        self._generators = [
            _torch_generator(generator(seed, Stream.TRAINING_SAMPLE, epoch, first + index), device)
            for index in self.indices.tolist()
        ]

    def normal(self, shape: Sequence[int], rows: Sequence[int] | None = None) -> Tensor:
        """N(0, 1), float32; every call goes on where the last one stopped.

        Args:
            shape: [B, ...], B the samples of the batch, or of `rows`.
            rows: only these samples of the batch.
        """
        chosen = self._generators if rows is None else [self._generators[row] for row in rows]
        return torch.stack([torch.randn(*shape[1:], generator=g, device=g.device) for g in chosen])

    def uniform(self, shape: Sequence[int]) -> Tensor:
        """U(-1/2, 1/2), float32 [B, ...]; every call goes on where the last one stopped."""
        return torch.stack([torch.rand(*shape[1:], generator=g, device=g.device) for g in self._generators]) - 0.5


def batch_noise(trainer: pl.Trainer | None, batch_idx: int, batch: Tensor) -> BatchNoise:
    """The random numbers of the batch [B, ...] that a Trainer works on; without one, those of the first epoch.

    The seed is that of `seed_everything`, 0 where it was not called.
    """
    seed = int(os.environ.get("PL_GLOBAL_SEED", "0"))
    if trainer is None:
        return BatchNoise(seed, 0, batch_idx, len(batch), device=batch.device)
    return BatchNoise(
        seed,
        trainer.current_epoch,
        batch_idx,
        len(batch),
        trainer.global_rank,
        trainer.world_size,
        trainer.accumulate_grad_batches,
        batch.device,
    )


def spread(count: int, total: int, offset: int) -> Tensor:
    """Choose `count` of `total` so that every stretch and every residue class holds about its share: bool [total].

    The golden section scatters them: neither the batches of a step nor its processes get all the work.

    Args:
        count: how many, 0 <= count <= total.
        total: of how many, >= 1.
        offset: 0 <= offset < total; over all of them everyone is chosen equally often.
    """
    golden = round(total * (5**0.5 - 1) / 2)
    stride = next(s for s in range(max(1, golden), 2 * total) if np.gcd(s, total) == 1)
    return (torch.arange(total) * stride + offset) % total < count


def mean_over_processes(trainer: pl.Trainer | None, values: dict[str, Tensor]) -> dict[str, Tensor]:
    """Scalars, detached, each averaged over all processes, in one exchange; all of them must call it with the same."""
    detached = {name: value.detach() for name, value in values.items()}
    if trainer is None or trainer.world_size == 1:
        return detached
    stacked = torch.stack([value.float() for value in detached.values()])
    means = trainer.strategy.reduce(stacked, reduce_op="mean")
    assert isinstance(means, Tensor)
    return dict(zip(detached, means.unbind(), strict=True))


def _torch_generator(source: np.random.Generator, device: torch.device | None) -> torch.Generator:
    seed = int(source.integers(2**63))
    return torch.Generator(device or "cpu").manual_seed(seed)
