"""What callbacks share that show pictures of evaluated images: when, where to, and how many."""

from abc import ABC, abstractmethod
from pathlib import PurePosixPath
from typing import Any, ClassVar, cast

import lightning.pytorch as pl
from torch import Tensor

from lightning_codec.callbacks.evaluation import EvaluatedImage, EvaluationCallback
from lightning_codec.callbacks.gathering import gather
from lightning_codec.errors import UserError
from lightning_codec.images import write_png
from lightning_codec.tracking.history import Picture
from lightning_codec.tracking.publishing import publish


class PictureCallback(EvaluationCallback, ABC):
    """Shows the first images of every set at validation and test, as pictures that the subclass draws.

    They are written to `<run folder>/<kind>/<set>/<name>.png`, at validation `<name>_step-<N>.png`, and go to the
    loggers that show pictures as `val/<kind>/<set>/<name>` and `test/...`. The sanity check leaves nothing.

    A training has a budget of pictures. It is spread over the training: validations are passed over, so that it lasts
    to the end. A training without a stated end uses it up from the start.

    Args:
        images: how many images of each set; 0 for none.
        budget: how many pictures in one training, all sets together; of evaluations outside of one it is not taken.
        every_n_steps: optimiser steps from one shown validation to the next, at least.
    """

    kind: ClassVar[str]

    def __init__(self, images: int, budget: int, every_n_steps: int) -> None:
        super().__init__()
        for name, value in (("images", images), ("budget", budget), ("every_n_steps", every_n_steps)):
            if value < 0:
                raise UserError(f"{type(self).__name__}: {name} must be 0 or more, not {value}")
        self.images = images
        self.budget = budget
        self.every_n_steps = every_n_steps
        self._pictures: list[tuple[str, Picture]] = []
        self._due = False
        self._used = 0
        self._last_step: int | None = None

    def state_dict(self) -> dict[str, Any]:
        """What of the budget is used, and when it was last."""
        return {"used": self._used, "last_step": self._last_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where a checkpoint stood."""
        self._used, self._last_step = state_dict["used"], state_dict["last_step"]

    @abstractmethod
    def draw(self, pl_module: pl.LightningModule, image: EvaluatedImage, step: int) -> tuple[Tensor, str] | None:
        """The picture of an image, [3, H, W] in [0, 1], and its caption; None where there is nothing to show."""

    def start_evaluation(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Decide whether this evaluation is shown."""
        self._pictures = []
        self._due = self._is_due(trainer)

    def _is_due(self, trainer: pl.Trainer) -> bool:
        if self.images == 0 or trainer.state.fn != "fit":
            return self.images > 0
        wanted = self.images * len(cast("Any", trainer).datamodule.eval_names)
        interval = float(self.every_n_steps)
        total = trainer.estimated_stepping_batches
        if 0 < total < float("inf"):
            interval = max(interval, total / max(1, self.budget // wanted))
        waited = self._last_step is None or trainer.global_step - self._last_step >= interval
        if self._used + wanted > self.budget or not waited:
            return False
        self._used += wanted
        self._last_step = trainer.global_step
        return True

    def see_image(self, trainer: pl.Trainer, pl_module: pl.LightningModule, image: EvaluatedImage) -> None:
        """Draw and write one of the first images."""
        step = self.origin(trainer, pl_module).step
        drawn = self.draw(pl_module, image, step) if self._due and image.position < self.images else None
        if drawn is None:
            return
        picture, caption = drawn
        name = PurePosixPath(image.dataset) / PurePosixPath(image.name).with_suffix("")
        suffix = f"_step-{step}" if self.stage == "validate" else ""
        path = PurePosixPath(self.kind) / name.with_name(f"{name.name}{suffix}.png")
        file = self.run_folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        write_png(picture, file)
        self._pictures.append((f"{self.prefix}/{self.kind}/{name}", Picture(path.as_posix(), caption)))

    def finish_evaluation(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Hand the pictures of all processes to the loggers."""
        # of a set that cannot be dealt out evenly some images come twice
        pictures = dict(gather(self._pictures))
        publish(trainer, self.run_folder, self.origin(trainer, pl_module).step, pictures)
