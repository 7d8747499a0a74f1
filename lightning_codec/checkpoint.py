"""Reading a checkpoint: safe, strict, and complete in itself.

Every LightningModule of this package writes a record beside Lightning's own entries:

    checkpoint["lightning_codec"] = {"format": 1, "module": class path, "init_args": plain values}

so that the file alone says which network its weights belong to.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lightning_codec.entropy import EntropyConfig
from lightning_codec.errors import UserError
from lightning_codec.model import NetworkConfig

RECORD_KEY = "lightning_codec"
RECORD_FORMAT = 1


class CheckpointError(UserError):
    """The file is not a checkpoint that this package can use; the message names the file and the rule."""


class Checkpoint(NamedTuple):
    """What a checkpoint says about itself."""

    module: str
    """class path of the LightningModule that wrote it"""
    init_args: dict[str, Any]
    """its arguments, as plain values"""
    state_dict: dict[str, Tensor]
    """its weights"""


def make_record(module: type, init_args: dict[str, Any]) -> dict[str, Any]:
    """The record for `checkpoint["lightning_codec"]`; `init_args` must be plain values."""
    return {
        "format": RECORD_FORMAT,
        "module": f"{module.__module__}.{module.__qualname__}",
        "init_args": init_args,
    }


def read_checkpoint(path: Path | str) -> Checkpoint:
    """Read a Lightning checkpoint of this package, executing nothing that it contains.

    Raises:
        CheckpointError: no such file, not a checkpoint, one of another program, or of a newer format.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint file")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types for a file that is not its own
        raise CheckpointError(
            f"{path}: not a readable checkpoint ({type(error).__name__}); give a .ckpt file of `lightning-codec fit`"
        ) from error
    record = content.get(RECORD_KEY) if isinstance(content, dict) else None
    if not isinstance(record, dict) or "state_dict" not in content:
        raise CheckpointError(f"{path}: a checkpoint of another program (it has no {RECORD_KEY!r} record)")
    if record.get("format") != RECORD_FORMAT:
        raise CheckpointError(
            f"{path}: checkpoint format {record.get('format')}, this version reads {RECORD_FORMAT}: update it"
        )
    return Checkpoint(record["module"], record["init_args"], content["state_dict"])


def network_to_plain(config: NetworkConfig) -> dict[str, Any]:
    """The configuration as plain values: dictionaries, lists, numbers, strings."""
    plain = asdict(config)
    plain["channels"] = list(config.channels)
    return plain


def network_from_plain(plain: dict[str, Any]) -> NetworkConfig:
    """Undo `network_to_plain`.

    Raises:
        CheckpointError: an unknown or missing setting.
    """
    try:
        values = dict(plain)
        values["channels"] = tuple(values["channels"])
        values["entropy"] = EntropyConfig(**values["entropy"])
        return NetworkConfig(**values)
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"network configuration of another version of lightning_codec: {error}") from error
