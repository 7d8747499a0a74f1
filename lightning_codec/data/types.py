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
