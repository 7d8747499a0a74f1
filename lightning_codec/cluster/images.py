"""One table of every image that the members of a sweep have coded; tables of several machines go together."""

import csv
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

    Args:
        sweep: finished, or in part.
        others: such tables of sweeps with the same axes. Of a member that is in several, this sweep's lines count,
            then the first table's.

    Returns:
        The table's path and its lines, text by column.

    Raises:
        UserError: one of the others is missing or has other columns.
    """
    keys = [axis.key for axis in sweep.axes]
    columns = [*keys, PARAMETERS, *MEASURED]
    rows: list[dict[str, str]] = []
    for table in [_own(sweep), *(_read(path, columns) for path in others)]:
        there = {tuple(row[key] for key in keys) for row in rows}
        rows += [row for row in table if tuple(row[key] for key in keys) not in there]
    write_csv(sweep.folder / TABLE, columns, ([row[column] for column in columns] for row in rows))
    return sweep.folder / TABLE, rows


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
            found += [{**shared, **{column: row[column] for column in MEASURED}} for row in rows]
    return found


def _read(path: Path, columns: list[str]) -> list[dict[str, str]]:
    if not path.is_file():
        raise UserError(f"{path}: no such table; give the {TABLE} of another sweep with the same axes")
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        header, rows = reader.fieldnames, list(reader)
    if header != columns or not all(map(_complete, rows)):
        raise UserError(f"{path}: is no {TABLE} of a sweep with the same axes, whose columns are {','.join(columns)}")
    return rows


def _complete(row: dict[str, str]) -> bool:
    """Whether a line has a text for every column, and a number or nothing where there are numbers."""
    if None in row.values():
        return False
    try:
        return all(math.isfinite(float(row[column])) for column in (PARAMETERS, *MEASURED[2:]) if row[column])
    except ValueError:
        return False
