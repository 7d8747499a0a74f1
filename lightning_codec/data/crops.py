"""Random training crops from decoded photographs."""

import numpy as np
import numpy.typing as npt
from PIL import Image

LOSSY_FORMATS = frozenset({"JPEG", "MPO"})
"""Pillow formats that are downscaled before training, so that a model does not learn JPEG's blocks."""


def downscaled_size(size: tuple[int, int], factor: float, crop_size: int) -> tuple[int, int]:
    """Width and height of an image after downscaling by a factor, both sides kept at `crop_size` or above.

    The factor is raised, up to 1, where the shorter side would fall below the crop; an image that is smaller
    than the crop to begin with keeps its size.

    Args:
        size: width and height in pixels.
        factor: of the lengths, 0 < factor <= 1.
        crop_size: side of the crop in pixels.
    """
    factor = min(1.0, max(factor, crop_size / min(size)))
    return round(size[0] * factor), round(size[1] * factor)


def random_crop(
    image: Image.Image, crop_size: int, downscale: tuple[float, float] | None, rng: np.random.Generator
) -> npt.NDArray[np.uint8]:
    """A square crop at a random place, downscaled by a random factor and mirrored with probability 1/2.

    Draws, in this order: factor (uniform), left, top (uniform over the downscaled image), mirroring.
    Downscaling is antialiased bicubic and equals cropping the downscaled whole image, yet touches only the
    pixels of the crop. An image smaller than the crop is padded at the right and bottom by repeating its last
    pixels.

    Args:
        image: mode RGB; its `format` decides whether the factor applies (`LOSSY_FORMATS`).
        crop_size: side of the crop in pixels.
        downscale: (smallest, largest) factor of the lengths, 0 < smallest <= largest <= 1; None: no
            downscaling.
        rng: the source of the random draws.

    Returns:
        uint8 [crop_size, crop_size, 3].
    """
    width, height = image.size
    if downscale is not None and image.format in LOSSY_FORMATS:
        width, height = downscaled_size(image.size, rng.uniform(*downscale), crop_size)
    out_width, out_height = min(width, crop_size), min(height, crop_size)
    left = int(rng.integers(width - out_width + 1))
    top = int(rng.integers(height - out_height + 1))
    if (width, height) == image.size:
        region = image.crop((left, top, left + out_width, top + out_height))
    else:
        x, y = image.width / width, image.height / height
        box = (left * x, top * y, (left + out_width) * x, (top + out_height) * y)
        region = image.resize((out_width, out_height), Image.Resampling.BICUBIC, box=box)
    pixels = np.array(region)
    if rng.random() < 0.5:
        pixels = pixels[:, ::-1]
    padding = ((0, crop_size - out_height), (0, crop_size - out_width), (0, 0))
    return np.ascontiguousarray(np.pad(pixels, padding, mode="edge"))
