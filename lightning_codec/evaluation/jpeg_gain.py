"""JPEG as the yardstick: its rate-distortion curve, and what a codec gains over it at the same bytes."""

import io
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from lightning_codec.errors import UserError
from lightning_codec.evaluation.baselines import jpeg_bytes
from lightning_codec.images import open_rgb8
from lightning_codec.metrics.psnr import psnr_of_uint8
from lightning_codec.metrics.rows import ImageRow, mean, read_rows

# JPEG's curve bends at low quality, so the knots are dense there
QUALITIES = (*range(1, 31), *range(35, 96, 5))


class JpegCurve(NamedTuple):
    """Rate and distortion of JPEG by quality, for one image or as means over a set."""

    qualities: tuple[int, ...]
    bpp: tuple[float, ...]
    """8 x file size / (height x width)."""
    psnr: tuple[float, ...]
    """dB on 8-bit RGB."""

    def psnr_at_bpp(self, bpp: float) -> float:
        """PSNR in dB at a rate, linear in log bpp between neighbouring qualities.

        Where several pairs of qualities enclose the rate (JPEG need not be monotone), the best value counts,
        so that a gain over JPEG is never flattered.

        Raises:
            UserError: the rate lies outside of what JPEG reached; the curve is not extrapolated.
        """
        knots = list(zip(self.bpp, self.psnr, strict=True))
        pairs = pairwise(knots)
        found = [_interpolate(bpp, *sorted(pair)) for pair in pairs if min(pair)[0] <= bpp <= max(pair)[0]]
        if not found:
            raise UserError(
                f"JPEG at quality {self.qualities[0]} to {self.qualities[-1]} spans {min(self.bpp):.4f} to "
                f"{max(self.bpp):.4f} bpp here: no comparison at {bpp:.4f} bpp, curves are not extrapolated"
            )
        return max(found)


def _interpolate(bpp: float, low: tuple[float, float], high: tuple[float, float]) -> float:
    if low[0] == high[0]:
        return max(low[1], high[1])
    share = math.log(bpp / low[0]) / math.log(high[0] / low[0])
    return (1 - share) * low[1] + share * high[1]


def jpeg_curve(path: Path, qualities: Sequence[int] = QUALITIES) -> JpegCurve:
    """Measure the curve of one image file. Raises ImageError when the file cannot be read."""
    image = open_rgb8(path)
    original = torch.from_numpy(np.array(image))[None]
    bpp, psnr = [], []
    for quality in qualities:
        data = jpeg_bytes(image, quality)
        decoded = torch.from_numpy(np.array(Image.open(io.BytesIO(data))))[None]
        bpp.append(8 * len(data) / (image.height * image.width))
        psnr.append(psnr_of_uint8(decoded, original).item())
    return JpegCurve(tuple(qualities), tuple(bpp), tuple(psnr))


def mean_curve(curves: Sequence[JpegCurve]) -> JpegCurve:
    """Average curves of the same qualities: mean bpp and mean PSNR at each quality."""
    return JpegCurve(
        curves[0].qualities,
        tuple(math.fsum(values) / len(curves) for values in zip(*(curve.bpp for curve in curves), strict=True)),
        tuple(math.fsum(values) / len(curves) for values in zip(*(curve.psnr for curve in curves), strict=True)),
    )


class JpegGain(NamedTuple):
    """A codec against JPEG on one set, at the same mean bytes."""

    bpp: float
    """Mean over the images, of real files."""
    psnr: float
    """dB, mean over the images."""
    jpeg_psnr: float
    """dB, JPEG's mean curve at `bpp`: one quality for the whole set, interpolated."""
    gain_db: float
    per_image: dict[str, float | None]
    """Gain in dB on each image at its own bpp; None where JPEG does not reach that rate on it."""


def gain_over_jpeg(rows_csv: Path, images: Path | Mapping[str, Path], qualities: Sequence[int] = QUALITIES) -> JpegGain:
    """Compare a test with JPEG (see `baselines.jpeg_bytes`) on the same images at equal real bpp.

    Args:
        rows_csv: the per-image table that a test wrote.
        images: the originals by name, or the root folder of the set.
        qualities: the knots of JPEG's curve, ascending.

    Raises:
        UserError: the table is damaged or empty, an image was not coded or has no finite PSNR, or JPEG does
            not reach the mean rate.
        ImageError: an original cannot be read.
    """
    rows = read_rows(rows_csv)
    for row in rows:
        if row.bpp is None or row.psnr is None or not math.isfinite(row.psnr):
            raise UserError(f"{rows_csv}: {row.name} has no real bpp or no finite PSNR; use the table of a test")
        if isinstance(images, Mapping) and row.name not in images:
            raise UserError(f"{rows_csv}: no original is given for {row.name}")
    bpp, psnr = mean(row.bpp for row in rows), mean(row.psnr for row in rows)
    if bpp is None or psnr is None:
        raise UserError(f"{rows_csv}: a table without images")
    curves = [
        jpeg_curve(images[row.name] if isinstance(images, Mapping) else images / row.name, qualities) for row in rows
    ]
    jpeg_psnr = mean_curve(curves).psnr_at_bpp(bpp)
    per_image = {row.name: _gain(row, curve) for row, curve in zip(rows, curves, strict=True)}
    return JpegGain(bpp, psnr, jpeg_psnr, psnr - jpeg_psnr, per_image)


def _gain(row: ImageRow, curve: JpegCurve) -> float | None:
    assert row.bpp is not None
    assert row.psnr is not None
    try:
        return row.psnr - curve.psnr_at_bpp(row.bpp)
    except UserError:
        return None
