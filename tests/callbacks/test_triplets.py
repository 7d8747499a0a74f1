"""Triplets hold the right picture at every place, in the files and in the loggers, once for every image and step."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]
from torch import Tensor

from lightning_codec.callbacks import Triplets
from lightning_codec.codec import Codec
from lightning_codec.data.types import NamedImage
from lightning_codec.diffusion_decoder import DecodeOptions, DiffusionDecoder, Progress
from lightning_codec.errors import UserError
from lightning_codec.modules.coding import EvalStep

from .stubs import StubCodec, StubData, StubModule, make_trainer

SETS: dict[str, Sequence[tuple[str, int, int, int]]] = {
    "kodak": [("b/two.png", 16, 20, 50), ("a.png", 8, 10, 100), ("c.png", 8, 8, 20)],
    "x": [("x.png", 8, 8, 200)],
}
DATA = StubData(SETS)


class StubDecoder(DiffusionDecoder):
    """x_c is 10 levels brighter than the original, x_hat 20; both want the file of the image."""

    def __init__(self) -> None:
        self.files = StubCodec(levels=10)
        self.codec = cast("Codec", self.files)
        self.decoded = 0

    def compress(self, image: Tensor) -> bytes:
        return self.files.compress(image)

    def decompress(self, data: bytes, options: DecodeOptions | None = None, progress: Progress | None = None) -> Tensor:
        self.decoded += 1
        return self.files.decompress(data) + 10 / 255


class DecoderModule(StubModule):
    """Decodes the file of every validated image, as a diffusion decoder's module does."""

    def validation_step(  # type: ignore[override]
        self, batch: NamedImage, batch_idx: int, dataloader_idx: int = 0
    ) -> EvalStep:
        step = super().validation_step(batch, batch_idx, dataloader_idx)
        x_hat, file = self.file_coder(self.coder, batch.image, timed=False)
        return step._replace(x_hat=x_hat, file=file)


class RecordingWandb(WandbLogger):
    """Keeps the pictures in place of sending them."""

    def __init__(self) -> None:
        self.logged: list[tuple[str, Any, int]] = []

    @property
    def experiment(self) -> Any:
        return self

    def log(self, values: dict[str, Any]) -> None:
        step = values.pop("trainer/global_step")
        self.logged += [(key, np.asarray(image.image), step) for key, image in values.items()]

    def log_metrics(self, *args: Any, **kwargs: Any) -> None: ...
    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None: ...
    def log_graph(self, *args: Any, **kwargs: Any) -> None: ...
    def after_save_checkpoint(self, *args: Any) -> None: ...
    def finalize(self, status: str) -> None: ...

    @property
    def name(self) -> str | None:
        return None

    version = name


