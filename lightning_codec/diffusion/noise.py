"""White noise by position: the same file gives the same picture, whatever the tile, the batch or the thread count."""

import hashlib

import numpy as np
import torch
from torch import Tensor

# A counter of Philox4x64 gives four 64-bit words, here the noise of one pixel.
_WORDS = 4
CHANNELS_MAX = 4


def noise_key(data: bytes, seed: int) -> bytes:
    """The key of a picture's noise, 16 bytes: from its file and the user's seed."""
    return hashlib.sha256(data + seed.to_bytes(8, "little", signed=True)).digest()[:16]


def position_noise(key: bytes, draw: int, channels: int, rows: range, columns: range) -> Tensor:
    """White Gaussian noise of a rectangle of the picture.

    The counter of Philox4x64-10 (Salmon et al., SC 2011) is (column + 1, row, draw, 0), so every value depends on the
    key, the draw and its own position only. One block of it gives two pairs of Box-Muller, channels (0, 2) and (1, 3).

    Args:
        key: 16 bytes, as `noise_key` gives.
        draw: which noise of the picture, 0 for the start's.
        channels: up to 4.
        rows: of the rectangle, in pixels of the whole picture.
        columns: likewise.

    Returns:
        [channels, len(rows), len(columns)], float32, mean 0, variance 1.
    """
    noise = np.empty((CHANNELS_MAX, len(rows), len(columns)), dtype=np.float32)
    keys = np.frombuffer(key, dtype=np.uint64)
    for i, row in enumerate(rows):
        generator = np.random.Philox(counter=np.array([columns.start, row, draw, 0], dtype=np.uint64), key=keys)
        words = generator.random_raw(_WORDS * len(columns)).reshape(-1, _WORDS).T
        # Box-Muller on two pairs of uniform numbers in (0, 1], 53 bits each before rounding: the tails reach 8.6.
        uniform = ((words >> 11) * 2.0**-53 + 2.0**-54).astype(np.float32)
        radius, angle = np.sqrt(-2.0 * np.log(uniform[:2])), 2.0 * np.pi * uniform[2:]
        noise[:2, i], noise[2:, i] = radius * np.cos(angle), radius * np.sin(angle)
    return torch.from_numpy(noise[:channels])
