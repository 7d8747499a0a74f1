"""Files and folders given for prediction, as one image set."""

from collections.abc import Sequence
from pathlib import Path

from torch.utils.data import Dataset

from lightning_codec.data.types import NamedImage
from lightning_codec.errors import UserError
from lightning_codec.images import find_images, read_image


class InputSet(Dataset[NamedImage]):
    """Whole images from a list of files and folders, in the order given.

    A file is named by its last path component, an image from a folder by its path relative to that folder.

    Args:
        inputs: paths of files and folders; folders are searched by `find_images`.

    Raises:
        UserError: a path does not exist, a folder holds no image, nothing is given, or two images have the
            same name.
    """

    def __init__(self, inputs: Sequence[str | Path]) -> None:
        if not inputs:
            raise UserError("predict: no inputs; set data.predict_inputs to image files or folders")
        self.paths: dict[str, Path] = {}
        for entry in map(Path, inputs):
            for name, path in _named(entry):
                if name in self.paths:
                    raise UserError(f"{path}: has the same name, {name}, as {self.paths[name]}; rename one of them")
                self.paths[name] = path
        self.names = list(self.paths)

    def __len__(self) -> int:
        """Number of images."""
        return len(self.names)

    def __getitem__(self, index: int) -> NamedImage:
        """Image number `index` at full resolution."""
        name = self.names[index]
        return NamedImage(read_image(self.paths[name]).unsqueeze(0), name)


def _named(entry: Path) -> list[tuple[str, Path]]:
    """Name and path of every image of one input."""
    if entry.is_dir():
        found = [(path.relative_to(entry).as_posix(), path) for path in find_images(entry)]
        if not found:
            raise UserError(f"{entry}: no image files in this folder")
        return found
    if not entry.exists():
        raise UserError(f"{entry}: no such file or folder")
    return [(entry.name, entry)]