class Run:
    """A trainer with loggers of all three kinds, and what came of it."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder / "run"
        self.wandb = RecordingWandb()
        board = TensorBoardLogger(folder, name="", version="board")
        loggers: list[Logger] = [CSVLogger(folder, name="", version="run"), board, self.wandb]
        self.trainer = make_trainer(folder, [Triplets()], **{"logger": loggers, **settings})

    def files(self) -> set[str]:
        root = self.folder / "triplets"
        return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}

    def levels(self, file: str) -> list[int]:
        """The grey levels of the three panels."""
        return panels(np.asarray(Image.open(self.folder / "triplets" / file)))

    def board(self) -> dict[str, list[int]]:
        """The steps of every tag."""
        events = EventAccumulator(str(self.folder.parent / "board")).Reload()
        return {tag: [event.step for event in events.Images(tag)] for tag in events.Tags()["images"]}


def panels(pixels: np.ndarray[Any, Any]) -> list[int]:
    assert pixels.dtype == np.uint8
    parts = np.split(pixels, 3, axis=1)
    assert all(part.min() == part.max() for part in parts)
    return [int(part.max()) for part in parts]


def test_at_test_both_pictures_are_decoded_from_the_file_of_the_image(tmp_path):
    decoder, run = StubDecoder(), Run(tmp_path)
    run.trainer.test(StubModule(decoder), datamodule=DATA, verbose=False)
    assert decoder.decoded == 1 + 4  # to warm up, and once for each image
    assert run.files() == {"kodak/b/two.png", "kodak/a.png", "x/x.png"}
    assert run.levels("kodak/b/two.png") == [50, 60, 70]
    assert run.levels("kodak/a.png") == [100, 110, 120]
    assert run.levels("x/x.png") == [200, 210, 220]
    assert Image.open(run.folder / "triplets/kodak/b/two.png").size == (3 * 20, 16)
    tags = ["test/triplets/kodak/b/two", "test/triplets/kodak/a", "test/triplets/x/x"]
    assert run.board() == {tag: [0] for tag in tags}
    assert [(key, panels(image), step) for key, image, step in run.wandb.logged] == [
        (tags[0], [50, 60, 70], 0),
        (tags[1], [100, 110, 120], 0),
        (tags[2], [200, 210, 220], 0),
    ]


def test_in_training_every_validation_shows_the_picture_of_its_step_under_its_step(tmp_path):
    decoder = StubDecoder()
    run = Run(tmp_path, max_epochs=2, num_sanity_val_steps=-1)
    run.trainer.fit(DecoderModule(decoder), datamodule=StubData(SETS, [torch.rand(1, 3, 8, 8)] * 3))
    names = ["kodak/b/two", "kodak/a", "x/x"]
    assert run.files() == {f"{name}_step-{step}.png" for name in names for step in (3, 6)}
    assert run.levels("kodak/a_step-6.png") == [100, 110, 120]
    assert decoder.decoded == 3 * 4  # of the sanity check too
    assert run.board() == {f"val/triplets/{name}": [3, 6] for name in names}
    assert [step for key, _, step in run.wandb.logged if key == "val/triplets/x/x"] == [3, 6]


def test_a_checkpoint_is_shown_under_the_step_it_was_written_at(tmp_path):
    module, path = DecoderModule(StubDecoder()), tmp_path / "a.ckpt"
    trained = make_trainer(tmp_path / "fit", [])
    trained.fit(module, datamodule=StubData(SETS, [torch.rand(1, 3, 8, 8)] * 4))
    trained.save_checkpoint(path)
    run = Run(tmp_path)
    run.trainer.validate(module, datamodule=DATA, ckpt_path=path, verbose=False)
    assert "x/x_step-4.png" in run.files()
    run.trainer.test(module, datamodule=DATA, ckpt_path=path, verbose=False)
    assert run.board() == {
        f"{stage}/triplets/{name}": [4] for stage in ("val", "test") for name in ("kodak/b/two", "kodak/a", "x/x")
    }


@pytest.mark.parametrize(("module", "images"), [(StubModule(), 2), (DecoderModule(StubDecoder()), 0)])
def test_nothing_is_shown_of_another_codec_or_of_no_images(module: pl.LightningModule, images: int, tmp_path):
    trainer = make_trainer(tmp_path, [Triplets(images)])
    trainer.validate(module, datamodule=DATA, verbose=False)
    trainer.test(module, datamodule=DATA, verbose=False)
    assert not list(tmp_path.rglob("*.png"))


def test_a_negative_number_is_refused():
    with pytest.raises(UserError, match="0 or more"):
        Triplets(images=-1)


@pytest.mark.slow
def test_the_first_process_logs_the_images_of_all(tmp_path):
    board = TensorBoardLogger(tmp_path, name="", version="board")
    run = Run(tmp_path, devices=2, strategy="ddp_fork", logger=[CSVLogger(tmp_path, name="", version="run"), board])
    run.trainer.validate(DecoderModule(StubDecoder()), datamodule=DATA, verbose=False)
    assert run.files() == {"kodak/b/two_step-0.png", "kodak/a_step-0.png", "x/x_step-0.png"}
    assert run.board() == {f"val/triplets/{name}": [0] for name in ("kodak/b/two", "kodak/a", "x/x")}
