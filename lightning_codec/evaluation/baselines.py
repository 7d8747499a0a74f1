"""Classic codecs at their strongest sensible settings, each as a pair of functions of one picture."""

import io
from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
from PIL import AvifImagePlugin, Image, features
from torch import Tensor

from lightning_codec.errors import UserError
from lightning_codec.images import check_image, from_uint8, to_uint8


class BaselineCodec(Protocol):
    """What an evaluation measures; `Codec` is of this form too."""

    def compress(self, image: Tensor) -> bytes:
        """A complete file of one picture [3, H, W] in [0, 1]."""

    def decompress(self, data: bytes) -> Tensor:
        """The picture of a file, [3, H, W] in [0, 1], from its bytes alone."""


def jpeg_bytes(image: Image.Image, quality: int) -> bytes:
    """Code an RGB image as JPEG, quality 1 to 95: 4:2:0, optimised Huffman tables, the shorter of two scan orders.

    Progressive files are up to 15 % longer than sequential ones below 0.5 bpp and up to 4 % shorter above 1 bpp.
    """
    files = (
        _saved(image, "JPEG", quality=quality, optimize=True, subsampling="4:2:0", progressive=progressive)
        for progressive in (False, True)
    )
    return min(files, key=len)


def webp_bytes(image: Image.Image, quality: int) -> bytes:
    """Code an RGB image as lossy WebP, quality 0 to 100, with the most thorough method."""
    return _saved(image, "WEBP", quality=quality, method=6)


def jpeg2000_bytes(image: Image.Image, decibels: int) -> bytes:
    """Code an RGB image as a JPEG 2000 code stream without the boxes of a .jp2 file, for a PSNR of its components."""
    return _saved(
        image,
        "JPEG2000",
        quality_mode="dB",
        quality_layers=[decibels],
        irreversible=True,
        mct=1,
        no_jp2=True,
    )


def avif_bytes(image: Image.Image, quality: int) -> bytes:
    """Code an RGB image as AVIF, quality 0 to 100, 4:4:4, on one thread."""
    return _saved(image, "AVIF", quality=quality, speed=4, subsampling="4:4:4", max_threads=1)


def jxl_bytes(image: Image.Image, quality: int) -> bytes:
    """Code an RGB image as JPEG XL, quality 1 to 99, on one thread."""
    return _saved(image, "JXL", quality=quality, effort=7, num_threads=0)


def _saved(image: Image.Image, file_format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format=file_format, **options)
    return file.getvalue()


class Baseline(NamedTuple):
    """A classic codec with all that is fixed about it; only the quality is left open."""

    name: str
    file_format: str
    """As Pillow calls it."""
    qualities: range
    encode: Callable[[Image.Image, int], bytes]
    settings: str
    """How it is used, for people."""
    library: Callable[[], str | None]
    """Name and version of what codes; None where it cannot be had."""
    remedy: str
    """What to do to have it."""
    cost: float
    """Rough seconds per megapixel, to lay out the work."""


def _jpeg_library() -> str:
    turbo = features.version_feature("libjpeg_turbo")
    return f"libjpeg-turbo {turbo}" if turbo else f"libjpeg {features.version_codec('jpg')}"


def _pillow_library(feature: str, name: str) -> str | None:
    return f"{name} {features.version(feature)}" if features.check(feature) else None


def _jxl_library() -> str | None:
    """Load the plugin, which tells Pillow of the format; decoding on one thread, as coding."""
    try:
        from importlib.metadata import version

        from pillow_jxl import JpegXLImagePlugin
    except ImportError:
        return None
    JpegXLImagePlugin.DECODE_THREADS = 0
    return f"pillow-jxl-plugin {version('pillow-jxl-plugin')}"


BASELINES = (
    Baseline(
        "jpeg",
        "JPEG",
        range(1, 96),
        jpeg_bytes,
        "optimised Huffman tables, sequential or progressive, whichever file is shorter, 4:2:0; quality 1 to 95",
        _jpeg_library,
        "",
        0.1,
    ),
    Baseline(
        "webp",
        "WEBP",
        range(101),
        webp_bytes,
        "lossy, method 6 of 0 to 6, 4:2:0 as the format has it; quality 0 to 100",
        lambda: _pillow_library("webp", "libwebp"),
        "install a Pillow with WebP",
        0.5,
    ),
    Baseline(
        "jpeg2000",
        "JPEG2000",
        range(10, 61),
        jpeg2000_bytes,
        "irreversible 9/7 wavelet, component transform, one layer cut at a target PSNR, code stream without the boxes "
        "of a .jp2 file; quality is the target in dB, 10 to 60",
        lambda: _pillow_library("jpg_2000", "OpenJPEG"),
        "install a Pillow with JPEG 2000",
        1.0,
    ),
    Baseline(
        "avif",
        "AVIF",
        range(101),
        avif_bytes,
        "speed 4 of 0 to 10 (2 takes three times as long for 0.2 to 0.3 dB), 8 bit, 4:4:4, one thread; "
        "quality 0 to 100",
        lambda: _pillow_library("avif", "libavif"),
        "install Pillow 11.3 or later",
        8.0,
    ),
    Baseline(
        "jxl",
        "JXL",
        range(1, 100),
        jxl_bytes,
        "effort 7 of 1 to 9 (9 gains no PSNR at equal rate), one thread; quality 1 to 99",
        _jxl_library,
        "pip install pillow-jxl-plugin",
        2.0,
    ),
)


def baseline_named(name: str) -> Baseline | None:
    """The classic codec of a name; None where there is none."""
    return next((baseline for baseline in BASELINES if baseline.name == name), None)


class ClassicCodec:
    """A classic codec at one quality, on one thread.

    Raises:
        UserError: the quality is not one of the codec's, or this installation cannot code the format.
    """

    def __init__(self, baseline: Baseline, quality: int) -> None:
        check_quality(baseline, quality)
        if baseline.library() is None:
            raise UserError(f"{baseline.name} cannot be coded here: {baseline.remedy}")
        AvifImagePlugin.DEFAULT_MAX_THREADS = 1
        self.baseline = baseline
        self.quality = quality

    def compress(self, image: Tensor) -> bytes:
        """Code a picture [3, H, W] in [0, 1], rounded to 8 bit.

        Raises:
            ValueError: not an image of that form.
        """
        pixels = to_uint8(check_image(image, "the image")[0]).permute(1, 2, 0).contiguous().numpy()
        return self.baseline.encode(Image.fromarray(pixels), self.quality)

    def decompress(self, data: bytes) -> Tensor:
        """The picture of a file, [3, H, W] in [0, 1], every value a multiple of 1/255."""
        with Image.open(io.BytesIO(data), formats=[self.baseline.file_format]) as file:
            return from_uint8(np.array(file.convert("RGB")))


def check_quality(baseline: Baseline, quality: int) -> None:
    """Raise UserError where a codec has no such quality."""
    lowest, highest = baseline.qualities[0], baseline.qualities[-1]
    if quality not in baseline.qualities:
        raise UserError(f"{baseline.name}: quality {quality}: it must be a whole number from {lowest} to {highest}")
