"""Photographs in folders: the training set and the evaluation set."""

import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from lightning_codec.data.crops import random_crop
from lightning_codec.data.sampling import SampleKey, Stream, generator, sample_key
from lightning_codec.data.types import NamedImage
from lightning_codec.errors import UserError
from lightning_codec.images import ImageError, find_images, from_uint8, open_rgb8, read_image

logger = logging.getLogger(__name__)


class FolderTrainingSet(Dataset[Tensor]):
    """Random crops of all photographs below some folders.

    A file that cannot be read is skipped: the next file in the list takes its place, the file is reported
    once (over all worker processes) with its name and the rule it breaks, and counted in `skipped`.

    Args:
        folders: searched recursively, see `find_images`.
        crop_size: side of the crops in pixels.
        downscale: range of the downscaling factor of JPEG sources, or None; see `random_crop`.
        seed: of crops and flips.
        cache: decode every file now and keep the pixels, 3 bytes a pixel (1,000 photographs of 0.2
            megapixels: 0.6 GB). Forked workers share that memory.

    Raises:
        UserError: a folder is missing, holds no image, or not one file can be read.
    """

    def __init__(
        self,
        folders: Sequence[str | Path],
        crop_size: int,
        downscale: tuple[float, float] | None,
        seed: int,
        cache: bool = False,
    ) -> None:
        self.paths: list[Path] = []
        for folder in folders:
            found = find_images(folder)
            if not found:
                raise UserError(f"{folder}: no image files in this training folder; put photographs there")
            self.paths += found
        self.crop_size, self.downscale, self.seed = crop_size, downscale, seed
        # one flag for each file, in memory that all worker processes share
        self._unreadable = torch.zeros(len(self.paths), dtype=torch.bool)
        self._unreadable.share_memory_()  # type: ignore[no-untyped-call]  # torch gives it no types
        self._cache: dict[int, Image.Image] = {}
        if cache:
            for item in range(len(self.paths)):
                if (image := self._open(item)) is not None:
                    self._cache[item] = image
        self._readable(0)

    def __len__(self) -> int:
        """Number of files, the unreadable ones included."""
        return len(self.paths)

    @property
    def skipped(self) -> int:
        """How many files were found unreadable so far."""
        return int(self._unreadable.sum())

    def _open(self, item: int) -> Image.Image | None:
        """The decoded file, or None after reporting it as unreadable."""
        if self._unreadable[item]:
            return None
        if item in self._cache:
            return self._cache[item]
        try:
            return open_rgb8(self.paths[item])
        except ImageError as error:
            self._unreadable[item] = True
            logger.warning("skipped for training: %s (%d of %d files so far)", error, self.skipped, len(self.paths))
            return None

    def _readable(self, item: int) -> Image.Image:
        """The file `item` or, where that is unreadable, the next readable one in the list."""
        for offset in range(len(self.paths)):
            image = self._open((item + offset) % len(self.paths))
            if image is not None:
                return image
        raise UserError(f"{self.paths[0].parent}: none of the {len(self.paths)} training files can be read as an image")

    def __getitem__(self, key: SampleKey | int) -> Tensor:
        """The crop for a position of the training order: float32 [3, crop_size, crop_size] in [0, 1]."""
        key = sample_key(key)
        rng = generator(self.seed, Stream.CROP, key.epoch, key.position)
        return from_uint8(random_crop(self._readable(key.item), self.crop_size, self.downscale, rng))


class FolderEvaluationSet(Dataset[NamedImage]):
    """Whole images in a fixed order, named by their path relative to the root of the set.

    An unreadable file raises `ImageError` when its turn comes: a mean over a part of the set is not the set's
    mean.

    Args:
        root: folder that the names are relative to.
        paths: the files, below `root`.
    """

    def __init__(self, root: Path, paths: Sequence[Path]) -> None:
        self.root, self.paths = root, list(paths)
        self.names = [path.relative_to(root).as_posix() for path in self.paths]

    def __len__(self) -> int:
        """Number of images."""
        return len(self.paths)

    def __getitem__(self, index: int) -> NamedImage:
        """Image number `index` at full resolution."""
        return NamedImage(read_image(self.paths[index]).unsqueeze(0), self.names[index])
