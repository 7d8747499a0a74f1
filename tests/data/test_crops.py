import numpy as np
import pytest
from PIL import Image

from lightning_codec.data.crops import downscaled_size, random_crop


def coordinates(width, height):
    """An image whose red is x, green y and blue 0."""
    y, x = np.mgrid[:height, :width].astype(np.uint8)
    return Image.fromarray(np.stack([x, y, 0 * x], axis=-1))


def jpeg(image):
    image.format = "JPEG"
    return image


def crop(image, size, downscale=None, seed=0):
    return random_crop(image, size, downscale, np.random.default_rng(seed))


def test_crop_is_a_window_of_the_image_mirrored_half_of_the_time():
    image, mirrored, corners = coordinates(20, 12), 0, set()
    for seed in range(400):
        pixels = crop(image, 8, seed=seed).astype(int)
        assert pixels.shape == (8, 8, 3)
        if pixels[0, 0, 0] > pixels[0, 1, 0]:
            mirrored += 1
            pixels = pixels[:, ::-1]
        left, top = pixels[0, 0, :2]
        corners.add((left, top))
        np.testing.assert_array_equal(pixels, np.asarray(image)[top : top + 8, left : left + 8])
    assert abs(mirrored - 200) < 4 * 10  # four standard deviations
    assert corners == {(x, y) for x in range(13) for y in range(5)}


def test_crop_is_a_function_of_the_generator():
    image = jpeg(coordinates(200, 180))
    first = crop(image, 64, (0.6, 0.8), seed=3)
    np.testing.assert_array_equal(first, crop(image, 64, (0.6, 0.8), seed=3))
    assert not np.array_equal(first, crop(image, 64, (0.6, 0.8), seed=4))


@pytest.mark.parametrize("factor", [0.5, 0.75])
def test_downscaled_crop_is_a_crop_of_the_downscaled_image(factor):
    noise = np.random.default_rng(0).integers(0, 256, (160, 120, 3), dtype=np.uint8)
    image = jpeg(Image.fromarray(noise))
    size = (round(120 * factor), round(160 * factor))
    small = np.asarray(image.resize(size, Image.Resampling.BICUBIC))
    windows = np.lib.stride_tricks.sliding_window_view(small, (32, 32, 3))[:, :, 0]
    for seed in range(5):
        pixels = crop(image, 32, (factor, factor), seed).astype(int)
        error = min(np.abs(windows - option).max(axis=(2, 3, 4)).min() for option in (pixels, pixels[:, ::-1]))
        assert error <= 1  # the phases of the filter are rounded differently


def test_only_jpeg_sources_are_downscaled():
    step = np.abs(np.diff(crop(coordinates(200, 200), 32, (0.5, 0.5))[..., 0].astype(int)))
    assert np.all(step == 1)
    step = np.abs(np.diff(crop(jpeg(coordinates(200, 200)), 32, (0.5, 0.5))[..., 0].astype(int)))
    assert np.all(step == 2)


@pytest.mark.parametrize(
    ("size", "factor", "expected"),
    [
        ((400, 300), 0.5, (200, 150)),
        ((400, 150), 0.5, (256, 96)),  # the factor is raised to 96 / 150
        ((96, 500), 0.5, (96, 500)),
        ((50, 500), 0.5, (50, 500)),  # smaller than the crop: never enlarged
    ],
)
def test_downscaling_stops_at_the_crop_size(size, factor, expected):
    assert downscaled_size(size, factor, crop_size=96) == expected


def test_small_image_is_padded_by_its_last_pixels():
    image = coordinates(5, 12)
    pixels = crop(image, 8).astype(int)
    top = pixels[0, 0, 1]
    assert 0 <= top <= 4
    inside = pixels[:, :5] if pixels[0, 0, 0] == 0 else pixels[:, 4::-1]
    np.testing.assert_array_equal(inside, np.asarray(image)[top : top + 8])
    np.testing.assert_array_equal(pixels[:, 5:], np.repeat(pixels[:, 4:5], 3, axis=1))
