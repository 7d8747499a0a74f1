"""Per-image results of an evaluation: merged, written as CSV and JSON, shown as one table."""

import math
import platform
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import lightning
import torch
from rich.console import Console
from rich.table import Table

import lightning_codec
from lightning_codec.files import write_csv, write_json
from lightning_codec.metrics.ms_ssim import MS_SSIM_PROTOCOL
from lightning_codec.metrics.psnr import PSNR_PROTOCOL
from lightning_codec.metrics.rows import (
    BPP_ESTIMATED_PROTOCOL,
    BPP_PROTOCOL,
    ImageRow,
    SetMeans,
    set_means,
)

_PROTOCOLS = {
    "bpp": BPP_PROTOCOL,
    "bpp_estimated": BPP_ESTIMATED_PROTOCOL,
    "psnr": PSNR_PROTOCOL,
    "ms_ssim": MS_SSIM_PROTOCOL,
}


class MeasuredImage(NamedTuple):
    """One image as the evaluation saw it: the row that is published, and what belongs to it."""

    row: ImageRow
    loss: float | None
    reasons: dict[str, str]
    """Why a column of the row is None, by column."""
    decoded: bool
    """The picture that was measured is the one decoded from the file."""
    decoded_difference: int | None
    """Largest difference of the decoded image and that of the forward pass in 8-bit levels, where both were made."""


class Origin(NamedTuple):
    """Where results come from, for the header of the JSON file."""

    stage: str
    step: int
    epoch: int
    checkpoint: str | None
    device: str
    fingerprint: str | None
    """Fingerprint of the weights that coded the files, in hexadecimal; None when nothing was coded."""
    trained_parameters: int
    """Number of weights of the module that its training changes."""


def merge(images: Iterable[MeasuredImage]) -> list[MeasuredImage]:
    """Keep one measurement for each (dataset, name), sorted by name.

    A distributed sampler repeats images to fill the last batch. Of two measurements the coded one is kept (a
    repeated image may be coded at one place and not at the other), otherwise the first.
    """
    kept: dict[tuple[str, str], MeasuredImage] = {}
    for image in images:
        key = (image.row.dataset, image.row.name)
        if key not in kept or (kept[key].row.bytes is None and image.row.bytes is not None):
            kept[key] = image
    return [kept[key] for key in sorted(kept)]


def write_results(folder: Path, images: Sequence[MeasuredImage], origin: Origin) -> None:
    """Write `<stage>_<dataset>.csv` and `.json` for the images of one set."""
    rows = [image.row for image in images]
    stem = f"{origin.stage}_{rows[0].dataset}"
    write_csv(folder / f"{stem}.csv", ImageRow._fields, rows)
    document = {
        "header": _header(images, origin),
        "images": {image.row.name: _entry(image) for image in images},
    }
    write_json(folder / f"{stem}.json", document)


def _header(images: Sequence[MeasuredImage], origin: Origin) -> dict[str, object]:
    rows = [image.row for image in images]
    differences = [image.decoded_difference for image in images if image.decoded_difference is not None]
    return {
        **origin._asdict(),
        "protocol": {
            **{column: protocol.facts() for column, protocol in _PROTOCOLS.items()},
            "distortion": "of the image decoded from the file" if images[0].decoded else "of the network's x_hat",
            "seconds": "wall time of one image: network and entropy coding, no file access, warm-up dropped",
            "threads": torch.get_num_threads(),
        },
        "means": {name: _finite(value) for name, value in set_means(rows)._asdict().items()},
        "counts": {
            column: sum(getattr(row, column) is not None for row in rows) for column in ("psnr", "ms_ssim", "bpp")
        },
        "largest_decoded_difference": max(differences, default=None),
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Of what computes the results."""
    return {
        "lightning_codec": lightning_codec.__version__,
        "torch": torch.__version__,
        "lightning": lightning.__version__,
        "python": platform.python_version(),
    }


def _entry(image: MeasuredImage) -> dict[str, object]:
    """Return the JSON object of one image: null and a reason where there is no finite number."""
    entry = {column: _finite(value) for column, value in image.row._asdict().items()}
    reasons = dict(image.reasons)
    for column, value in image.row._asdict().items():
        if isinstance(value, float) and not math.isfinite(value):
            reasons[column] = "infinite: no 8-bit value differs" if column == "psnr" else f"not finite: {value}"
    return {**entry, "decoded_difference": image.decoded_difference, "reasons": reasons}


def _finite(value: object) -> object:
    """JSON knows no infinity and no NaN."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def print_means(means: Sequence[SetMeans], title: str) -> None:
    """Print one line of means for each set; a dash stands for a value that could not be computed."""
    headings = ("images", "bpp", "estimate", "gap %", "PSNR dB", "MS-SSIM", "enc. s", "dec. s")
    rows = {}
    for row in means:
        numbers = (
            (row.bpp, ".4f"),
            (row.bpp_estimated, ".4f"),
            (row.gap_percent, "+.2f"),
            (row.psnr, ".2f"),
            (row.ms_ssim, ".4f"),
            (row.encode_seconds, ".3f"),
            (row.decode_seconds, ".3f"),
        )
        rows[row.dataset] = [
            str(row.images),
            *("-" if value is None else format(value, spec) for value, spec in numbers),
        ]
    print_table(title, headings, rows)


def print_table(title: str, headings: Sequence[str], rows: Mapping[str, Sequence[str]]) -> None:
    """Print one line of cells for each set."""
    table = Table(title=title, box=None, padding=(0, 2, 0, 0))  # fits into 80 columns
    table.add_column("set", overflow="fold")
    for heading in headings:
        table.add_column(heading, justify="right")
    for dataset, cells in rows.items():
        table.add_row(dataset, *cells)
    Console().print(table)
