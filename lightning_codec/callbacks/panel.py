"""A panel that shows where a codec errs and where it spends its bits: four pictures of one image, with legends."""

import math

import matplotlib
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from lightning_codec.images import from_uint8, to_uint8

Pixels = npt.NDArray[np.uint8]

LATENT_STRIDE = 16
ERROR_LEVELS = 32.0  # where the scale of the error ends, so that panels of all steps and codecs can be compared
SMALLEST_TILE = 360  # pixels: narrower pictures are enlarged, or their legends would not fit
FONT_SIZE = 15
LINE = 24  # pixels
GAP = 6
BAR_WIDTH = 90
BACKGROUND, INK = (24, 24, 24), (235, 235, 235)


def draw_panel(image: Tensor, x_hat: Tensor, bits: Tensor, title: str, subtitle: str) -> Tensor:
    """Original and reconstruction above error and bits, each under its legend, in a grid of two by two.

    The error is the absolute difference in 8-bit levels, the mean of R, G and B, on a scale from 0 to 32. The bits are
    those of each latent position over its 16 x 16 pixels, in bpp, on a scale from 0 to the next of 1, 2, 5 x 10^n.

    Args:
        image: the original, [3, H, W] in [0, 1].
        x_hat: the reconstruction, likewise.
        bits: of each latent position, [h, w] with 16 h >= H and 16 w >= W.
        title: above everything.
        subtitle: the legend of the reconstruction.

    Returns:
        The panel, [3, H', W'] in [0, 1].
    """
    height, width = image.shape[-2:]
    x, y = (to_uint8(picture.cpu()).permute(1, 2, 0).numpy() for picture in (image, x_hat))
    error = np.abs(x.astype(np.float32) - y.astype(np.float32)).mean(axis=2)
    rate = bits_in_pixels(bits, height, width).numpy()
    top, total = _round_up(float(rate.max())), float(bits.sum()) / (height * width)
    tiles = (
        (x, "original", None, ""),
        (y, subtitle, None, ""),
        (_coloured(error / ERROR_LEVELS, "magma"), f"error, mean {error.mean():.2f} levels", "magma", "32+"),
        (_coloured(rate / top, "viridis"), f"bits, {total:.3f} bpp in all", "viridis", f"{top:g} bpp"),
    )
    factor = -(-SMALLEST_TILE // width)
    tile_width, tile_height = factor * width, factor * height + LINE
    canvas = Image.new("RGB", (2 * tile_width + 3 * GAP, LINE + 2 * tile_height + 3 * GAP), BACKGROUND)
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(FONT_SIZE)
    pen.text((GAP, GAP), title, INK, font)
    for index, (pixels, legend, colours, end) in enumerate(tiles):
        left = GAP + (index % 2) * (tile_width + GAP)
        upper = LINE + GAP + (index // 2) * (tile_height + GAP)
        pen.text((left, upper), legend, INK, font)
        if colours is not None:
            _draw_scale(canvas, left + tile_width, upper, colours, end)
        enlarged = Image.fromarray(pixels).resize((factor * width, factor * height), Image.Resampling.NEAREST)
        canvas.paste(enlarged, (left, upper + LINE))
    return from_uint8(np.array(canvas))


def bits_in_pixels(bits: Tensor, height: int, width: int) -> Tensor:
    """Bits of latent positions [h, w] as bpp of the pixels that they cover, [H, W]; the padding is cut off."""
    spread = bits.repeat_interleave(LATENT_STRIDE, 0).repeat_interleave(LATENT_STRIDE, 1) / LATENT_STRIDE**2
    return spread[:height, :width].to(torch.float32)


def _draw_scale(canvas: Image.Image, right: int, upper: int, colours: str, end: str) -> None:
    """A bar of the colours with its ends, "0" and `end`, right-aligned in the line of a legend."""
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(FONT_SIZE)
    end_left = right - int(pen.textlength(end, font))
    bar = np.broadcast_to(np.linspace(0.0, 1.0, BAR_WIDTH, dtype=np.float32), (FONT_SIZE - 3, BAR_WIDTH))
    bar_left = end_left - GAP - BAR_WIDTH
    canvas.paste(Image.fromarray(_coloured(bar, colours)), (bar_left, upper + 3))
    pen.text((end_left, upper), end, INK, font)
    pen.text((bar_left - GAP - int(pen.textlength("0", font)), upper), "0", INK, font)


def _coloured(values: npt.NDArray[np.float32], colours: str) -> Pixels:
    """Values [H, W], shown in [0, 1], as RGB [H, W, 3]."""
    rgba: Pixels = matplotlib.colormaps[colours](np.clip(values, 0.0, 1.0), bytes=True)
    return np.ascontiguousarray(rgba[..., :3])


def _round_up(value: float) -> float:
    """The next of 1, 2, 5 x 10^n that is not below a positive value; 1 for anything else."""
    if not 0.0 < value < math.inf:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1.0, 2.0, 5.0, 10.0) if step * power >= value * (1 - 1e-9))
