"""The training data loader."""

import logging
import signal
from types import FrameType

from torch import Tensor
from torch.utils.data import DataLoader

from lightning_codec.data.sampling import EpochSampler

logger = logging.getLogger(__name__)


class TrainingLoader(DataLoader[Tensor]):
    """A data loader that tells a checkpoint what fixes its order, and a resumed run if that has changed.

    Lightning stores `state_dict` in every checkpoint and loads it before the first batch of a resumed run.
    The position in the epoch is not part of it: `CompressionDataModule.train_dataloader` reads it from the
    Trainer.
    """

    def state_dict(self) -> dict[str, int]:
        """Seed, number of items and epoch length in samples; empty if Lightning has replaced the sampler."""
        sampler = self.sampler
        if not isinstance(sampler, EpochSampler):  # Trainer(overfit_batches=...)
            return {}
        return {"seed": sampler.seed, "items": sampler.items, "epoch_length": sampler.epoch_length}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Warn about every value that differs from that of the run which is being resumed."""
        for key, now in self.state_dict().items():
            if state.get(key) != now:
                logger.warning("resumed with another training order: %s was %s and is now %s", key, state.get(key), now)


def heed_the_main_process_alone(worker: int) -> None:
    """For `worker_init_fn`: ignore signals that a cluster or a terminal sends to every process of a job.

    The main process finishes its step on them and writes a checkpoint, for which it needs its workers. They leave when
    it does. As it may have to end a worker that hangs, SIGTERM is ignored once only.
    """
    for signum in (signal.SIGINT, signal.SIGUSR1):
        signal.signal(signum, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _not_again)


def _not_again(signum: int, frame: FrameType | None) -> None:
    signal.signal(signum, signal.SIG_DFL)
