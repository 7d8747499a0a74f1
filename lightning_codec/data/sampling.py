"""Which sample comes when: pure functions of (seed, epoch, position), whatever the number of workers.

Training draws from one endless sequence of permutations of the files: draw number n is in pass n // items,
and every pass is a fresh permutation that depends on (seed, pass) alone. All random numbers come from Philox
counter generators [Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011], whose state is
addressed by (seed, stream, epoch, position) directly. Nothing is carried from sample to sample, so a run can
be entered at any position.
"""

import enum
import math
from collections.abc import Iterator, Sized
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from torch.utils.data import Dataset, DistributedSampler


class Stream(enum.IntEnum):
    """Independent streams of random numbers under one seed."""

    ORDER = 0
    CROP = 1
    DEAD_LEAVES = 2
    DEAD_LEAVES_EVALUATION = 3
    TRAINING_STEP = 4
    TRAINING_SAMPLE = 5


def generator(seed: int, stream: Stream, epoch: int, position: int) -> np.random.Generator:
    """A random generator addressed by position instead of history; two positions give disjoint sequences.

    Args:
        seed: 0 <= seed < 2**64.
        stream: what the numbers are used for.
        epoch: 0 <= epoch < 2**64.
        position: 0 <= position < 2**64.
    """
    # The generator counts in the two low words; position and epoch sit in the two high ones.
    key, counter = np.array([seed, stream], np.uint64), np.array([0, 0, position, epoch], np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


class SampleKey(NamedTuple):
    """What a training data set is indexed with.

    Attributes:
        epoch: number of the epoch, from 0.
        position: place in the epoch, from 0, counted over all processes.
        item: which file (or which procedural image) to take, 0 <= item < number of items.
    """

    epoch: int
    position: int
    item: int


def sample_key(key: SampleKey | int) -> SampleKey:
    """A plain index, as from Lightning's `overfit_batches`, stands for that item and position in epoch 0."""
    return SampleKey(0, key, key) if isinstance(key, int) else key


@lru_cache(maxsize=2)
def _permutation(seed: int, number: int, items: int) -> npt.NDArray[np.int64]:
    return generator(seed, Stream.ORDER, number, 0).permutation(items)


def item_at(seed: int, draw: int, items: int) -> int:
    """The item of a draw from the endless sequence of permutations; each pass holds every item once."""
    return int(_permutation(seed, draw // items, items)[draw % items])


class EpochSampler(DistributedSampler[SampleKey]):
    """Training order: yields a `SampleKey` for each sample of this process in the current epoch.

    The epoch has `samples` positions, rounded up to whole optimiser steps over all processes, so no batch is
    short and no file is left out. Process `rank` of `world_size` takes every `world_size`-th position from
    `rank` on: the union of the processes' k-th batches is the k-th batch of one process with a `world_size`
    times larger batch. Likewise `accumulation` batches are one that is so many times larger.

    It is a `DistributedSampler` so that Lightning does not wrap it in another one; Lightning calls
    `set_epoch`.

    Args:
        items: number of items of the data set, >= 1.
        samples: wished samples in an epoch over all processes; None takes every item once.
        batch_size: samples in a batch of one process.
        seed: of the permutations, 0 <= seed < 2**64.
        rank: of this process, 0 <= rank < world_size.
        world_size: number of processes.
        accumulation: batches of one process in an optimiser step.
    """

    def __init__(
        self,
        items: int,
        samples: int | None,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        accumulation: int = 1,
    ) -> None:
        super().__init__(_Items(items), num_replicas=world_size, rank=rank, seed=seed)
        self.items = items
        self.batch_size = batch_size
        self.world_size = world_size
        self.batches = accumulation * math.ceil((samples or items) / (batch_size * world_size * accumulation))
        self.start = 0

    @property
    def epoch_length(self) -> int:
        """Samples in an epoch over all processes."""
        return self.batches * self.batch_size * self.world_size

    def set_epoch(self, epoch: int) -> None:
        """Go to the start of an epoch; the current epoch keeps the position it was entered at."""
        if epoch != self.epoch:
            self.epoch, self.start = epoch, 0

    def enter(self, epoch: int, batch: int) -> None:
        """Resume: the next iteration starts at this batch of this epoch, later epochs at their first."""
        self.epoch, self.start = epoch, batch * self.batch_size

    def __len__(self) -> int:
        """Samples of this process in a whole epoch, also when it is entered in the middle."""
        return self.batches * self.batch_size

    def __iter__(self) -> Iterator[SampleKey]:
        epoch = self.epoch
        for local in range(self.start, len(self)):
            position = local * self.world_size + self.rank
            item = item_at(self.seed, epoch * self.epoch_length + position, self.items)
            yield SampleKey(epoch, position, item)


class ShardSampler(DistributedSampler[int]):
    """Evaluation order: every item exactly once over all processes, neither padded nor repeated.

    Process `rank` takes the items rank, rank + world_size, ...; the shares differ by at most one item.

    Args:
        items: number of items of the data set.
        rank: of this process, 0 <= rank < world_size.
        world_size: number of processes.
        repeat: a process for which no item is left takes one that another has too. Lightning skips an evaluation of
            nothing, hooks and all, while the other processes wait in theirs for what it has to say.
    """

    def __init__(self, items: int, rank: int = 0, world_size: int = 1, repeat: bool = False) -> None:
        super().__init__(_Items(items), num_replicas=world_size, rank=rank, shuffle=False)
        first = rank % items if repeat and items else rank
        self.share = range(first, items, world_size)

    def __len__(self) -> int:
        """Items of this process."""
        return len(self.share)

    def __iter__(self) -> Iterator[int]:
        return iter(self.share)


class _Items(Dataset[SampleKey], Sized):
    """A length, which is all that `DistributedSampler` asks of its data set."""

    def __init__(self, items: int) -> None:
        self.items = items

    def __len__(self) -> int:
        return self.items
