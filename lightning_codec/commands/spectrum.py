"""`lightning-codec spectrum`: folders of decoded pictures against their originals, frequency by frequency."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_codec.commands.parser import CommandParser
from lightning_codec.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from lightning_codec.metrics.spectrum import Spectra


def run(name: str, arguments: list[str]) -> int:
    """Print one table over all folders; returns the exit code."""
    parser = CommandParser(
        name,
        "Where decoded pictures lack detail, or have what is not in their originals: power in eight rings of frequency "
        "up to the Nyquist frequency, over that of the originals, of luminance and of colour; how far the period of "
        "two pixels stands out of its neighbours (rows, columns, checkerboard), which is the grid that upsampling "
        "leaves; and the standard deviation, in grey levels, where the originals are flattest. "
        "Pictures are paired by name.",
        "lightning-codec spectrum data/kodak decoded_mse/ decoded_diffusion/",
    )
    parser.add_argument("originals", metavar="ORIGINALS", type=Path, help="folder of the original pictures")
    parser.add_argument("decoded", metavar="DECODED", type=Path, nargs="+", help="folders of decoded pictures")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    options = parser.parse_args(arguments)

    from lightning_codec.metrics.spectrum import SPECTRUM_PROTOCOL, compare_spectra

    spectra: dict[str, Spectra] = {}
    for folder in options.decoded:
        try:
            spectra[str(folder)] = compare_spectra(_pairs(folder, options.originals))
        except ValueError as error:
            raise UserError(f"{folder}: {error}") from error
    if options.json:
        document = {folder: _plain(spectrum) for folder, spectrum in spectra.items()}
        print(json.dumps({"protocol": SPECTRUM_PROTOCOL.facts(), "folders": document}, indent=1))
    else:
        print("\n".join(_table(spectra)))
    return 0


def _pairs(folder: Path, originals: Path) -> "Iterator[tuple[Tensor, Tensor]]":
    from lightning_codec.images import find_images, from_uint8, read_image, to_uint8

    there = {path.relative_to(originals).with_suffix(""): path for path in find_images(originals)}
    pictures = find_images(folder)
    if not pictures:
        raise UserError(f"{folder}: no pictures in this folder")
    for path in pictures:
        stem = path.relative_to(folder).with_suffix("")
        if stem not in there:
            raise UserError(f"{path}: has no original of that name in {originals}")
        decoded, original = read_image(path), read_image(there[stem])
        if decoded.shape != original.shape:
            raise UserError(f"{path}: is not of the size of {there[stem]}")
        # A source of 16 bit is compared as the 8-bit picture that a decoder can give.
        yield decoded, from_uint8(to_uint8(original).movedim(0, -1).numpy())


def _plain(spectra: "Spectra") -> dict[str, object]:
    plain = spectra._asdict()
    return {**plain, "peaks": spectra.peaks._asdict(), "peaks_of_originals": spectra.peaks_of_originals._asdict()}


def _table(spectra: "dict[str, Spectra]") -> Iterator[str]:
    width = max(len("originals"), *map(len, spectra))
    yield f"{'':<{width}}          {'power in rings 1 to 8':^39}  {'peaks at period 2':^20}  flat"
    first = next(iter(spectra.values()))
    rows = {"originals": ((1.0,) * len(first.rings), first.peaks_of_originals, first.flat_of_originals)}
    rows |= {folder: (row.rings, row.peaks, row.flat) for folder, row in spectra.items()}
    for name, (rings, peaks, flat) in rows.items():
        grid = " ".join(f"{peak:6.2f}" for peak in peaks)
        yield f"{name:<{width}}  luma    {_numbers(rings)}  {grid}  {flat:4.2f}"
        if name in spectra:
            colour = spectra[name].colour_rings
            yield f"{'':<{width}}  colour  {'none in the originals' if colour is None else _numbers(colour)}"


def _numbers(rings: tuple[float, ...]) -> str:
    return " ".join(f"{ring:4.2f}" for ring in rings)
