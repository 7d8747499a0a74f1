"""Reading a checkpoint: safe, strict, and complete in itself.

Every LightningModule of this package writes a record beside Lightning's own entries:

    checkpoint["lightning_codec"] = {"format": 1, "module": class path, "init_args": plain values}

so that the file alone says which network its weights belong to. `fit` adds the configuration of the whole run:

    checkpoint["lightning_codec_configuration"] = {"model": ..., "data": ..., "trainer": ..., ...}
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast, get_args, get_origin, get_type_hints

import torch
from torch import Tensor, nn

from lightning_codec.errors import UserError

T = TypeVar("T")

RECORD_KEY = "lightning_codec"
RECORD_FORMAT = 1
CONFIGURATION_KEY = "lightning_codec_configuration"


class CheckpointError(UserError):
    """The file is not a checkpoint that this package can use; the message names the file and the rule."""


class Checkpoint(NamedTuple):
    """What a checkpoint says about itself."""

    path: Path
    module: str
    """class path of the LightningModule that wrote it"""
    init_args: dict[str, Any]
    """its arguments, as plain values"""
    state_dict: dict[str, Tensor]
    """its weights"""
    configuration: dict[str, Any]
    """of the run that wrote it, as plain values; empty where there was none"""


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
    return Checkpoint(
        path, record["module"], record["init_args"], content["state_dict"], content.get(CONFIGURATION_KEY, {})
    )


def load_weights(network: nn.Module, checkpoint: Checkpoint, prefix: str) -> None:
    """Load the weights whose names begin with `prefix`; all have to be there and to fit.

    Raises:
        CheckpointError: they do not fit.
    """
    fill(network, weights_below(prefix, checkpoint), checkpoint.path)


def weights_below(prefix: str, checkpoint: Checkpoint) -> dict[str, Tensor]:
    """The weights whose names begin with `prefix`, named without it."""
    return {k.removeprefix(prefix): v for k, v in checkpoint.state_dict.items() if k.startswith(prefix)}


def fill(network: nn.Module, weights: Mapping[str, Tensor], source: Path | str) -> None:
    """Give a network weights; all have to be there and to fit.

    Args:
        network: whose weights they become.
        weights: as of its `state_dict`.
        source: where they are from, for the message.

    Raises:
        CheckpointError: they do not fit.
    """
    try:
        network.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{source}: its weights do not fit the network: {reason}") from error


def to_plain(config: Any) -> dict[str, Any]:  # noqa: ANN401 - any dataclass
    """A configuration (a dataclass, nested ones too) as plain values: dictionaries, lists, numbers, strings."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(config)))
    return plain


def from_plain(cls: type[T], plain: dict[str, Any]) -> T:
    """Undo `to_plain`: nested dataclasses and tuples are made again from dictionaries and lists.

    Raises:
        CheckpointError: an unknown or missing setting.
    """
    hints = get_type_hints(cls)

    def restored(name: str, value: Any) -> Any:  # noqa: ANN401 - whatever the field holds
        kind = hints[name]
        if is_dataclass(kind):
            return from_plain(cast("type[Any]", kind), value)
        is_tuple = tuple in (get_origin(kind), *map(get_origin, get_args(kind)))  # or one of several kinds is
        return tuple(value) if is_tuple and isinstance(value, list) else value

    try:
        return cls(**{name: restored(name, value) for name, value in plain.items()})
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"{cls.__name__} of another version of lightning_codec: {error}") from error


def weights_digest(config: Any, network: nn.Module) -> bytes:  # noqa: ANN401 - any dataclass
    """SHA-256 over the configuration, and name, type, shape and bytes of every weight."""
    digest = hashlib.sha256(json.dumps(to_plain(config), sort_keys=True).encode())
    for name, value in sorted(network.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.digest()
