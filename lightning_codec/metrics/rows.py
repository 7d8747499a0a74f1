"""The result of one image, and the one rule by which a set of images is averaged."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from lightning_codec.metrics.protocol import Protocol

BPP_PROTOCOL = Protocol(
    "bpp-file-v1", "8 x bytes of the whole file / (original height x width), mean over the coded images"
)
BPP_ESTIMATED_PROTOCOL = Protocol(
    "bpp-estimated-v1", "-log2 of the likelihoods / (original height x width), mean over all images"
)


class ImageRow(NamedTuple):
    """What was measured on one image; None where it could not be computed or was not asked for."""

    dataset: str
    name: str
    """Path relative to the root of the set, posix; unique in the set."""
    height: int
    """Pixels of the original, without padding."""
    width: int
    bytes: int | None
    """Size of the whole coded file."""
    bpp: float | None
    """8 x bytes / (height x width)."""
    bpp_estimated: float
    psnr: float | None
    """dB, see `psnr`; inf when no 8-bit value differs."""
    ms_ssim: float | None
    encode_seconds: float | None
    decode_seconds: float | None


class SetMeans(NamedTuple):
    """Means over the images of one set; each is None where no image has a value."""

    dataset: str
    images: int
    coded: int
    identical: int
    """Images with an infinite PSNR; not part of `psnr`."""
    psnr: float | None
    ms_ssim: float | None
    bpp: float | None
    """Over the coded images."""
    bpp_estimated: float | None
    gap_percent: float | None
    """100 (bytes on disk / estimate - 1), both means taken over the coded images."""
    encode_seconds: float | None
    decode_seconds: float | None


def mean(values: Iterable[float | None]) -> float | None:
    """Mean of the values that are not None, None without any; the same in every order of the values."""
    present = [value for value in values if value is not None]
    return math.fsum(present) / len(present) if present else None


def set_means(rows: Sequence[ImageRow]) -> SetMeans:
    """Average the rows of one set (at least one row).

    The result depends neither on the order of the rows nor on the number of processes that measured them.
    """
    coded = [row for row in rows if row.bpp is not None]
    bpp, estimate = mean(row.bpp for row in coded), mean(row.bpp_estimated for row in coded)
    return SetMeans(
        dataset=rows[0].dataset,
        images=len(rows),
        coded=len(coded),
        identical=sum(row.psnr == math.inf for row in rows),
        psnr=mean(row.psnr for row in rows if row.psnr != math.inf),
        ms_ssim=mean(row.ms_ssim for row in rows),
        bpp=bpp,
        bpp_estimated=mean(row.bpp_estimated for row in rows),
        gap_percent=100 * (bpp / estimate - 1) if bpp is not None and estimate else None,
        encode_seconds=mean(row.encode_seconds for row in rows),
        decode_seconds=mean(row.decode_seconds for row in rows),
    )
