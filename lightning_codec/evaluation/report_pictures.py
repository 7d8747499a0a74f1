"""The pictures of a report: which are embedded, and how."""

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image

SHOWN_SIDE = 768
"""Of a picture with a longer side, the centre is shown, never a scaled picture: scaling hides what coding did."""
PICTURES_LIMIT = 64 * 2**20
"""Bytes that the pictures of a report may take in it."""


class DecodedPicture(NamedTuple):
    """A picture as a codec gives it back."""

    codec: str
    setting: str
    bpp: float
    """Of this picture's file."""
    path: Path
    values: Mapping[str, float | None]
    """What image metrics say of it, by metric."""


class PictureSet(NamedTuple):
    """An original and what the codecs make of it."""

    image: str
    """Its name in the set."""
    original: Path
    """As it was read, 8 bit."""
    decoded: Sequence[DecodedPicture]


class EmbeddedSet(NamedTuple):
    """A `PictureSet` as it goes into the report."""

    pictures: PictureSet
    width: int
    """Pixels that are shown."""
    height: int
    note: str
    """What part of the picture is shown; empty for all of it."""
    data: list[str]
    """Lossless WebP in base64: the original, then the decoded ones."""


class Embedded(NamedTuple):
    """The pictures of a report."""

    sets: list[EmbeddedSet]
    note: str
    """Which pictures were left out; empty where none were."""


def embed(pictures: Sequence[PictureSet], limit: int = PICTURES_LIMIT) -> Embedded:
    """Encode pictures without loss, image by image in their order, until the next would exceed the limit.

    An image comes with all its decoded pictures or not at all.

    Raises:
        ValueError: a decoded picture has not the size of its original.
        OSError: a picture cannot be read.
    """
    sets: list[EmbeddedSet] = []
    total = 0
    for entry in pictures:
        embedded = _embed_set(entry, limit - total)
        if embedded is None:
            missing = f"{len(pictures) - len(sets)} of {len(pictures)} images"
            return Embedded(
                sets,
                f"The pictures of {missing} are not shown here, to keep this file below {limit / 2**20:.0f} MiB of "
                "pictures; all decoded pictures are in the folder pictures beside it.",
            )
        sets.append(embedded)
        total += sum(map(len, embedded.data))
    return Embedded(sets, "")


def _embed_set(entry: PictureSet, room: int) -> EmbeddedSet | None:
    """Encode an image and its decoded pictures; None if they take more than `room` characters."""
    original = _read(entry.original)
    width, height = (min(side, SHOWN_SIDE) for side in original.size)
    left, top = (original.width - width) // 2, (original.height - height) // 2
    box = (left, top, left + width, top + height)
    data: list[str] = []
    for path in (entry.original, *(decoded.path for decoded in entry.decoded)):
        picture = _read(path)
        if picture.size != original.size:
            raise ValueError(f"{path} has {picture.size} pixels, its original {original.size}")
        data.append(_encode(picture.crop(box)))
        room -= len(data[-1])
        if room < 0:
            return None
    note = ""
    if (width, height) != original.size:
        note = (
            f"Shown: {width} x {height} pixels from the centre, at ({left}, {top}) of {original.width} x "
            f"{original.height}; rates and values are those of the whole picture."
        )
    return EmbeddedSet(entry, width, height, note, data)


def _read(path: Path) -> Image.Image:
    with Image.open(path) as picture:
        return picture.convert("RGB")


def _encode(picture: Image.Image) -> str:
    data = io.BytesIO()
    picture.save(data, "WEBP", lossless=True, quality=40, method=2)  # quality: effort; more saves a few per cent
    return base64.b64encode(data.getvalue()).decode("ascii")
