import numpy as np
import pytest
import torch

from lightning_codec.data import dead_leaves
from lightning_codec.data.crops import random_crop
from lightning_codec.data.dead_leaves import DeadLeavesEvaluationSet, DeadLeavesTrainingSet, render
from lightning_codec.data.sampling import SampleKey, Stream, generator
from lightning_codec.images import find_images, open_rgb8
from tests.photos import photos


def rng(position):
    return generator(0, Stream.DEAD_LEAVES, 0, position)


def amplitude_slope(images):
    """Slope of log amplitude over log frequency (3 to 59 cycles an image) of the mean luma power spectrum."""
    size = images[0].shape[0]
    window = np.outer(np.hanning(size), np.hanning(size))
    power = np.zeros((size, size))
    for image in images:
        luma = image @ np.array([0.299, 0.587, 0.114])
        power += np.abs(np.fft.fft2((luma - luma.mean()) * window)) ** 2
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(size, 1 / size), np.fft.fftfreq(size, 1 / size)))
    rings = np.arange(3, 60)
    mean = [power[np.abs(frequency - ring) < 0.5].mean() for ring in rings]
    return np.polyfit(np.log(rings), np.log(mean), 1)[0] / 2


@pytest.fixture(scope="module")
def images():
    return [render(128, rng(i)) for i in range(64)]


def test_estimator_finds_the_slope_of_noise_made_with_it():
    white = np.fft.fft2(np.random.default_rng(0).standard_normal((128, 128)))
    f = np.hypot(*np.meshgrid(np.fft.fftfreq(128), np.fft.fftfreq(128)))
    noise = np.fft.ifft2(white / np.maximum(f, 1 / 128)).real
    assert amplitude_slope([np.repeat(noise[..., None], 3, axis=2)]) == pytest.approx(-1, abs=0.05)


def test_spectrum_falls_like_a_photograph(images):
    assert -1.35 < amplitude_slope(images) < -1


@pytest.mark.data
def test_spectrum_has_the_slope_of_photographs(images):
    crops = [
        random_crop(open_rgb8(path), 128, (0.6, 0.8), rng(i))
        for i, path in enumerate(find_images(photos("bsds500", "train"))[:64])
    ]
    assert amplitude_slope(images) == pytest.approx(amplitude_slope(crops), abs=0.1)


def test_colours_and_contrasts_spread_over_the_range(images):
    pixels = np.stack(images) / 255
    np.testing.assert_allclose(pixels.mean((0, 1, 2)), 0.43, atol=0.07)
    np.testing.assert_allclose(pixels.std((0, 1, 2)), 0.22, atol=0.05)
    assert 0.06 < np.ptp(pixels, axis=-1).mean() < 0.2  # mean distance of the largest and smallest channel
    assert np.mean(pixels == 0) < 0.02
    assert np.mean(pixels == 1) < 0.03
    assert min(image.std() for image in pixels) > 0.03


def test_radii_follow_the_inverse_cube_law():
    leaves = dead_leaves._draw_leaves(512, rng(0))
    a, b = leaves.radius.min(), leaves.radius.max()
    r = a * np.array([1.5, 2, 4, 8])
    expected = (r**-2 - b**-2) / (a**-2 - b**-2)  # of p(r) ~ r**-3 on [a, b]
    measured = (leaves.radius[:, None] > r).mean(0)
    assert leaves.radius.size > 500
    np.testing.assert_allclose(measured, expected, atol=4 * np.sqrt(0.25 / leaves.radius.size))


def test_later_leaves_cover_earlier_ones():
    size = 48
    leaves = dead_leaves._draw_leaves(size, rng(1))
    y, x = np.mgrid[:size, :size].astype(np.float32)
    expected = np.zeros((size, size))
    for i in range(leaves.x.size):
        u = ((x - leaves.x[i]) * leaves.cos[i] + (y - leaves.y[i]) * leaves.sin[i]) * leaves.width[i]
        v = ((y - leaves.y[i]) * leaves.cos[i] - (x - leaves.x[i]) * leaves.sin[i]) * leaves.height[i]
        inside = np.maximum(abs(u), abs(v)) <= 1 if leaves.angular[i] else u**2 + v**2 <= 1
        expected[inside & (v <= leaves.cut[i])] = i + 1
    assert leaves.radius.max() > dead_leaves._BATCHED_RADIUS  # both ways of drawing are compared
    assert np.mean(dead_leaves._topmost(leaves, size) != expected) < 0.002  # a pixel on an edge may be rounded


def test_every_leaf_has_texture_about_its_colour():
    for position in range(20):
        leaves = dead_leaves._draw_leaves(64, rng(position))
        factor = dead_leaves._shade(np.zeros((64, 64), dtype=np.int32), leaves, rng(position))
        assert factor.mean() == pytest.approx(1, abs=0.5)
        assert np.abs(np.diff(factor, 2)).mean() > 1e-5  # a mere gradient has no second difference


def test_training_image_is_a_function_of_seed_epoch_and_position():
    keys = [SampleKey(0, 0, 0), SampleKey(0, 1, 0), SampleKey(1, 0, 0)]
    crops = [DeadLeavesTrainingSet(64, seed=0)[key] for key in keys]
    crops.append(DeadLeavesTrainingSet(64, seed=1)[keys[0]])
    assert all(crop.shape == (3, 64, 64) and crop.dtype == torch.float32 for crop in crops)
    assert all(not torch.equal(crops[i], crops[j]) for i in range(4) for j in range(i))
    assert torch.equal(crops[2], DeadLeavesTrainingSet(64, seed=0)[SampleKey(1, 0, 99)])


def test_evaluation_images_are_fixed_and_not_for_training():
    images = [DeadLeavesEvaluationSet()[i] for i in range(len(DeadLeavesEvaluationSet()))]
    assert [image.name for image in images] == [f"dead_leaves_{i:03d}.png" for i in range(6)]
    assert all(image.image.shape == (1, 3, 256, 256) for image in images)
    assert torch.equal(images[3].image, DeadLeavesEvaluationSet()[3].image)
    training = DeadLeavesTrainingSet(256, seed=0)
    assert not any(torch.equal(image.image[0], training[i]) for i, image in enumerate(images))
