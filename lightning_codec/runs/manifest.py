"""`manifest.json` in the run folder: what was trained, with what, on what, and how far it came."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lightning_codec.errors import UserError
from lightning_codec.files import write_json

MANIFEST = "manifest.json"
FORMAT = 1
# They say how a command goes about its run, not which run it is.
NO_PART_OF_A_RUN = ("resume",)


@dataclass(frozen=True)
class Manifest:
    """What is known of a run; all values are plain.

    Args:
        configuration: of `fit`, every setting, as in config.yaml.
        repeats: the manifest that `--from-manifest` named.
        data: for every training folder and evaluation set its number of files, bytes and a hash of names and sizes.
        starts: for each time that the run was started: when, at which step, where, with which software; and how it
            ended if it was interrupted.
        finished: when, at which step and epoch the training came to its end; None before.
    """

    configuration: dict[str, Any]
    repeats: str | None = None
    data: dict[str, Any] = field(default_factory=dict)
    starts: list[dict[str, Any]] = field(default_factory=list)
    finished: dict[str, Any] | None = None

    def same_run(self, other: "Manifest") -> bool:
        """Whether both are of one command."""
        return self.repeats == other.repeats and not differences(self.configuration, other.configuration)

    def write(self, folder: Path) -> None:
        """Write `folder`/manifest.json, whole or not at all."""
        write_json(folder / MANIFEST, {"format": FORMAT, "command": "fit", **asdict(self)})


def read_manifest(path: Path) -> Manifest:
    """Read a manifest.json.

    Raises:
        UserError: no such file, damaged, or of a newer format.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; give the manifest.json in the folder of a run of `lightning-codec fit`")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.pop("format") != FORMAT:
            raise UserError(f"{path}: a manifest of another version of lightning_codec")
        content.pop("command")
        return Manifest(**content)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: not the manifest of a run ({error})") from error


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """`name: old -> new` for each setting in which two configurations differ; `-` where there is none."""
    before, after = _flat(old), _flat(new)
    names = [*before, *(name for name in after if name not in before)]
    return [
        f"{name}: {before.get(name, '-')} -> {after.get(name, '-')}"
        for name in names
        if name not in NO_PART_OF_A_RUN and before.get(name, "-") != after.get(name, "-")
    ]


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """The leaves as JSON, under their dotted names: as they are read again, tuples and lists alike."""
    leaves: dict[str, str] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping) and value:
            leaves |= _flat(value, f"{prefix}{name}.")
        else:
            leaves[f"{prefix}{name}"] = json.dumps(value, default=str)
    return leaves
