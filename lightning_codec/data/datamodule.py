"""`CompressionDataModule`: every data loader of the project."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from lightning.pytorch import LightningDataModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from lightning_codec.data.contents import contents_of
from lightning_codec.data.dead_leaves import DeadLeavesTrainingSet
from lightning_codec.data.folder import FolderEvaluationSet, FolderTrainingSet
from lightning_codec.data.inputs import InputSet
from lightning_codec.data.kodak import download_kodak
from lightning_codec.data.loader import TrainingLoader, heed_the_main_process_alone
from lightning_codec.data.named_sets import EvaluationSet, evaluation_sets
from lightning_codec.data.sampling import EpochSampler, ShardSampler
from lightning_codec.data.types import NamedImage, PredictInput
from lightning_codec.errors import UserError
from lightning_codec.processes import Processes

T = TypeVar("T")


class CompressionDataModule(LightningDataModule):
    """Training crops, and whole images for validation, test and prediction.

    Training batches are float32 [batch_size, 3, crop_size, crop_size] in [0, 1]; evaluation batches are
    `NamedImage`s, one whole image each. What is drawn depends on `seed`, the epoch and the position in it,
    never on `num_workers`; a run that is resumed from a checkpoint continues at the batch where it stopped,
    also in the middle of an epoch.

    Args:
        train_folders: folders with photographs, searched recursively; empty or None: procedural dead leaves
            images.
        eval_sets: sets for validation and test: names (kodak, clic2020, dead_leaves) or folders.
        test_sets: sets for test where they differ from `eval_sets`.
        predict_inputs: files and folders for prediction, of images that are coded or of `.lcb` files that are decoded.
        data_root: folder that holds the named sets, each in a folder of its name.
        crop_size: side of the training crops in pixels.
        batch_size: training crops in a batch of one process.
        samples_per_epoch: crops in an epoch over all processes, rounded up to whole optimiser steps; None: each
            file once.
        downscale: smallest and largest factor of the lengths by which JPEG sources are downscaled, such as
            [0.6, 0.8].
        num_workers: processes that prepare training crops; evaluation images are read by the main process.
        seed: of order, crops, flips and procedural images.
        cache: keep all decoded training photographs in memory, 3 bytes a pixel.
        download: fetch the Kodak images to `data_root` if they are wanted and missing.
        eval_limit: during training, evaluate only this many images of each set, the first ones; a test is of all.

    Raises:
        UserError: an argument is out of its range, or (in `setup`) images are missing.
    """

    def __init__(
        self,
        train_folders: list[str] | None = None,
        eval_sets: Sequence[str] = ("dead_leaves",),
        test_sets: list[str] | None = None,
        predict_inputs: list[str] | None = None,
        data_root: str = "data",
        crop_size: int = 128,
        batch_size: int = 8,
        samples_per_epoch: int | None = None,
        downscale: tuple[float, float] | None = None,
        num_workers: int = 2,
        seed: int = 0,
        cache: bool = False,
        download: bool = False,
        eval_limit: int | None = None,
    ) -> None:
        super().__init__()
        # Where there are fewer inputs than processes, some predict none. (Not a class attribute: Lightning sets it on
        # every object.)
        self.allow_zero_length_dataloader_with_multiple_devices = True
        _at_least("crop_size", crop_size, 1)
        _at_least("batch_size", batch_size, 1)
        _at_least("num_workers", num_workers, 0)
        _at_least("seed", seed, 0)
        _at_least("samples_per_epoch", samples_per_epoch, 1)
        _at_least("eval_limit", eval_limit, 1)
        if downscale is not None and not 0 < downscale[0] <= downscale[1] <= 1:
            raise UserError(f"data.downscale is {list(downscale)}: must be [smallest, largest], 0 < both <= 1")
        self.train_folders = train_folders
        self.eval_sets = list(eval_sets)
        self.test_sets = self.eval_sets if test_sets is None else test_sets
        self.predict_inputs = predict_inputs or []
        self.data_root = Path(data_root)
        self.crop_size, self.batch_size = crop_size, batch_size
        self.samples_per_epoch, self.downscale = samples_per_epoch, downscale
        self.num_workers, self.seed, self.cache = num_workers, seed, cache
        self.download, self.eval_limit = download, eval_limit
        self.predict_set: InputSet | None = None
        """The inputs of prediction, after `setup("predict")`."""
        self.choose_inputs: Callable[[InputSet], Sequence[int]] | None = None
        """Tells which of them are wanted, once the weights are there: by default all."""
        self._train: FolderTrainingSet | DeadLeavesTrainingSet | None = None
        self._evaluation: list[EvaluationSet] = []

    def prepare_data(self) -> None:
        """Download Kodak if asked for; Lightning calls this on one process of a machine."""
        if self.download and "kodak" in self.eval_sets + self.test_sets:
            download_kodak(self.data_root / "kodak")

    def setup(self, stage: str) -> None:
        """Find the images of a stage: "fit", "validate", "test" or "predict"."""
        if stage == "fit" and self._train is None:
            if self.train_folders:
                self._train = FolderTrainingSet(
                    self.train_folders, self.crop_size, self.downscale, self.seed, self.cache
                )
            else:
                self._train = DeadLeavesTrainingSet(self.crop_size, self.seed)
        if stage == "predict":
            # By one process: the folder may be large, and its list must be the same for all.
            self.predict_set = Processes().of_first(lambda: InputSet(self.predict_inputs))
            self._evaluation = []
        else:
            self._evaluation = evaluation_sets(self.test_sets if stage == "test" else self.eval_sets, self.data_root)

    @property
    def eval_names(self) -> list[str]:
        """Names of the current stage's image sets (after `setup`), in the order of `dataloader_idx`."""
        return [entry.name for entry in self._evaluation]

    def contents(self) -> dict[str, Any]:
        """What the training folders and evaluation sets hold (after `setup`), by their names; see `contents_of`."""
        train = {}
        if isinstance(self._train, FolderTrainingSet):
            for folder in map(Path, self.train_folders or []):
                train[str(folder)] = contents_of((p for p in self._train.paths if p.is_relative_to(folder)), folder)
        evaluation = {
            name: contents_of(images.paths, images.root)
            for name, images in self._evaluation
            if isinstance(images, FolderEvaluationSet)
        }
        return {"train": train, "evaluation": evaluation}

    def train_dataloader(self) -> DataLoader[Tensor]:
        """Batches float32 [batch_size, 3, crop_size, crop_size], from where a resumed run stopped."""
        if self._train is None:
            raise RuntimeError('call setup("fit") before train_dataloader()')
        rank, world_size = self._process()
        accumulation = 1 if self.trainer is None else self.trainer.accumulate_grad_batches
        sampler = EpochSampler(
            len(self._train), self.samples_per_epoch, self.batch_size, self.seed, rank, world_size, accumulation
        )
        if self.trainer is not None:
            sampler.enter(*_progress(self.trainer))
        return TrainingLoader(
            self._train,
            batch_size=self.batch_size,
            sampler=sampler,
            num_workers=self.num_workers,
            worker_init_fn=heed_the_main_process_alone,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    def val_dataloader(self) -> list[DataLoader[NamedImage]]:
        """One loader of `NamedImage`s for each evaluation set."""
        return [self._evaluation_loader(entry.images, self.eval_limit) for entry in self._evaluation]

    def test_dataloader(self) -> list[DataLoader[NamedImage]]:
        """One loader of `NamedImage`s for each test set."""
        return [self._evaluation_loader(entry.images, None) for entry in self._evaluation]

    def predict_dataloader(self) -> DataLoader[PredictInput]:
        """One loader over the inputs that are wanted."""
        if self.predict_set is None:
            raise RuntimeError('call setup("predict") before predict_dataloader()')
        if self.choose_inputs is None:
            return self._whole_loader(self.predict_set, len(self.predict_set))
        chosen = self.choose_inputs(self.predict_set)
        return self._whole_loader(Subset(self.predict_set, chosen), len(chosen))

    def _process(self) -> tuple[int, int]:
        """Number of this process, and of all processes."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer is not None else (0, 1)

    def _evaluation_loader(self, images: Dataset[NamedImage], limit: int | None) -> DataLoader[NamedImage]:
        total = len(images)  # type: ignore[arg-type]  # a Dataset need not have a length; these do
        return self._whole_loader(images, min(total, limit or total), repeat=True)

    def _whole_loader(self, items: Dataset[T], count: int, repeat: bool = False) -> DataLoader[T]:
        """This process's share of the first `count` items, one at a time; see `ShardSampler` for `repeat`."""
        return DataLoader(
            items,
            batch_size=1,
            sampler=ShardSampler(count, *self._process(), repeat),
            num_workers=0,  # reading an image is quick beside coding it, and its error stays one line
            collate_fn=_single,
            pin_memory=torch.cuda.is_available(),
        )


def _single(batch: list[T]) -> T:
    """The one item of a batch; an image already has its batch dimension."""
    return batch[0]


def _at_least(name: str, value: int | None, least: int) -> None:
    if value is not None and value < least:
        raise UserError(f"data.{name} is {value}: must be at least {least}")


def _progress(trainer: Trainer) -> tuple[int, int]:
    """Epoch and number of batches in it that a (restored) Trainer has behind it.

    Read from the loops' own counters, not from a counter in the data loader: workers fetch ahead, and a
    checkpoint written while a batch is in work must not count it.
    """
    epoch: Any = trainer.fit_loop.epoch_progress.current  # Any: declared as a base class without the counters
    batch: Any = trainer.fit_loop.epoch_loop.batch_progress
    if epoch.processed == epoch.started:  # between two epochs
        return epoch.processed, 0
    if batch.is_last_batch and batch.current.processed == batch.current.ready:  # only its end is uncounted
        return epoch.processed + 1, 0
    return epoch.processed, batch.current.processed
