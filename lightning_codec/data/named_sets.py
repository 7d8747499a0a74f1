"""Evaluation sets by name, and any folder as one.

`kodak`        DATA_ROOT/kodak/kodim01.png ... kodim24.png, the 24 files of https://r0k.us/graphics/kodak/
`clic2020`     the test sets of the Challenge on Learned Image Compression 2020 (250 professional and 178
               mobile images): CLIC2020Professional_test.zip and CLIC2020Mobile_test.zip, unzipped in
               DATA_ROOT/clic2020, which gives the folders professional/ and mobile/; folders named after the
               archives around them are accepted
`dead_leaves`  six procedural images, no files needed
a path         all images below that folder
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from torch.utils.data import Dataset

from lightning_codec.data.dead_leaves import DeadLeavesEvaluationSet
from lightning_codec.data.folder import FolderEvaluationSet
from lightning_codec.data.kodak import KODAK_FILES, KODAK_URL
from lightning_codec.data.types import NamedImage
from lightning_codec.errors import UserError
from lightning_codec.images import find_images

SET_NAMES = ("clic2020", "dead_leaves", "kodak")
"""The names that `evaluation_set` knows; a folder of the same name is reached as ./NAME."""

_CLIC_PARTS = {"professional": "CLIC2020Professional_test", "mobile": "CLIC2020Mobile_test"}


class EvaluationSet(NamedTuple):
    """An evaluation set under the name that metrics and tables show."""

    name: str
    images: Dataset[NamedImage]


def evaluation_set(spec: str, data_root: Path) -> EvaluationSet:
    """Resolve one entry of `eval_sets`.

    Args:
        spec: one of `SET_NAMES` or the path of a folder.
        data_root: the folder that holds the named sets.

    Raises:
        UserError: files or folders are missing; the message says what to put where.
    """
    if spec == "dead_leaves":
        return EvaluationSet(spec, DeadLeavesEvaluationSet())
    if spec == "kodak":
        return EvaluationSet(spec, _kodak(data_root / spec))
    if spec == "clic2020":
        return EvaluationSet(spec, _clic2020(data_root / spec))
    folder = Path(spec)
    if not folder.is_dir():
        raise UserError(f"evaluation set {spec!r}: neither a name ({', '.join(SET_NAMES)}) nor an existing folder")
    paths = find_images(folder)
    if not paths:
        raise UserError(f"{folder}: no image files in this evaluation folder")
    return EvaluationSet(Path(os.path.abspath(folder)).name, FolderEvaluationSet(folder, paths))


def evaluation_sets(specs: Sequence[str], data_root: Path) -> list[EvaluationSet]:
    """Resolve all entries of `eval_sets`, in order.

    Raises:
        UserError: as `evaluation_set`; or two sets have the same name, so that their metrics could not be
            told apart.
    """
    sets = [evaluation_set(spec, data_root) for spec in specs]
    names = [entry.name for entry in sets]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"evaluation set {name!r} occurs twice: rename one folder or leave one out")
    return sets


def _kodak(folder: Path) -> FolderEvaluationSet:
    missing = [name for name in KODAK_FILES if not (folder / name).is_file()]
    if missing:
        raise UserError(
            f"{folder}: {len(missing)} of {len(KODAK_FILES)} Kodak images are missing ({missing[0]}, ...); "
            f"put them there from {KODAK_URL}/ or set data.download to true"
        )
    return FolderEvaluationSet(folder, [folder / name for name in KODAK_FILES])


def _clic2020(folder: Path) -> FolderEvaluationSet:
    paths: list[Path] = []
    for part, archive in _CLIC_PARTS.items():
        places = [place for place in (folder / part, folder / archive / part) if place.is_dir()]
        found = find_images(places[0]) if places else []
        if not found:
            raise UserError(
                f"{folder}: no {part} images; unzip {archive}.zip there, so that they lie in {folder / part}"
            )
        paths += found
    return FolderEvaluationSet(folder, paths)
