"""The tensors of a network in a safetensors file: what is rounded, and reading them back without trust."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from lightning_codec.checkpoint import CheckpointError

MAX_HEADER_BYTES = 2**20
DTYPES = {torch.float16: "F16", torch.float32: "F32", torch.int32: "I32"}
"""Types of our networks' tensors, and how the format calls them."""


def stored_form(network: nn.Module) -> dict[str, Tensor]:
    """The tensors of a float32 network as a file holds them: parameters in float16, buffers as they are.

    What a network was trained to may be rounded: the model that ships is the one with rounded weights, and encoder
    and decoder make their tables from the same. Buffers are rules, not weights: integer tables, and bounds such as
    1e-9, for which float16 has no number but 0.
    """
    parameters = {name for name, _ in network.named_parameters()}
    return {
        name: (value.detach().half() if name in parameters else value.detach()).contiguous()
        for name, value in network.state_dict().items()
    }


def round_weights(network: nn.Module) -> dict[str, Tensor]:
    """Give a network the weights that it will have after it was stored and read.

    Returns:
        Its `stored_form`.

    Raises:
        ValueError: a weight is not finite, or too large for float16; the network is then as it was.
    """
    stored = stored_form(network)
    for name, value in stored.items():
        if not bool(value.isfinite().all()):
            raise ValueError(f"{name} has values that are not finite in float16")
    network.load_state_dict(stored)
    return stored


def read_tensors(path: Path, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Read a safetensors file whose header says exactly what is expected; before that no tensor is allocated.

    Args:
        path: the file.
        expected: `stored_form` of the network: names, shapes and types.

    Raises:
        CheckpointError: damaged, cut, or of another network.
        OSError: it cannot be read.
    """
    try:
        found = _announced(path)
        wanted = {name: (DTYPES[value.dtype], tuple(value.shape)) for name, value in expected.items()}
        for name in sorted(found.keys() | wanted.keys()):
            if found.get(name) != wanted.get(name):
                raise CheckpointError(
                    f"{path}: tensor {name} is {_described(found.get(name))}, "
                    f"its card needs {_described(wanted.get(name))}: install the package again"
                )
        return load_file(path)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{path}: damaged or cut ({reason}): install the package again") from error


def _announced(path: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Type and shape of every tensor, by the file's header: its length in 8 bytes, little endian, then JSON."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > MAX_HEADER_BYTES:
            raise ValueError(f"a header of {length} bytes")
        header: dict[str, dict[str, list[int]]] = json.loads(file.read(length))
    return {name: (str(tensor["dtype"]), tuple(tensor["shape"])) for name, tensor in header.items()}


def _described(tensor: tuple[str, tuple[int, ...]] | None) -> str:
    return "absent" if tensor is None else f"{tensor[0]} {list(tensor[1])}"
