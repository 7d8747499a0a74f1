"""Weights of published networks that metrics and losses need: where they lie, fetching them ahead, checking them.

Nothing but `fetch` ever touches the network. Files are searched for in the folder that the variable
LIGHTNING_CODEC_WEIGHTS names and then in torch hub's cache (`checkpoints` below `torch.hub.get_dir()`).
"""

import os
import pickle
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from lightning_codec.errors import UserError
from lightning_codec.files import sha256_of

FOLDER_VARIABLE = "LIGHTNING_CODEC_WEIGHTS"
WeightsName = Literal["alexnet", "vgg16", "inception"]


class WeightFile(NamedTuple):
    """A file of published weights; its name ends in the first 8 hexadecimal digits of its SHA-256."""

    name: str
    url: str
    mebibytes: int
    used_for: str
    licence: str

    @property
    def file(self) -> str:
        """Name of the file."""
        return self.url.rsplit("/", 1)[1]


_TORCHVISION = "https://download.pytorch.org/models/"
_TORCHVISION_LICENCE = "BSD-3-Clause (torchvision); trained on ImageNet, whose images are for research"
FILES = (
    WeightFile(
        "alexnet", f"{_TORCHVISION}alexnet-owt-7be5be79.pth", 233, "lpips_alex, loss lpips-alex", _TORCHVISION_LICENCE
    ),
    WeightFile(
        "vgg16", f"{_TORCHVISION}vgg16-397923af.pth", 528, "lpips_vgg, dists, loss lpips-vgg", _TORCHVISION_LICENCE
    ),
    WeightFile(
        "inception",
        "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
        91,
        "fid256, kid256",
        "Apache-2.0 (TensorFlow models, converted by torch-fidelity)",
    ),
)


def folders() -> list[Path]:
    """Where weights are searched for, in this order; the first is where `fetch` writes."""
    own = os.environ.get(FOLDER_VARIABLE)
    return [*([Path(own)] if own else []), Path(torch.hub.get_dir(), "checkpoints")]


def find(file: str) -> Path | None:
    """Where a file of this name lies, None where it does not; its content is not looked at."""
    return next((path for folder in folders() if (path := folder / file).is_file()), None)


def sha256_prefix(file: str) -> str:
    """The first digits of the SHA-256 of a file of published weights, which the end of its name is.

    Raises:
        ValueError: the name does not end in 8 hexadecimal digits.
    """
    digits = re.search(r"-([0-9a-f]{8})\.\w+(\.\w+)?$", file)
    if digits is None:
        raise ValueError(f"{file} does not end in 8 hexadecimal digits")
    return digits[1]


def is_intact(path: Path) -> bool:
    """Whether the SHA-256 of a file begins with the digits in its name."""
    return sha256_of(path).startswith(sha256_prefix(path.name))


def fetch(file: WeightFile, progress: bool) -> Path:
    """Download a file into the first of `folders()`; it appears there whole and with the right hash, or not at all.

    Args:
        file: which.
        progress: show a bar on stderr.

    Raises:
        UserError: it could not be downloaded, or came damaged.
    """
    path = folders()[0] / file.file
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        # downloads to another name, compares the hash, renames
        torch.hub.download_url_to_file(file.url, str(path), sha256_prefix(file.file), progress)
    except RuntimeError as error:
        raise UserError(f"{file.url}: the download came damaged ({error}); fetch it again") from error
    except OSError as error:
        raise UserError(f"{file.url}: cannot be fetched to {path.parent} ({error})") from error
    return path


def named(names: Sequence[str], files: Sequence[WeightFile] = FILES) -> list[WeightFile]:
    """The files of these names; all without any.

    Raises:
        UserError: there is none of a name.
    """
    known = {file.name: file for file in files}
    for name in names:
        if name not in known:
            raise UserError(f"weights {name!r}: the known ones are {', '.join(known)}")
    return [known[name] for name in names] if names else list(files)


def require(name: WeightsName, user: str) -> Path:
    """Where the weights of a network lie.

    Args:
        name: of the weights.
        user: what needs them, for the message.

    Raises:
        UserError: they are nowhere; the message names the command that fetches them.
    """
    (file,) = named([name])
    path = find(file.file)
    if path is None:
        searched = " nor in ".join(map(str, folders()))
        raise UserError(
            f"{user}: {file.file} is {'neither ' if len(folders()) > 1 else 'not '}in {searched}; "
            f"fetch it where there is a network with: lightning-codec weights fetch {name}"
        )
    return path


def load_weights(name: WeightsName, user: str) -> dict[str, Tensor]:
    """Read the tensors of a network by their names, on the CPU.

    Raises:
        UserError: the file is nowhere (see `require`), or holds anything but tensors by name.
    """
    path = require(name, user)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        return {key: value for key, value in state.items() if isinstance(value, Tensor)}
    except (OSError, RuntimeError, EOFError, KeyError, AttributeError, pickle.UnpicklingError) as error:
        raise UserError(
            f"{user}: {path} is damaged or no file of weights ({type(error).__name__}); "
            f"check it with: lightning-codec weights verify {name}"
        ) from error
