"""One table of every image that the members of a sweep have coded; tables of several machines go together."""

import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path

from lightning_codec.cluster.sweep import Sweep, newest_test, trained_parameters
from lightning_codec.errors import UserError
from lightning_codec.files import write_csv

TABLE = "images.csv"
PARAMETERS = "trained_parameters"
MEASURED = ("dataset", "name", "bytes", "bpp", "psnr", "encode_seconds", "decode_seconds")


def write_images(sweep: Sweep, others: Sequence[Path] = ()) -> tuple[Path, list[dict[str, str]]]:
    """Gather what `test` measured of every image, with the settings of its member.

    Perceptual distances follow after what every test measures, each under the key of its protocol, so that numbers of
    different protocols are in different columns.

    Args:
        sweep: finished, or in part.
        others: such tables of sweeps with the same axes. Of a member that is in several, this sweep's lines count,
            then the first table's.

    Returns:
        The table's path and its lines, text by column, empty where there is no number.

    Raises:
        UserError: one of the others is missing or has other columns.
    """
    keys = [axis.key for axis in sweep.axes]
    columns = [*keys, PARAMETERS, *MEASURED]
    rows: list[dict[str, str]] = []
    for table in [_own(sweep), *(_read(path, columns) for path in others)]:
        there = {tuple(row[key] for key in keys) for row in rows}
        rows += [row for row in table if tuple(row[key] for key in keys) not in there]
    columns += sorted({column for row in rows for column in row}.difference(columns))
    rows = [{column: row.get(column, "") for column in columns} for row in rows]
    write_csv(sweep.folder / TABLE, columns, (row.values() for row in rows))
    return sweep.folder / TABLE, rows


def metrics(row: dict[str, str]) -> list[str]:
    """The columns of a line that measure the picture: PSNR and the perceptual distances."""
    columns = list(row)
    return ["psnr", *columns[columns.index(MEASURED[-1]) + 1 :]]


def _own(sweep: Sweep) -> list[dict[str, str]]:
    found = []
    for member in filter(sweep.finished, sweep.members):
        for path in sorted(newest_test(sweep, member).glob("test_*.csv")):
            with path.open(newline="") as file:
                rows = list(csv.DictReader(file))
            if not rows or "bytes" not in rows[0]:  # a table of another metric
                continue
            count = trained_parameters(path.with_suffix(".json"))
            shared = {**member.settings, PARAMETERS: "" if count is None else str(count)}
            distances = _distances(path.with_name(f"{path.stem}_perceptual.json"))
            found += [
                {**shared, **{column: row[column] for column in MEASURED}, **distances.get(row["name"], {})}
                for row in rows
            ]
    return found


def _distances(path: Path) -> dict[str, dict[str, str]]:
    """Perceptual distances by image and key of the protocol, from the JSON file of a test, which there may not be."""
    if not path.is_file():
        return {}
    document = json.loads(path.read_text())
    keys = {name: facts["key"] for name, facts in document["header"]["protocol"].items()}
    return {
        image: {key: "" if entry[name] is None else str(entry[name]) for name, key in keys.items()}
        for image, entry in document["images"].items()
    }


def _read(path: Path, columns: list[str]) -> list[dict[str, str]]:
    if not path.is_file():
        raise UserError(f"{path}: no such table; give the {TABLE} of another sweep with the same axes")
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        header, rows = reader.fieldnames, list(reader)
    if (header or [])[: len(columns)] != columns or not all(map(_complete, rows)):
        raise UserError(f"{path}: is no {TABLE} of a sweep with the same axes, whose columns are {','.join(columns)}")
    return rows


def _complete(row: dict[str, str]) -> bool:
    """Whether a line has a text for every column, and a number or nothing where there are numbers."""
    if None in row.values():
        return False
    columns = list(row)
    numbers = [PARAMETERS, *columns[columns.index(MEASURED[1]) + 1 :]]
    try:
        return all(math.isfinite(float(row[column])) for column in numbers if row[column])
    except ValueError:
        return False
