"""Procedural images with the statistics of photographs: the coloured dead leaves model.

Opaque shapes ("leaves") of random position, size, form and colour cover each other. With radii distributed as
r**-3 the model is scale invariant: like photographs it has sharp occlusion edges, smooth regions of all sizes
and a power spectrum near 1/f**2 [Lee, Mumford, Huang, "Occlusion models for natural images", IJCV 2001; for
learning: Madhusudana et al., "Revisiting dead leaves model: training with synthetic data", IEEE SPL 2022].
Here the leaves also carry shading and texture (gratings and 1/f noise), and the whole image is slightly
blurred and noisy, as a lens and a sensor leave it. Measured on crops of 128 pixels, the amplitude spectrum
falls with the power -1.29 of the frequency; that of downscaled photographs does the same.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from torch import Tensor
from torch.utils.data import Dataset

from lightning_codec.data.sampling import SampleKey, Stream, generator, sample_key
from lightning_codec.data.types import NamedImage
from lightning_codec.images import LUMA, from_uint8

Array = npt.NDArray[np.float32]

_COVERAGE = 3.0  # mean number of leaves over a pixel, large leaves at the border aside
_BATCHED_RADIUS = 16  # pixels; larger leaves are too few and too unequal to be drawn together
_TILE = 256  # side of the periodic 1/f noise, in pixels
_LUMA = np.array(LUMA, dtype=np.float32)


class _Leaves(NamedTuple):
    """Geometry of n leaves in drawing order, later ones on top; arrays of length n."""

    x: Array  # centre, in pixels
    y: Array
    radius: Array  # of the circle around the leaf, in pixels
    cos: Array  # orientation
    sin: Array
    width: Array  # 1 / half axis, in 1 / pixels
    height: Array
    angular: npt.NDArray[np.bool_]  # rectangle, else ellipse
    cut: Array  # the part beyond this coordinate of the second axis (in half axes) is cut off

    def take(self, index: Any) -> "_Leaves":  # noqa: ANN401 - whatever indexes an array
        """Every field indexed alike."""
        return _Leaves._make(field[index] for field in self)


def _draw_leaves(size: int, rng: np.random.Generator) -> _Leaves:
    """Leaves enough to cover an image of the given side, radii by inverse transform of p(r) ~ r**-3."""
    smallest, largest = 2.0 * 2.0 ** rng.uniform(0, 2.5), size * rng.uniform(0.4, 1.0)
    mean_square = 2 * np.log(largest / smallest) / (smallest**-2 - largest**-2)
    n = int(_COVERAGE * size**2 / (0.5 * np.pi * mean_square))  # 0.5: a leaf's mean part of its circle
    u = rng.random((8, n), dtype=np.float32)
    radius = (smallest**-2 - u[0] * (smallest**-2 - largest**-2)) ** -0.5
    aspect = 0.3 ** u[1]
    angular = u[2] < 0.4
    half = np.where(angular, radius / np.sqrt(1 + aspect**2), radius)  # corners of rectangles lie on the circle
    return _Leaves(
        x=u[3] * (size + 2 * radius) - radius,
        y=u[4] * (size + 2 * radius) - radius,
        radius=radius,
        cos=np.cos(np.pi * u[5]),
        sin=np.sin(np.pi * u[5]),
        width=1 / half,
        height=1 / (half * aspect),
        angular=angular,
        cut=np.where(u[6] < 0.7, 1.0, u[7] * 1.2 - 0.4).astype(np.float32),
    )


def _column(y: npt.NDArray[np.int64]) -> Array:
    """Coordinates [h] as [h, 1]."""
    return y.astype(np.float32)[:, None]


def _row(x: npt.NDArray[np.int64]) -> Array:
    """Coordinates [w] as [1, w]."""
    return x.astype(np.float32)[None]


def _inside(leaves: _Leaves, y: Array, x: Array) -> npt.NDArray[np.bool_]:
    """Whether pixels lie in leaves: y [n, h, 1] and x [n, 1, w] in pixels, n leaves -> [n, h, w]."""
    leaf = leaves.take((slice(None), None, None))
    dx, dy = x - leaf.x, y - leaf.y
    u = (leaf.cos * leaf.width) * dx + (leaf.sin * leaf.width) * dy
    v = (leaf.cos * leaf.height) * dy - (leaf.sin * leaf.height) * dx
    uncut = v <= leaf.cut
    np.multiply(u, u, out=u)
    np.multiply(v, v, out=v)
    return (np.where(leaf.angular, np.maximum(u, v), u + v) <= 1) & uncut


def _topmost(leaves: _Leaves, size: int) -> npt.NDArray[np.int32]:
    """The number (from 1) of the uppermost leaf at every pixel, 0 where there is none: [size, size]."""
    margin = 2 * _BATCHED_RADIUS + 2  # small leaves are drawn whole, also beyond the border
    stride = size + 2 * margin
    canvas = np.zeros((stride, stride), dtype=np.int32)
    lower = 0.0
    while lower < _BATCHED_RADIUS:  # small leaves together, in groups of similar size
        upper = min(max(lower * 1.4, 3.0), _BATCHED_RADIUS)
        members = np.flatnonzero((leaves.radius > lower) & (leaves.radius <= upper))
        lower = upper
        leaf = leaves.take(members)
        left, top = np.floor(leaf.x - upper), np.floor(leaf.y - upper)
        box = np.arange(2 * int(np.ceil(upper)) + 2)
        inside = _inside(leaf, top[:, None, None] + _column(box), left[:, None, None] + _row(box))
        n, place = np.divmod(np.flatnonzero(inside), box.size**2)
        corner = ((top + margin) * stride + (left + margin)).astype(np.int32)
        layer = np.zeros(stride * stride, dtype=np.int32)
        # of several leaves at one pixel the last one written stays: members are in drawing order
        layer[corner[n] + (box[:, None] * stride + box).ravel()[place]] = members[n] + 1
        np.maximum(canvas, layer.reshape(canvas.shape), out=canvas)
    label = canvas[margin : margin + size, margin : margin + size]
    for i in np.flatnonzero(leaves.radius > _BATCHED_RADIUS):
        leaf = leaves.take(slice(i, i + 1))
        reach = leaf.radius[0]
        y0, y1 = max(int(leaf.y[0] - reach), 0), min(int(leaf.y[0] + reach) + 2, size)
        x0, x1 = max(int(leaf.x[0] - reach), 0), min(int(leaf.x[0] + reach) + 2, size)
        inside = _inside(leaf, _column(np.arange(y0, y1)), _row(np.arange(x0, x1)))[0]
        label[y0:y1, x0:x1][inside & (label[y0:y1, x0:x1] <= i)] = i + 1
    return label


@lru_cache(maxsize=1)
def _noise_tile() -> Array:
    """Periodic 1/f noise, mean 0, standard deviation 1: [_TILE, _TILE]; the same for every image."""
    f = np.fft.fftfreq(_TILE)
    amplitude = 1 / np.maximum(np.hypot(f[:, None], f), 1 / _TILE)
    white = np.fft.fft2(np.random.Generator(np.random.Philox(key=0)).standard_normal((_TILE, _TILE)))
    noise = np.fft.ifft2(white * amplitude).real
    return np.asarray((noise - noise.mean()) / noise.std(), dtype=np.float32)


def _draw_colours(n: int, rng: np.random.Generator) -> Array:
    """Mean colours of n leaves, [n, 3] in [0, 1]: brightness in the image's own range, little chroma."""
    contrast, darkest = rng.uniform(0.3, 0.9), rng.uniform(0.02, 0.08)
    darkest += (0.92 - contrast) * rng.uniform(0, 0.6)
    brightness = darkest + contrast * rng.random((n, 1), dtype=np.float32) ** rng.uniform(0.8, 1.6)
    chroma = rng.standard_normal((n, 3), dtype=np.float32) * rng.exponential(0.1, (n, 1)).astype(np.float32)
    chroma += rng.normal(0, 0.05, 3).astype(np.float32)  # colour of the light
    chroma -= (chroma @ _LUMA)[:, None]
    return np.clip(brightness * (1 + chroma) + 0.3 * chroma * (1 - brightness), 0, 1)


