"""What all callbacks of an evaluation share: its images one after another, its place, and where its weights stand."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

import lightning.pytorch as pl
from torch import Tensor

from lightning_codec.callbacks.results import Origin
from lightning_codec.data.types import NamedImage

if TYPE_CHECKING:
    from lightning_codec.modules.coding import EvalStep


class EvaluatedImage(NamedTuple):
    """One image as a validation or test step has seen it."""

    dataset: str
    name: str
    """Path relative to the root of the set, posix; unique in the set."""
    image: Tensor
    """The original, [1, 3, H, W] in [0, 1]."""
    step: "EvalStep"
    position: int
    """Of the image in its set, over all processes."""


class EvaluationCallback(pl.Callback):
    """Sees every image of validation and test through one method; of the sanity check, nothing.

    Subclasses fill in `start_evaluation`, `see_image` and `finish_evaluation`. All processes call the first and the
    last, and `see_image` for their own images.
    """

    stage: Literal["validate", "test"]
    """Of the evaluation that runs."""
    run_folder: Path
    """Of the run; the same on all processes."""

    def __init__(self) -> None:
        self._loaded: tuple[int, int] = (0, 0)
        self._fingerprint: str | None = None

    @property
    def prefix(self) -> str:
        """What names of logged values begin with."""
        return "val" if self.stage == "validate" else "test"

    def start_evaluation(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Forget the last evaluation."""

    def see_image(self, trainer: pl.Trainer, pl_module: pl.LightningModule, image: EvaluatedImage) -> None:
        """Look at one image."""

    def finish_evaluation(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Gather from all processes, log and write."""

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Remember where a checkpoint stood: outside `fit` the Trainer does not restore its counters."""
        self._loaded = (checkpoint["global_step"], checkpoint["epoch"])

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start an evaluation."""
        self._start("validate", trainer, pl_module)

    def on_test_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start an evaluation."""
        self._start("test", trainer, pl_module)

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Tensor | Mapping[str, Any] | None,
        batch: NamedImage,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Hand one image on."""
        if trainer.sanity_checking:
            return
        step = cast("EvalStep", outputs)
        if step.file is not None:
            self._fingerprint = step.file.fingerprint.hex()
        names: list[str] = cast("Any", trainer).datamodule.eval_names
        # a sampler that is not shuffled deals the images out to the processes in turn
        position = batch_idx * trainer.world_size + trainer.global_rank
        self.see_image(
            trainer, pl_module, EvaluatedImage(names[dataloader_idx], batch.name, batch.image, step, position)
        )

    on_test_batch_end = on_validation_batch_end

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Finish an evaluation."""
        if not trainer.sanity_checking:
            self.finish_evaluation(trainer, pl_module)

    on_test_epoch_end = on_validation_epoch_end

    def _start(self, stage: Literal["validate", "test"], trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.sanity_checking:
            return
        self.stage = stage
        self._fingerprint = None
        # log_dir is a broadcast: every process has to ask for it
        self.run_folder = Path(trainer.log_dir or trainer.default_root_dir)
        self.start_evaluation(trainer, pl_module)

    def log_mean(self, pl_module: pl.LightningModule, name: str, value: float | None) -> None:
        """Log `<prefix>/<name>`, which all processes hold alike, for the whole evaluation; nothing for None."""
        if value is not None:
            pl_module.log(f"{self.prefix}/{name}", value, on_step=False, on_epoch=True, batch_size=1)

    def origin(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> Origin:
        """Where the results of this evaluation come from; its step is that of the weights."""
        checkpoint = None if trainer.state.fn == "fit" or trainer.ckpt_path is None else str(trainer.ckpt_path)
        step, epoch = (trainer.global_step, trainer.current_epoch) if checkpoint is None else self._loaded
        trained = sum(parameter.numel() for parameter in pl_module.parameters() if parameter.requires_grad)
        return Origin(self.stage, step, epoch, checkpoint, str(pl_module.device), self._fingerprint, trained)
