"""What codecs make of the same pieces of pictures at about the same rate, side by side in one picture."""

import math
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from lightning_codec.errors import UserError
from lightning_codec.evaluation.output import picture_path
from lightning_codec.evaluation.records import Record, Table

GAP, LINE, FONT_SIZE = 6, 17, 13
"""Pixels: between pieces, of a line of text, of its letters."""
INK, PAPER = (0x22, 0x22, 0x22), (0xFF, 0xFF, 0xFF)


class Piece(NamedTuple):
    """Which part of which image is shown; all of it at most."""

    image: str
    """Name or start of the name of an image of the set, as in "kodim05"."""
    left: int | None = None
    """First column of pixels; None for the middle."""
    top: int | None = None

    @classmethod
    def parse(cls, text: str) -> "Piece":
        """Read "NAME" or "NAME@LEFT,TOP". Raises UserError for anything else."""
        name, at, place = text.partition("@")
        numbers = place.split(",")
        if not name or (at and not (len(numbers) == 2 and all(number.isdecimal() for number in numbers))):
            raise UserError(f"{text!r}: a piece is given as IMAGE or as IMAGE@LEFT,TOP, as in kodim05@300,120")
        return cls(name, int(numbers[0]), int(numbers[1])) if at else cls(name)


def gallery(
    folder: Path,
    table: Table,
    pieces: Sequence[Piece],
    codecs: Sequence[str],
    bpp: float,
    size: int,
    originals: Path | None = None,
) -> Image.Image:
    """Put pieces side by side: a row for every piece, a column for every codec, pixels as they are.

    Of every codec the setting is shown whose file of that very image is nearest to the rate, by ratio; its own rate
    stands below. "CODEC:SETTING" in place of a codec shows that setting, whatever its rate.

    Args:
        folder: of the evaluation; the decoded pictures are in its `pictures`.
        table: its `results.csv`.
        pieces: what is shown.
        codecs: columns, in this order.
        bpp: wanted rate.
        size: side of a piece, in pixels.
        originals: folder with the images of the set, which become the first column.

    Raises:
        UserError: the table lacks a codec, setting or image, a name fits several images, a piece does not lie within
            its image, or a picture is missing or has another size.
    """
    columns = (["original"] if originals else []) + list(codecs)
    rows = [_row(folder, table, piece, codecs, bpp, size, originals) for piece in pieces]
    height = LINE + sum(row[0][0].height + LINE + GAP for row in rows)
    sheet = Image.new("RGB", (len(columns) * (size + GAP) - GAP, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(FONT_SIZE)
    for index, column in enumerate(columns):
        draw.text((index * (size + GAP), 0), column, INK, font)
    top = LINE
    for row in rows:
        for index, (picture, caption) in enumerate(row):
            sheet.paste(picture, (index * (size + GAP), top))
            draw.text((index * (size + GAP), top + picture.height), caption, INK, font)
        top += row[0][0].height + LINE + GAP
    return sheet


def nearest(records: Sequence[Record], bpp: float) -> Record:
    """The record of the rate that has the smallest ratio to the wanted one; of equal ones the first."""
    return min(records, key=lambda record: abs(math.log(record.bpp / bpp)))


def _row(
    folder: Path,
    table: Table,
    piece: Piece,
    codecs: Sequence[str],
    bpp: float,
    size: int,
    originals: Path | None,
) -> list[tuple[Image.Image, str]]:
    image = _image(table, piece.image)
    own = [record for record in table.records if record.image == image]
    box = _box(piece, own[0], size)
    row = [] if originals is None else [(_cut(originals / image, own[0], box), "")]
    for codec in codecs:
        name, _, setting = codec.partition(":")
        known = [record for record in own if record.codec == name and setting in ("", record.setting)]
        if not known:
            choice = ", ".join(dict.fromkeys(record.codec for record in own))
            raise UserError(f"{codec}: no such codec or setting with {image} in the table; its codecs are {choice}")
        record = nearest(known, bpp)
        row.append((_cut(picture_path(folder, record), record, box), f"{record.bpp:.3f} bpp"))
    first, caption = row[0]
    row[0] = (first, f"{PurePosixPath(image).stem}  {caption}")
    return row


def _image(table: Table, start: str) -> str:
    names = list(dict.fromkeys(record.image for record in table.records))
    fitting = [name for name in names if name == start] or [name for name in names if name.startswith(start)]
    if len(fitting) != 1:
        what = "names no image" if not fitting else f"fits {len(fitting)} images"
        raise UserError(f"{start}: {what} of the table, which has {', '.join(names[:3])}, ...")
    return fitting[0]


def _box(piece: Piece, record: Record, size: int) -> tuple[int, int, int, int]:
    width, height = min(size, record.width), min(size, record.height)
    left = (record.width - width) // 2 if piece.left is None else piece.left
    top = (record.height - height) // 2 if piece.top is None else piece.top
    if left + width > record.width or top + height > record.height:
        raise UserError(
            f"{piece.image}@{left},{top}: {width} x {height} pixels from there leave the image of {record.width} x "
            f"{record.height}"
        )
    return left, top, left + width, top + height


def _cut(path: Path, record: Record, box: tuple[int, int, int, int]) -> Image.Image:
    if not path.is_file():
        raise UserError(f"{path}: no such picture; a gallery needs those of the evaluation, and originals of its names")
    with Image.open(path) as picture:
        if picture.size != (record.width, record.height):
            width, height = picture.size
            raise UserError(f"{path}: {width} x {height} pixels; evaluated were {record.width} x {record.height}")
        return picture.convert("RGB").crop(box)
