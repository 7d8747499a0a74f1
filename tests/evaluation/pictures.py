"""Small pictures with edges, textures and colours, the same on every machine."""

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_codec.images import write_png


def picture(seed: int, height: int = 48, width: int = 64) -> Tensor:
    """[3, H, W] in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    coarse = F.interpolate(torch.rand(1, 3, 8, 8, generator=generator), (height, width), mode="bicubic")
    return (coarse + 0.05 * torch.randn(coarse.shape, generator=generator)).clamp(0, 1)[0]


def write_pictures(folder: Path, count: int) -> Path:
    """`count` pictures of unlike sizes, one of them in a folder of its own."""
    for index in range(count):
        path = folder / ("sub" if index == 1 else "") / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_png(picture(index, 40 + 3 * index, 64 - 2 * index), path)
    return folder
