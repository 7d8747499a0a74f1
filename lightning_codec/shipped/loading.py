"""From a name to a network."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from lightning_codec.checkpoint import CheckpointError, weights_digest
from lightning_codec.errors import UserError, one_line
from lightning_codec.shipped.catalogue import Catalogue, Model, no_model_named, shipped
from lightning_codec.shipped.tensors import read_tensors, stored_form

T = TypeVar("T", bound=nn.Module)

ModelSource: TypeAlias = Path | str | Model
"""A checkpoint, the name of a model that ships, or such a model."""


def find_model(source: ModelSource) -> Path | Model:
    """The checkpoint or the model that is meant; a file that exists is a checkpoint, whatever its name.

    Raises:
        CheckpointError: there is neither such a file nor a model of this name.
    """
    if isinstance(source, Model):
        return source
    if Path(source).is_file():
        return Path(source)
    catalogue = shipped()
    names = catalogue.names()
    if str(source) not in names:
        raise CheckpointError(f"{source}: no such checkpoint file, and {no_model_named(names)}")
    return catalogue.model(str(source))


def load_network(model: Model, build: Callable[[], T]) -> T:
    """A network with the tensors of a model's file; see `check_digest`.

    Args:
        model: whose weights.
        build: makes the network of its card, with any weights, of which there may be no more than the file can hold.

    Raises:
        CheckpointError: the card makes no network, or the tensors are damaged or those of another network.
        OSError: the weights cannot be read.
    """
    with using_init_args(model), AtMost(model.weights.stat().st_size // 2):  # of two bytes
        network = build()
    network.load_state_dict(read_tensors(model.weights, stored_form(network)))
    return network


def check_digest(model: Model, network: nn.Module) -> None:
    """Refuse a network that is not the one of the card.

    Raises:
        CheckpointError: it is another.
    """
    digest = weights_digest(network.config, network).hex()
    if digest != model.card.weights_sha256:
        raise CheckpointError(
            f"{model.weights}: its tensors are not those of the card (SHA-256 {digest[:8]}, "
            f"not {model.card.weights_sha256[:8]}): install the package again"
        )


class AtMost(TorchFunctionMode):
    """A context in which networks take no memory for more than so many weights.

    The sizes of a whole network could be had from the meta device too, whose arithmetic loads torch's compiler: longer
    than all else that a start takes.

    Args:
        count: of numbers.

    Raises:
        ValueError: on making the tensor that is too much, before its memory is taken.
    """

    MAKERS = frozenset({torch.empty, torch.zeros, torch.ones, torch.full})
    """All that parameters come from."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count
        self.left = count

    def __torch_function__(
        self, func: Callable[..., Any], types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:  # noqa: ANN401 - of any function of torch
        """Called by torch in place of each of its functions."""
        options = kwargs or {}
        if func in self.MAKERS:
            self.left -= func(*args, **{**options, "device": "meta"}).numel()
            if self.left < 0:
                raise ValueError(f"more than the {self.count} weights that the file of its tensors may have")
        return func(*args, **options)


@contextmanager
def using_init_args(model: Model) -> Iterator[None]:
    """A context in which what goes wrong is the fault of the configuration in a card.

    Raises:
        CheckpointError: it went wrong; the message names the card.
    """
    try:
        yield
    except (UserError, KeyError, TypeError, ValueError, RuntimeError, OverflowError) as error:
        card = Catalogue(model.folder).card_path(model.card.name)
        reason = f"its init_args make no network ({type(error).__name__}: {one_line(error)})"
        raise CheckpointError(f"{card}: {reason}: install the package again") from error
