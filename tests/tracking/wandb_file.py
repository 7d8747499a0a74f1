"""What a Weights & Biases run has on disk, read without the library's help: its `.wandb` file is a LevelDB log."""

import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2 as proto

BLOCK = 32768
FULL, LAST = 1, 4


def run_folders(root: Path) -> list[Path]:
    """Folders of offline runs below `root`, in the order of their names; those that have ended are complete.

    The service writes the end of a file after the process has been told that its run is finished.
    """
    runs = sorted(path for path in root.rglob("offline-run-*") if path.is_dir())
    deadline = time.monotonic() + 60
    while not all(any(r.WhichOneof("record_type") == "exit" for r in _records(run)) for run in runs):
        assert time.monotonic() < deadline, "a run has not ended"
        time.sleep(0.2)
    return runs


def history(run: Path) -> list[dict[str, Any]]:
    """The rows that were logged, values as they are; of an image the caption and so on."""
    return [_items(record.history.item) for record in _records(run) if record.WhichOneof("record_type") == "history"]


def config(run: Path) -> dict[str, Any]:
    """The configuration that the run was started with."""
    (start,) = (record.run for record in _records(run) if record.WhichOneof("record_type") == "run")
    return _items(start.config.update)


def exit_code(run: Path) -> int:
    """With what the run ended."""
    (code,) = (r.exit.exit_code for r in _records(run) if r.WhichOneof("record_type") == "exit")
    return int(code)


def _records(run: Path) -> Iterator[Any]:
    (file,) = run.glob("*.wandb")
    data = file.read_bytes()
    assert data[:4] == b":W&B"
    position, parts = 7, b""
    while position + 7 <= len(data):
        left = BLOCK - position % BLOCK
        if left < 7:
            position += left
            continue
        length, kind = struct.unpack("<HB", data[position + 4 : position + 7])
        parts += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (FULL, LAST):
            record = proto.Record()  # type: ignore[attr-defined]
            record.ParseFromString(parts)
            yield record
            parts = b""


def _items(items: Any) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for item in items:
        *path, name = item.nested_key or [item.key]
        inner = values
        for part in path:
            inner = inner.setdefault(part, {})
        inner[name] = json.loads(item.value_json)
    return values
