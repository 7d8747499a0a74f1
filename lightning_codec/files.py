"""Files that are either complete or not there, and what goes into them."""

import csv
import hashlib
import io
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import numpy.typing as npt


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name in the folder of `path` (made if needed), which is renamed over `path` at the end.

    Raises:
        OSError: the folder or the file cannot be written; `path` is then as it was before, as after any exception.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{uuid4().hex}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Delete the temporary files below a folder that writers which were killed have left; nobody may be writing."""
    for path in folder.rglob(".*.tmp"):
        if re.fullmatch(r"\.[0-9a-f]{32}\.tmp", path.name):
            path.unlink(missing_ok=True)


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file under a temporary name, as `replacing`.

    Raises:
        OSError: the folder or the file cannot be written; `path` is then as it was before.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_json(path: Path, document: Mapping[str, object]) -> None:
    """Write a JSON file, as `write_atomically`.

    Raises:
        ValueError: the document holds a number that is not finite.
    """
    write_atomically(path, json.dumps(document, indent=1, allow_nan=False).encode())


def write_csv(path: Path, header: Iterable[object], rows: Iterable[Iterable[object]]) -> None:
    """Write a CSV file, as `write_atomically`: numbers in full precision, None as an empty cell.

    Rows are written as they come. File names that are not UTF-8 keep their bytes.
    """
    with (
        replacing(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def write_array(path: Path, array: npt.NDArray[Any]) -> None:
    """Write an array for `numpy.load`, as `write_atomically`."""
    data = io.BytesIO()
    np.save(data, array, allow_pickle=False)
    write_atomically(path, data.getvalue())


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal; the file is read piece by piece."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()
