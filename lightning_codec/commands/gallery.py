"""`lightning-codec gallery`: codecs side by side at about the same rate, as one picture."""

import argparse
from pathlib import Path

from lightning_codec.commands.parser import CommandParser, positive
from lightning_codec.errors import UserError


def run(name: str, arguments: list[str]) -> int:
    """Write the picture; returns the exit code."""
    parser = CommandParser(
        name,
        "Pieces of pictures as the codecs of an evaluation give them back at about the same rate, one row an image, "
        "one column a codec, pixels as they are. Of every codec the setting is taken whose file of that image is "
        "nearest to the rate.",
        "lightning-codec gallery out --codec ours --codec jpeg --images kodim05@300,120 --bpp 0.2 -o gallery.png",
    )
    parser.add_argument("evaluation", metavar="OUT", type=Path, help="folder that evaluate wrote")
    parser.add_argument("-o", "--output", metavar="FILE.png", type=Path, required=True, help="the picture")
    parser.add_argument(
        "--images", metavar="IMAGE[@LEFT,TOP]", nargs="+", default=[], help="rows (default: the middle of every image)"
    )
    parser.add_argument(
        "--codec",
        metavar="CODEC[:SETTING]",
        action="append",
        default=[],
        help="a column; repeat it (default: every codec)",
    )
    parser.add_argument("--bpp", type=rate, default=0.2, help="wanted bits per pixel (default: 0.2)")
    parser.add_argument("--size", type=positive, default=192, help="side of a piece in pixels (default: 192)")
    parser.add_argument("--originals", metavar="FOLDER", type=Path, help="folder of the set, for a first column")
    options = parser.parse_args(arguments)
    if options.output.suffix.lower() != ".png":
        raise UserError(f"{options.output}: a gallery is written without loss, as .png")

    from lightning_codec.evaluation.gallery import Piece, gallery
    from lightning_codec.evaluation.records import read_records
    from lightning_codec.files import replacing

    table = read_records(options.evaluation / "results.csv")
    pieces = [Piece.parse(text) for text in options.images]
    pieces = pieces or [Piece(image) for image in dict.fromkeys(record.image for record in table.records)]
    codecs = options.codec or list(dict.fromkeys(record.codec for record in table.records))
    sheet = gallery(options.evaluation, table, pieces, codecs, options.bpp, options.size, options.originals)
    with replacing(options.output) as temporary:
        sheet.save(temporary, "PNG", optimize=True)
    return 0


def rate(text: str) -> float:
    """A positive, finite number, for `type=`."""
    value = float(text)
    if not 0.0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value
