import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from lightning_codec.errors import UserError
from lightning_codec.evaluation.baselines import jpeg_bytes
from lightning_codec.evaluation.jpeg_gain import JpegCurve, gain_over_jpeg, jpeg_curve, mean_curve
from lightning_codec.images import ImageError
from lightning_codec.metrics.rows import ImageRow, rows_to_csv

CURVE = JpegCurve((10, 20, 30), (0.25, 0.5, 1.0), (25.0, 28.0, 30.0))


def photograph(seed: int, height: int = 48, width: int = 64) -> Image.Image:
    generator = torch.Generator().manual_seed(seed)
    coarse = F.interpolate(torch.rand(1, 3, 8, 8, generator=generator), (height, width), mode="bicubic")
    noisy = (coarse + 0.05 * torch.randn(coarse.shape, generator=generator)).clamp(0, 1)[0]
    return Image.fromarray((255 * noisy).byte().permute(1, 2, 0).numpy())


@pytest.fixture
def images(tmp_path: Path) -> Path:
    (tmp_path / "set" / "sub").mkdir(parents=True)
    photograph(0).save(tmp_path / "set" / "a.png")
    photograph(1, 40, 40).save(tmp_path / "set" / "sub" / "b.png")
    return tmp_path / "set"


def test_bytes_are_those_of_the_file_that_pillow_writes(tmp_path):
    image = photograph(0)
    image.save(tmp_path / "a.jpg", quality=37, optimize=True, subsampling=2)
    data = jpeg_bytes(image, 37)
    assert data == (tmp_path / "a.jpg").read_bytes()
    image.save(tmp_path / "plain.jpg", quality=37, subsampling=2)
    assert len(data) < (tmp_path / "plain.jpg").stat().st_size


def test_curve_of_an_image_is_measured_on_real_files_and_rises(images, tmp_path):
    curve = jpeg_curve(images / "a.png", (10, 50, 90))
    assert list(curve.bpp) == sorted(curve.bpp)
    assert list(curve.psnr) == sorted(curve.psnr)
    path = tmp_path / "a.jpg"
    photograph(0).save(path, quality=50, optimize=True, subsampling=2)
    assert curve.bpp[1] == 8 * path.stat().st_size / (48 * 64)
    difference = np.asarray(Image.open(path), np.float64) - np.asarray(photograph(0), np.float64)
    assert curve.psnr[1] == pytest.approx(10 * math.log10(255**2 / np.mean(difference**2)), abs=1e-9)


def test_interpolation_is_exact_at_a_knot_and_linear_in_the_logarithm():
    assert [CURVE.psnr_at_bpp(bpp) for bpp in CURVE.bpp] == list(CURVE.psnr)
    assert CURVE.psnr_at_bpp(math.sqrt(0.25 * 0.5)) == pytest.approx(26.5)
    assert CURVE.psnr_at_bpp(2**-0.25) == pytest.approx(29.5)


@pytest.mark.parametrize("bpp", [0.2499, 1.0001])
def test_extrapolation_is_refused(bpp):
    with pytest.raises(UserError, match=r"quality 10 to 30 spans 0\.2500 to 1\.0000 bpp"):
        CURVE.psnr_at_bpp(bpp)


def test_a_curve_that_turns_back_gives_its_best_value():
    assert JpegCurve((1, 2, 3), (0.5, 0.25, 1.0), (26.0, 20.0, 30.0)).psnr_at_bpp(0.5) == 26.0
    assert JpegCurve((1, 2, 3), (0.5, 0.5, 1.0), (26.0, 27.0, 30.0)).psnr_at_bpp(0.5) == 27.0


def test_mean_curve_averages_at_equal_quality():
    other = JpegCurve(CURVE.qualities, (0.75, 1.5, 3.0), (35.0, 36.0, 37.0))
    assert mean_curve([CURVE, other]) == (CURVE.qualities, (0.5, 1.0, 2.0), (30.0, 32.0, 33.5))


def rows_of_jpeg(images: Path, quality: int, better_by: float) -> list[ImageRow]:
    rows = []
    for name in ("a.png", "sub/b.png"):
        curve = jpeg_curve(images / name, (quality,))
        width, height = Image.open(images / name).size
        size = round(curve.bpp[0] * height * width / 8)
        psnr = curve.psnr[0] + better_by
        rows.append(ImageRow("set", name, height, width, size, curve.bpp[0], 1.0, psnr, None, None, None))
    return rows


@pytest.mark.parametrize("by_name", [False, True])
def test_gain_of_jpeg_with_a_bonus_is_the_bonus(images, tmp_path, by_name):
    rows = rows_of_jpeg(images, 40, better_by=1.5)
    table = tmp_path / "test_set.csv"
    table.write_text(rows_to_csv(rows))
    originals = {row.name: images / row.name for row in rows} if by_name else images
    gain = gain_over_jpeg(table, originals, qualities=(20, 40, 60))
    assert gain.gain_db == pytest.approx(1.5, abs=1e-9)
    assert gain.bpp == pytest.approx((rows[0].bpp + rows[1].bpp) / 2)  # type: ignore[operator]
    assert gain.psnr - gain.jpeg_psnr == gain.gain_db
    assert gain.per_image == {name: pytest.approx(1.5, abs=1e-9) for name in ("a.png", "sub/b.png")}


def test_an_image_below_the_rates_of_jpeg_has_no_gain_of_its_own(images, tmp_path):
    rows = rows_of_jpeg(images, 40, better_by=0)
    rows[0] = rows[0]._replace(bpp=0.01)
    rows[1] = rows[1]._replace(bpp=5.0)
    table = tmp_path / "test_set.csv"
    table.write_text(rows_to_csv(rows))
    gain = gain_over_jpeg(table, images, qualities=(20, 90))
    assert gain.per_image["a.png"] is None
    assert gain.per_image["sub/b.png"] is not None


def test_tables_that_cannot_be_compared_are_refused(images, tmp_path):
    table = tmp_path / "test_set.csv"
    rows = rows_of_jpeg(images, 40, better_by=0)
    for wrong in (rows[0]._replace(bpp=None), rows[0]._replace(psnr=math.inf), rows[0]._replace(psnr=None)):
        table.write_text(rows_to_csv([wrong]))
        with pytest.raises(UserError, match=r"a\.png has no real bpp or no finite PSNR"):
            gain_over_jpeg(table, images)
    table.write_text(rows_to_csv([]))
    with pytest.raises(UserError, match="without images"):
        gain_over_jpeg(table, images)
    table.write_text(rows_to_csv(rows))
    with pytest.raises(UserError, match=r"no original is given for sub/b\.png"):
        gain_over_jpeg(table, {"a.png": images / "a.png"})
    with pytest.raises(ImageError, match=r"a\.png: no such file"):
        gain_over_jpeg(table, images / "sub")
