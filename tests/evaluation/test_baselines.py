import io
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from lightning_codec.errors import UserError
from lightning_codec.evaluation.baselines import BASELINES, ClassicCodec, baseline_named, jpeg_bytes
from lightning_codec.images import from_uint8, to_uint8
from lightning_codec.metrics.psnr import psnr
from tests.evaluation.pictures import picture

QUALITIES = {"jpeg": (10, 90), "webp": (5, 90), "jpeg2000": (24, 40), "avif": (20, 80), "jxl": (10, 90)}


def codec(name: str, quality: int) -> ClassicCodec:
    baseline = baseline_named(name)
    assert baseline is not None
    if name == "jxl" and find_spec("pillow_jxl") is None:
        pytest.skip("pillow-jxl-plugin is not installed")
    return ClassicCodec(baseline, quality)


@pytest.mark.parametrize("name", QUALITIES)
def test_more_quality_costs_more_bytes_and_gains_psnr_and_the_bytes_are_enough(name):
    image = picture(3, 51, 67)
    files, decibels = [], []
    for quality in QUALITIES[name]:
        files.append(codec(name, quality).compress(image))
        decoded = codec(name, QUALITIES[name][0]).decompress(files[-1])  # another codec object, another quality
        assert decoded.shape == image.shape
        assert torch.equal(decoded, to_uint8(decoded).float() / 255)
        decibels.append(float(psnr(decoded, image)))
    assert len(files[0]) < 0.7 * len(files[1])
    assert 15 < decibels[0] < decibels[1] - 3


def saved(image: Tensor, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(to_uint8(image).permute(1, 2, 0).numpy()).save(file, **options)  # type: ignore[arg-type]
    return file.getvalue()


def test_jpeg_is_the_shorter_of_sequential_and_progressive():
    common = {"format": "JPEG", "optimize": True, "subsampling": "4:2:0"}
    sizes = {}
    for quality, side in ((3, 48), (95, 256)):
        image = picture(0, side, side)
        both = [saved(image, quality=quality, progressive=progressive, **common) for progressive in (False, True)]
        data = codec("jpeg", quality).compress(image)
        assert data == jpeg_bytes(Image.fromarray(to_uint8(image).permute(1, 2, 0).numpy()), quality)
        assert data == min(both, key=len)
        sizes[quality] = [len(file) for file in both]
    assert sizes[3][0] < sizes[3][1]
    assert sizes[95][0] > sizes[95][1]


def test_jpeg_2000_reaches_the_psnr_that_it_is_asked_for():
    image = picture(1, 128, 128)
    for decibels in (25, 35):
        coder = codec("jpeg2000", decibels)
        assert float(psnr(coder.decompress(coder.compress(image)), image)) == pytest.approx(decibels, abs=1.5)
    assert coder.compress(image)[:4] == b"\xff\x4f\xff\x51"  # a code stream, not the boxes of a .jp2


def test_avif_keeps_the_resolution_of_colour():
    # one pixel wide stripes of equal luma: 4:2:0 would mix them
    stripes = torch.zeros(3, 32, 32)
    stripes[0, :, ::2], stripes[2, :, 1::2] = 1.0, 1.0
    coder = codec("avif", 90)
    decoded = coder.decompress(coder.compress(stripes))
    assert float((decoded[0, :, ::2] - decoded[0, :, 1::2]).mean()) > 0.8


def test_pictures_are_rounded_not_cut_to_8_bit():
    image = from_uint8(np.full((16, 16, 3), 100, np.uint8))
    assert codec("jpeg", 90).compress(image + 0.6 / 255) == codec("jpeg", 90).compress(image + 1 / 255)


@pytest.mark.parametrize(
    ("name", "quality", "message"),
    [
        ("jpeg", 0, "jpeg: quality 0: it must be a whole number from 1 to 95"),
        ("jpeg", 96, "1 to 95"),
        ("webp", 101, "0 to 100"),
        ("jpeg2000", 9, "10 to 60"),
        ("avif", -1, "0 to 100"),
        ("jxl", 100, "1 to 99"),
    ],
)
def test_qualities_that_a_codec_does_not_have_are_refused(name, quality, message):
    with pytest.raises(UserError, match=message):
        codec(name, quality)


def test_a_format_that_is_not_there_is_refused_with_what_to_do():
    baseline = baseline_named("avif")
    assert baseline is not None
    with pytest.raises(UserError, match=r"avif cannot be coded here: install Pillow 11\.3 or later"):
        ClassicCodec(baseline._replace(library=lambda: None), 50)
    assert baseline_named("heic") is None


def test_every_baseline_says_what_codes():
    for baseline in BASELINES:
        if baseline.name != "jxl" or find_spec("pillow_jxl") is not None:
            library = baseline.library()
            assert library is not None
            assert any(digit.isdigit() for digit in library.split()[-1]), library
