"""Images for training and evaluation; heavy imports wait until `CompressionDataModule` is asked for."""

from typing import TYPE_CHECKING

from lightning_codec.data.types import NamedFile, NamedImage, PredictInput, Unreadable

if TYPE_CHECKING:
    from lightning_codec.data.datamodule import CompressionDataModule

__all__ = ["CompressionDataModule", "NamedFile", "NamedImage", "PredictInput", "Unreadable"]


def __getattr__(name: str) -> object:
    if name == "CompressionDataModule":
        from lightning_codec.data.datamodule import CompressionDataModule

        return CompressionDataModule
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
