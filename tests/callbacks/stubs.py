"""A module, a coder and a data module with results known in advance."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from lightning_codec.data.types import NamedImage
from lightning_codec.modules.coding import EvalStep, FileCoder, difference_8bit


class StubCodec:
    """Codes an image as `size` bytes and decodes it `levels` 8-bit levels brighter than the original."""

    fingerprint = b"\x01\x02\xab\xff"

    def __init__(self, size: int = 100, levels: int = 2) -> None:
        self.size = size
        self.levels = levels
        self.image = torch.zeros(0)
        self.compressed = 0

    def compress(self, image: Tensor) -> bytes:
        self.image = image
        self.compressed += 1
        return bytes(self.size)

    def decompress(self, data: bytes) -> Tensor:
        assert data == bytes(self.size)
        return self.image + self.levels / 255


class StubModule(pl.LightningModule):
    """Evaluates an image as `levels` brighter, at 2 bpp and a loss of 100 times its mean grey."""

    def __init__(self, codec: Any = None, levels: int = 1) -> None:
        super().__init__()
        self.net = nn.Conv2d(3, 3, 1)
        self.coder = StubCodec() if codec is None else codec
        self.levels = levels
        self.file_coder = FileCoder()

    def codec(self) -> Any:
        return self.coder

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        loss: Tensor = (self.net(batch) - batch).square().mean()
        self.log_dict({"train/loss": loss, "train/bpp": 0.25, "train/psnr": 31.0})
        return loss

    def validation_step(  # type: ignore[override]
        self, batch: NamedImage, batch_idx: int, dataloader_idx: int = 0
    ) -> EvalStep:
        height, width = batch.image.shape[-2:]
        bits = torch.full((-(-height // 16), -(-width // 16)), 512.0)
        return EvalStep(batch.image + self.levels / 255, 2.0, 100 * batch.image.mean().item(), bits)

    def test_step(  # type: ignore[override]
        self, batch: NamedImage, batch_idx: int, dataloader_idx: int = 0
    ) -> EvalStep:
        step = self.validation_step(batch, batch_idx, dataloader_idx)
        x_hat, file = self.file_coder(self.coder, batch.image, timed=True)
        return step._replace(x_hat=x_hat, file=file, difference=difference_8bit(x_hat, step.x_hat))

    def predict_step(self, batch: NamedImage, batch_idx: int, dataloader_idx: int = 0) -> bytes:
        return b"lcb " + batch.name.encode()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=0.1, weight_decay=0.1)


class StubSet(Dataset[NamedImage]):
    """Grey images: (name, height, width, level in 0..255)."""

    def __init__(self, items: Sequence[tuple[str, int, int, int]]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> NamedImage:
        name, height, width, level = self.items[index]
        return NamedImage(torch.full((1, 3, height, width), level / 255), name)


class StubData(pl.LightningDataModule):
    def __init__(self, sets: dict[str, Sequence[tuple[str, int, int, int]]], train: Sequence[Tensor] = ()) -> None:
        super().__init__()
        self.sets = sets
        self.train = train

    @property
    def eval_names(self) -> list[str]:
        return list(self.sets)

    def train_dataloader(self) -> Any:
        return DataLoader(self.train, batch_size=None)  # type: ignore[arg-type]

    def val_dataloader(self) -> Any:
        return [DataLoader(StubSet(items), batch_size=None) for items in self.sets.values()]

    test_dataloader = predict_dataloader = val_dataloader


def make_trainer(folder: Path, callbacks: list[pl.Callback], **settings: Any) -> pl.Trainer:
    return pl.Trainer(
        accelerator="cpu",
        default_root_dir=folder,
        callbacks=callbacks,
        **{
            "logger": CSVLogger(folder, name="", version="run"),
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "enable_checkpointing": False,
            "max_epochs": 1,
            **settings,
        },
    )
