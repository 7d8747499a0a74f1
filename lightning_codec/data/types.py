"""What the evaluation data loaders yield."""

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor


class NamedImage(NamedTuple):
    """One image of an evaluation set, at full resolution.

    Attributes:
        image: float32 [1, 3, H, W], RGB in [0, 1].
        name: path of the file relative to the root of its set, POSIX style, unique in the set.
    """

    image: "Tensor"
    name: str


class NamedFile(NamedTuple):
    """One `.lcb` file to be decoded.

    Attributes:
        path: of the file. It is read where it is decoded: Lightning would walk through its bytes one by one.
        name: as of a `NamedImage`.
    """

    path: str
    name: str


class Unreadable(NamedTuple):
    """A file that is no image.

    Attributes:
        reason: one line.
        name: as of a `NamedImage`.
    """

    reason: str
    name: str


PredictInput = NamedImage | NamedFile | Unreadable
"""What `predict` works on."""