def _shade(top: npt.NDArray[np.int32], leaves: _Leaves, rng: np.random.Generator) -> Array:
    """Brightness factor of every pixel, about 1: its leaf's gradient, grating and 1/f noise; [size, size]."""
    size, n = top.shape[0], leaves.x.size + 1
    x = np.append(np.float32(size / 2), leaves.x)  # number 0: the ground behind all leaves
    y = np.append(np.float32(size / 2), leaves.y)
    radius = np.append(np.float32(size), leaves.radius)
    u = rng.random((9, n), dtype=np.float32)
    angle, slope = 2 * np.pi * u[0], 0.35 * u[1] / radius
    frequency = np.pi * 0.05 ** u[2] * 0.7  # 0.0175 to 0.35 cycles a pixel
    turn, strength = np.pi * u[3], np.where(u[4] < 0.3, 0.25 * u[5], 0)
    grain = 0.35 * u[6] ** 1.5
    table = np.stack(
        [
            x,
            y,
            slope * np.cos(angle),
            slope * np.sin(angle),
            2 * frequency * np.cos(turn),
            2 * frequency * np.sin(turn),
            strength,
            grain,
            np.floor(u[7] * _TILE),
            np.floor(u[8] * _TILE),
        ]
    ).astype(np.float32)
    x, y, slope_x, slope_y, wave_x, wave_y, strength, grain, tile_x, tile_y = table[:, top]
    row, column = np.arange(size, dtype=np.float32)[:, None], np.arange(size, dtype=np.float32)
    dx, dy = column - x, row - y
    index = (row + tile_y).astype(np.int32) % _TILE * _TILE + (column + tile_x).astype(np.int32) % _TILE
    noise = _noise_tile().ravel()[index]
    factor = 1 + slope_x * dx + slope_y * dy + strength * np.sin(wave_x * dx + wave_y * dy) + grain * noise
    return np.asarray(factor, dtype=np.float32)


