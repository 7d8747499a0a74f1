"""Reading and writing single images: the one place where files become tensors and back.

Every image of the project is float32 RGB in [0, 1], channels first. How a file becomes that:

- the EXIF orientation is applied first, so the picture stands as a viewer shows it;
- grey (8 bit), palette, 1-bit, YCbCr and CMYK / YCCK pixels are converted to RGB by Pillow's `convert`;
- any transparency (RGBA, grey with alpha, a transparent palette entry or colour) is composited over white;
- 16-bit grey keeps its precision: value / 65535 (Pillow's own conversion would clip it at 255);
- 16-bit RGB: Pillow keeps the upper 8 bits of each sample when it reads the file, so these images are 8 bit;
- a PNG whose pixels are complete but whose end marker is cut off is read: nothing is lost;
- of an animation the first frame is read; colour profiles (ICC, gamma) are not applied.

A file that is cut short, empty, not an image, of an unknown pixel format, or larger than Pillow's limit
against decompression bombs is an `ImageError` that names the file and the rule.
"""

import errno
import io
import os
from collections.abc import Set
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from lightning_codec.errors import UserError
from lightning_codec.files import write_atomically

IMAGE_EXTENSIONS = frozenset(
    {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".gif", ".avif"}
)
"""Lower-case file name endings that count as images when a folder is searched."""

LUMA = (0.299, 0.587, 0.114)
"""Weights of R, G and B in luminance, BT.601."""

RANGE_TOLERANCE = 1e-3  # a network's output may leave [0, 1] by rounding; a wrong range is off by far more
_GREY16_MODES = frozenset({"I;16", "I;16L", "I;16B", "I;16N", "I"})


class ImageError(UserError):
    """A file that cannot be read as an image; the message names the file and the rule it breaks."""


def _load(path: Path) -> Image.Image:
    """Decode a file completely and apply its EXIF orientation; any Pillow mode."""
    try:
        with Image.open(path) as file:
            image = ImageOps.exif_transpose(file)  # decodes all pixels first
            image.format = file.format  # lost by the transposition
            return image
    except FileNotFoundError:
        raise ImageError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise ImageError(f"{path}: is a folder, an image file is needed") from None
    except PermissionError:
        raise ImageError(f"{path}: permission denied, the file must be readable") from None
    except UnidentifiedImageError:
        rule = "the file is empty" if path.stat().st_size == 0 else "not an image of a known format"
        raise ImageError(f"{path}: {rule}") from None
    except Image.DecompressionBombError as error:
        raise ImageError(f"{path}: too large, Pillow's limit against decompression bombs: {error}") from None
    except Exception as error:  # a damaged file makes Pillow's plugins raise OSError, SyntaxError, struct.error ...
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(f"{path}: damaged or incomplete image file ({reason})") from None


def _grey16(image: Image.Image, path: Path) -> npt.NDArray[np.float32]:
    """16-bit grey pixels as float32 [H, W] in [0, 1], a transparent grey value becoming white."""
    pixels = np.asarray(image).astype(np.int64)
    if pixels.min() < 0 or pixels.max() > 65535:
        raise ImageError(f"{path}: integer pixels outside 0 to 65535, only 8 and 16 bits are supported")
    grey = pixels.astype(np.float32) / np.float32(65535)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey[pixels == transparent] = 1.0
    return grey


def _to_rgb(image: Image.Image, path: Path) -> Image.Image:
    """Any 8-bit mode to RGB, transparency composited over white."""
    try:
        if image.has_transparency_data:
            rgba = image.convert("RGBA")
            return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
        return image.convert("RGB")
    except ValueError:
        raise ImageError(f"{path}: pixel format {image.mode} cannot be converted to RGB") from None


def _check_mode(image: Image.Image, path: Path) -> None:
    if image.mode == "F":
        raise ImageError(f"{path}: floating-point pixels have no stated range, save as 8- or 16-bit integers")


def read_image(path: Path | str) -> Tensor:
    """Read an image file by the conversion rules of this module.

    Returns:
        float32 [3, H, W], RGB in [0, 1].

    Raises:
        ImageError: the file is missing, cut short, not an image, too large or of an unsupported pixel format.
    """
    path = Path(path)
    image = _load(path)
    _check_mode(image, path)
    if image.mode in _GREY16_MODES:
        return torch.from_numpy(_grey16(image, path)).expand(3, -1, -1).contiguous()
    return from_uint8(np.array(_to_rgb(image, path)))


