"""A grid of settings and its members."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from lightning_codec.errors import UserError


class Axis(NamedTuple):
    """A key of the configuration and the values it takes."""

    key: str
    values: tuple[str, ...]


class Member(NamedTuple):
    """One training of a grid."""

    name: str
    """of its folder, such as lmbda=0.0035,seed_everything=1"""
    settings: dict[str, str]
    """value by key"""

    @property
    def arguments(self) -> list[str]:
        """For the command line of `fit`; `=` keeps a value that begins with a minus with its key."""
        return [f"--{key}={value}" for key, value in self.settings.items()]


def parse_axis(text: str, option: str = "--set") -> Axis:
    """KEY=A,B,C, given as `option`; commas in brackets do not separate values.

    Raises:
        UserError: no key, no value, an empty value, or the same one twice.
    """
    key, equals, rest = text.partition("=")
    values, depth = [""], 0
    for character in rest:
        depth += (character in "[{(") - (character in "]})")
        if character == "," and depth == 0:
            values.append("")
        else:
            values[-1] += character
    if not key or not equals or not all(value.strip() for value in values):
        raise UserError(f"{option} {text!r}: give KEY=VALUE,VALUE,..., such as model.init_args.lmbda=0.0035,0.013")
    values = [value.strip() for value in values]
    if len(set(values)) < len(values):
        raise UserError(f"{option} {text!r}: a value occurs twice")
    return Axis(key.removeprefix("--"), tuple(values))


def grid(axes: Sequence[Axis]) -> list[Member]:
    """All combinations, the last axis running fastest.

    Raises:
        UserError: a key occurs twice, or two members would have one name.
    """
    keys = [axis.key for axis in axes]
    for key in keys:
        if keys.count(key) > 1:
            raise UserError(f"--set {key} is given twice: give all its values at once")
    short = [key.rpartition(".")[2] for key in keys]
    labels = [key if short.count(last) > 1 else last for key, last in zip(keys, short, strict=True)]
    members = []
    for values in itertools.product(*(axis.values for axis in axes)):
        name = ",".join(f"{label}={_readable(value)}" for label, value in zip(labels, values, strict=True))
        members.append(Member(name, dict(zip(keys, values, strict=True))))
    names = [member.name for member in members]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"two members of the grid would both be called {name!r}: rename one of the files")
    return members


def _readable(value: str) -> str:
    """A value as a part of a folder's name: a file by its stem, anything else without what shells and paths dislike."""
    if value.endswith((".yaml", ".yml", ".ckpt")):
        value = Path(value).stem
    return "".join(character if character.isalnum() or character in "._+-" else "_" for character in value)
