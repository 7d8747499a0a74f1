"""Files and folders given for prediction, as one set: pictures to be coded, or `.lcb` files to be decoded."""

import os
from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from torch.utils.data import Dataset

from lightning_codec.data.types import NamedFile, NamedImage, PredictInput, Unreadable
from lightning_codec.errors import UserError, is_out_of_memory, one_line
from lightning_codec.images import IMAGE_EXTENSIONS, find_names, read_image

CODED_EXTENSION = ".lcb"
NAMED_CLASHES = 100
"""How many names an error message gives at most."""


class InputSet(Dataset[PredictInput]):
    """Pictures, or coded files, from a list of files and folders, sorted by name.

    A file is named by its last path component, one from a folder by its path relative to that folder. Only names are
    looked at: a set of a million is made in seconds and takes about 100 bytes a file.

    Args:
        inputs: paths of files and folders; folders are searched by `find_names`.

    Raises:
        UserError: a path does not exist, a folder holds nothing, nothing is given, pictures and `.lcb` files are mixed,
            or two inputs have the same name.
    """

    def __init__(self, inputs: Sequence[str | Path]) -> None:
        if not inputs:
            raise UserError(
                "predict: no inputs; set data.predict_inputs to files or folders, of images or of .lcb files"
            )
        found: list[tuple[str, str]] = []
        self.folders = [Path(entry) for entry in inputs if Path(entry).is_dir()]
        """Those of the inputs that are folders."""
        for entry in map(str, inputs):
            root, names = _named(entry)
            found += [(name, root) for name in names]
        found.sort()
        refuse_clashes((name, os.path.join(root, name)) for name, root in found)
        self.names = [name for name, _ in found]
        self._roots = [root for _, root in found]
        coded = next((i for i, name in enumerate(self.names) if _is_coded(name)), None)
        picture = next((i for i, name in enumerate(self.names) if not _is_coded(name)), None)
        if coded is not None and picture is not None:
            raise UserError(
                f"predict: {self.path(picture)} is to be coded and {self.path(coded)} to be decoded: "
                "give either images or .lcb files"
            )
        self.coded = coded is not None
        """Whether the inputs are `.lcb` files."""

    def path(self, index: int) -> str:
        """Where input number `index` lies."""
        return os.path.join(self._roots[index], self.names[index])

    def __len__(self) -> int:
        """Number of inputs."""
        return len(self.names)

    def __getitem__(self, index: int) -> PredictInput:
        """Input number `index`: an image at full resolution, or a coded file; `Unreadable` for what is no image."""
        name, path = self.names[index], self.path(index)
        if self.coded:
            return NamedFile(path, name)
        try:
            return NamedImage(read_image(path).unsqueeze(0), name)
        except (UserError, OSError) as error:
            return Unreadable(one_line(error), name)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            return Unreadable("not enough memory to read this image", name)


def refuse_clashes(paths: Iterable[tuple[str, str]]) -> None:
    """Refuse inputs that would become the same thing.

    Args:
        paths: what each becomes, in sorted order, and its path.

    Raises:
        UserError: two become the same; all of them are named.
    """
    groups = ((key, [path for _, path in group]) for key, group in groupby(paths, key=itemgetter(0)))
    clashes = [f"{' and '.join(members)} would all be {key}" for key, members in groups if len(members) > 1]
    if clashes:
        more = f"; and {len(clashes) - NAMED_CLASHES} more" if len(clashes) > NAMED_CLASHES else ""
        raise UserError(
            f"several inputs of one name: {'; '.join(clashes[:NAMED_CLASHES])}{more}: rename them, or give a folder "
            "that they have different paths in"
        )


def _is_coded(name: str) -> bool:
    return name.lower().endswith(CODED_EXTENSION)


def _named(entry: str) -> tuple[str, list[str]]:
    """The folder of an input, and the names in it."""
    if os.path.isdir(entry):
        found = find_names(entry, IMAGE_EXTENSIONS | {CODED_EXTENSION})
        if not found:
            raise UserError(f"{entry}: no image files and no .lcb files in this folder")
        return entry, found
    if not os.path.exists(entry):
        raise UserError(f"{entry}: no such file or folder")
    root, name = os.path.split(entry)
    return root, [name]