def _blur(image: Array, weight: float) -> Array:
    """Separable 3-tap blur [weight, 1 - 2 weight, weight] of [size + 2, size + 2, 3] -> [size, size, 3]."""
    image = (1 - 2 * weight) * image[1:-1] + weight * (image[:-2] + image[2:])
    return (1 - 2 * weight) * image[:, 1:-1] + weight * (image[:, :-2] + image[:, 2:])


def render(size: int, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """One dead leaves image.

    Args:
        size: side in pixels.
        rng: the only source of randomness.

    Returns:
        uint8 [size, size, 3], RGB.
    """
    leaves = _draw_leaves(size + 2, rng)  # one pixel more on each side for the blur
    top = _topmost(leaves, size + 2)
    colours = _draw_colours(leaves.x.size + 1, rng)
    image = colours[top] * _shade(top, leaves, rng)[..., None]
    image = _blur(image, rng.uniform(0.0, 0.14))
    image += (rng.random(image.shape, dtype=np.float32) - np.float32(0.5)) * np.float32(rng.uniform(0, 0.025))
    return np.asarray(np.rint(np.clip(image, 0, 1) * 255), dtype=np.uint8)


class DeadLeavesTrainingSet(Dataset[Tensor]):
    """A fresh image for every position of the training order; no files.

    Args:
        crop_size: side of the images in pixels.
        seed: of all images.
    """

    def __init__(self, crop_size: int, seed: int) -> None:
        self.crop_size, self.seed = crop_size, seed

    def __len__(self) -> int:
        """Nominal size, the length of an epoch unless `samples_per_epoch` says otherwise."""
        return 1024

    def __getitem__(self, key: SampleKey | int) -> Tensor:
        """Image of a position (epoch, position): float32 [3, crop_size, crop_size] in [0, 1]."""
        key = sample_key(key)
        rng = generator(self.seed, Stream.DEAD_LEAVES, key.epoch, key.position)
        return from_uint8(render(self.crop_size, rng))


class DeadLeavesEvaluationSet(Dataset[NamedImage]):
    """Six fixed images of 256x256 pixels, the same for every seed and never among the training images."""

    def __len__(self) -> int:
        """Number of images."""
        return 6

    def __getitem__(self, index: int) -> NamedImage:
        """Image number `index`, float32 [1, 3, 256, 256] in [0, 1], named dead_leaves_000.png and so on."""
        pixels = render(256, generator(0, Stream.DEAD_LEAVES_EVALUATION, 0, index))
        return NamedImage(from_uint8(pixels).unsqueeze(0), f"dead_leaves_{index:03d}.png")