def open_rgb8(path: Path | str) -> Image.Image:
    """Read an image file as 8-bit RGB for training crops; 16-bit grey is rounded to 8 bits.

    Returns:
        A fully decoded Pillow image of mode RGB; its `format` is that of the file ("JPEG", "PNG", ...).

    Raises:
        ImageError: as `read_image`.
    """
    path = Path(path)
    image = _load(path)
    _check_mode(image, path)
    if image.mode in _GREY16_MODES:
        grey = np.rint(_grey16(image, path) * 255).astype(np.uint8)
        rgb = Image.fromarray(grey).convert("RGB")
    else:
        rgb = _to_rgb(image, path)
    rgb.format = image.format
    return rgb


def from_uint8(pixels: npt.NDArray[np.uint8]) -> Tensor:
    """8-bit RGB pixels [H, W, 3] as a tensor: float32 [3, H, W] in [0, 1] (value / 255)."""
    channels_first = torch.from_numpy(pixels).permute(2, 0, 1)
    return channels_first.to(torch.float32, memory_format=torch.contiguous_format).div_(255)


def to_uint8(image: Tensor) -> Tensor:
    """Round an image in [0, 1] to 8 bits: clamp, times 255, round half to even; any shape, same shape back.

    The only place of the project where images are rounded; inverse of division by 255 for every 8-bit value.
    """
    return image.detach().float().clamp(0, 1).mul(255).round().to(torch.uint8)


def encode_png(image: Tensor) -> bytes:
    """The bytes of an image [3, H, W] in [0, 1] as an 8-bit RGB PNG.

    Raises:
        ValueError: the tensor is not [3, H, W].
    """
    if image.ndim != 3 or image.shape[0] != 3:
        raise ValueError(f"expected an image [3, H, W], got {list(image.shape)}")
    pixels = to_uint8(image).permute(1, 2, 0).contiguous().cpu().numpy()
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return file.getvalue()


def write_png(image: Tensor, path: Path | str) -> None:
    """Write an image [3, H, W] in [0, 1] as an 8-bit RGB PNG.

    The file appears complete or not at all: it is written under a temporary name in the same folder and
    renamed.

    Raises:
        ValueError: the tensor is not [3, H, W].
        OSError: the folder is missing or not writable.
    """
    path, data = Path(path), encode_png(image)
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path.parent))
    write_atomically(path, data)


def find_images(folder: Path | str) -> list[Path]:
    """All image files below a folder, by `IMAGE_EXTENSIONS`, as `find_names`."""
    return [Path(folder, name) for name in find_names(folder, IMAGE_EXTENSIONS)]


def find_names(folder: Path | str, extensions: Set[str]) -> list[str]:
    """Paths, relative to a folder, of all files below it with one of the (lower-case) endings in any case, sorted.

    Linked folders are followed. Hidden files and folders (leading dot, such as the `._*.png` twins in
    archives made on macOS) are left out. No file is opened, so that a million is a matter of seconds.

    Raises:
        UserError: the folder does not exist or is a file.
    """
    folder = Path(folder)
    if not folder.is_dir():
        state = "is a file, not a folder" if folder.exists() else "no such folder"
        raise UserError(f"{folder}: {state}; give an existing folder with images")
    found: list[str] = []
    visited: set[str] = set()  # real paths: links may form a cycle
    for root, folders, files in os.walk(folder, followlinks=True):
        visited.add(os.path.realpath(root))
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".") and os.path.realpath(os.path.join(root, name)) not in visited
        ]
        below = os.path.relpath(root, folder)
        prefix = "" if below == os.curdir else f"{below}/"
        found += [
            prefix + name
            for name in files
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in extensions
        ]
    return sorted(found)


def check_image(image: Tensor, name: str) -> Tensor:
    """Check the contract of every public boundary: RGB, floating point, [N, 3, H, W] or [3, H, W], values in [0, 1].

    Args:
        image: what was given.
        name: what the message calls it.

    Returns:
        [N, 3, H, W], values untouched.

    Raises:
        ValueError: another shape or dtype, or a value that is not finite or more than 1e-3 outside of [0, 1].
    """
    if image.dim() not in (3, 4) or image.shape[-3] != 3 or image.numel() == 0:
        raise ValueError(f"{name} must be RGB, [N, 3, H, W] or [3, H, W], not of shape {tuple(image.shape)}")
    if not image.is_floating_point():
        raise ValueError(f"{name} must be floating point with values in [0, 1], not {image.dtype}")
    low, high = (float(bound) for bound in torch.aminmax(image.detach()))
    # written so that a NaN fails it too
    if not (low >= -RANGE_TOLERANCE and high <= 1 + RANGE_TOLERANCE):
        raise ValueError(f"{name} must have values in [0, 1], but they lie in [{low:.4g}, {high:.4g}]")
    return image if image.dim() == 4 else image.unsqueeze(0)
