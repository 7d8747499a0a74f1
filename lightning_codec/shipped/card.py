"""The card of a model: what it is, how it was made, what it reaches and what it is not for."""

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, cast, get_args, get_origin, get_type_hints

from lightning_codec.errors import UserError

T = TypeVar("T")

ModelKind = Literal["entropy codec", "diffusion decoder"]
NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")


@dataclass(frozen=True)
class Facts:
    """What only those know of a model who have trained it.

    Args:
        data: which images it was trained on.
        command: that trained it.
        seed: of the training.
        steps: of the optimiser.
        hours: that the training took.
        results: what was measured, by set of images and then by metric: {"kodak": {"bpp": 0.2, "psnr": 27.6}}.
        licence: of the weights.
        not_for: what the model should not be used for.
    """

    data: str
    command: str
    seed: int
    steps: int
    hours: float
    results: dict[str, dict[str, float]]
    licence: str
    not_for: str


@dataclass(frozen=True)
class Card:
    """All about a model but its weights; it is the file `<name>.json`.

    Args:
        name: of the model and of its files.
        kind: what it is.
        quality: rung of the ladder of rates, 1 or more; that of its codec, for a diffusion decoder.
        codec: the model whose files it decodes; an entropy codec's own name.
        fingerprint: that these files carry, 8 hexadecimal digits.
        weights: name, without ending, of the file of its tensors, which several models may share.
        rate: which rate of a network for several (`lightning_codec.multirate`), from 0; 0 for any other.
        parameters: how many weights.
        init_args: configuration, as the record of a checkpoint has it.
        trained_sha256: `weights_digest` of the network as it was trained, before its weights were rounded.
        weights_sha256: `weights_digest` of the network as it ships.
        pixels_sha256: of the 8-bit picture that its sample, `<name>.lcb`, decoded to at the export, `<name>.png`.
        facts: what its makers say.
    """

    name: str
    kind: ModelKind
    quality: int
    codec: str
    fingerprint: str
    weights: str
    rate: int
    parameters: int
    init_args: dict[str, Any]
    trained_sha256: str
    weights_sha256: str
    pixels_sha256: str
    facts: Facts


def read_card(path: Path) -> Card:
    """Read the card of a model.

    Raises:
        UserError: the file is damaged or not a card, or is named otherwise than its model.
        OSError: it cannot be read.
    """
    card = _filled(Card, _read_json(path), str(path))
    if card.name != path.stem:
        raise UserError(f"{path}: is the card of {card.name!r}: a card has the name of its model")
    return card


def read_facts(path: Path) -> Facts:
    """Read what is known of a model from a JSON object with the fields of `Facts`.

    Raises:
        UserError: not a JSON object of that form.
        OSError: the file cannot be read.
    """
    return _filled(Facts, _read_json(path), str(path))


def _read_json(path: Path) -> object:
    try:
        document: object = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not JSON ({error}): correct it, or get the file again") from error
    return document


def _filled(cls: type[T], document: object, where: str) -> T:
    """A dataclass from a parsed JSON object, each of whose fields is there and of its type."""
    hints = get_type_hints(cls)
    if not isinstance(document, dict) or document.keys() != hints.keys():
        raise UserError(f"{where}: must be a JSON object with the fields {', '.join(hints)} and no others")
    values: dict[str, Any] = dict(document)
    for name, kind in hints.items():
        if kind is Facts:
            values[name] = _filled(Facts, values[name], f"{where}: {name}")
        elif not _fits(values[name], kind):
            raise UserError(f"{where}: {name} is {values[name]!r}: it must be {_described(kind)}")
    return cls(**values)


def _fits(value: Any, kind: Any) -> bool:  # noqa: ANN401 - any value, any type
    """Whether a JSON value is one of a field's type; numbers are finite and not negative."""
    if kind in (int, float):
        return type(value) in (int, kind) and 0 <= value < math.inf
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if get_origin(kind) is dict:
        inner = get_args(kind)[1]
        return isinstance(value, dict) and (inner is Any or all(_fits(item, inner) for item in value.values()))
    return isinstance(value, cast("type", kind))


def _described(kind: Any) -> str:  # noqa: ANN401 - any type
    if get_origin(kind) is Literal:
        return " or ".join(get_args(kind))
    if get_origin(kind) is dict:
        return "an object" if get_args(kind)[1] is Any else "an object of objects of numbers"
    return {int: "a whole number, 0 or more", float: "a number, 0 or more", str: "a text"}[kind]
