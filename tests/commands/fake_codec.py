"""A codec that needs no network: files of 100 bytes per image row, grey pictures."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from lightning_codec.bitstream import Container, TruncatedError, pack, unpack

BAD_WIDTH = 13


class FakeCodec:
    """Refuses images that are 13 pixels wide."""

    loaded: Path

    @classmethod
    def load(cls, checkpoint: Path) -> "FakeCodec":
        codec = cls()
        codec.loaded = checkpoint
        return codec

    def compress(self, image: Tensor) -> bytes:
        _, height, width = image.shape
        if width == BAD_WIDTH:
            raise TruncatedError("thirteen")
        return pack(Container(b"fake", height, width, 0, (bytes(100 * height),)))

    def decompress(self, data: bytes) -> Tensor:
        container = unpack(data)
        if container.width == 1000:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 byte")
        if container.width == 1001:
            raise RuntimeError("a fault of the program")
        return torch.full((3, container.height, container.width), 0.5)


@pytest.fixture
def fake_codec(monkeypatch: pytest.MonkeyPatch) -> None:
    """`Codec` of the commands is `FakeCodec`."""
    monkeypatch.setattr("lightning_codec.codec.Codec", FakeCodec)
