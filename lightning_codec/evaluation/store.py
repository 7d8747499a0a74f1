"""The finished units of an evaluation on disk: what is there is whole, and is not measured again.

Every unit has a key, the SHA-256 of all that its result depends on. Its files lie in one folder:

    <key>.json             the record; written last, so its presence says that the unit is finished
    <key>.png              the decoded picture (of the unit of an original: the original as it was read)
    <key>.<network>.npy    features of the picture for the distances between sets, float32 [n, D]
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from lightning_codec.files import sweep, write_array, write_json
from lightning_codec.images import write_png
from lightning_codec.lock import HOLDER, FolderLock
from lightning_codec.metrics.features import Features


def unit_key(**parts: object) -> str:
    """The key of a unit: SHA-256 in hexadecimal over all that its result depends on."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


class Store:
    """The folder of finished units.

    Args:
        folder: made when first written to.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def picture(self, key: str) -> Path:
        """Where the picture of a unit lies."""
        return self.folder / f"{key}.png"

    def features(self, key: str, network: str) -> Path:
        """Where the features of a unit's picture lie."""
        return self.folder / f"{key}.{network}.npy"

    def write_picture(self, key: str, image: Tensor) -> None:
        """Keep the picture [3, H, W] in [0, 1] of a unit."""
        write_png(image, self.picture(key))

    def write_features(self, key: str, network: str, features: Features) -> None:
        """Keep features [n, D] of a unit's picture."""
        write_array(self.features(key, network), features)

    def finish(self, key: str, record: dict[str, Any]) -> None:
        """Declare a unit finished; everything else of it must have been written."""
        write_json(self._record(key), record)

    def read(self, key: str) -> dict[str, Any] | None:
        """The record of a unit; None where it is not finished."""
        try:
            record = json.loads(self._record(key).read_bytes())
        except (FileNotFoundError, ValueError):
            return None
        return record if isinstance(record, dict) else None

    def is_finished(self, key: str, has_picture: bool, networks: Sequence[str]) -> bool:
        """Whether nothing of a unit is missing."""
        files = [self.features(key, network) for network in networks] + ([self.picture(key)] if has_picture else [])
        return self.read(key) is not None and all(path.is_file() for path in files)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other evaluations out, and remove what an interrupted one left half-written.

        Raises:
            UserError: another evaluation works in the folder.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FolderLock(self.folder)
        lock.acquire(f"{self.folder}: {HOLDER} is evaluating there now; wait, or give another -o")
        try:
            sweep(self.folder)
            yield
        finally:
            lock.release()

    def _record(self, key: str) -> Path:
        return self.folder / f"{key}.json"
