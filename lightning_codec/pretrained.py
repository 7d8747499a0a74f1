"""Building published networks whose weights all come from files, quickly and without a trace."""

import contextlib
import hashlib
import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, cast

import torch
import torchvision
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from lightning_codec.errors import UserError
from lightning_codec.weights import load_weights


class _Unfilled(TorchFunctionMode):
    """Sets initial weights to NaN in place of drawing them: faster, and what no file filled is seen."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> object:
        if (
            func in (torch.Tensor.normal_, torch.Tensor.uniform_)
            or getattr(func, "__module__", None) == "torch.nn.init"
        ):
            tensor: Tensor = args[0] if args else (kwargs or {})["tensor"]
            with torch.no_grad():
                return tensor.fill_(torch.nan)
        return func(*args, **(kwargs or {}))


@contextlib.contextmanager
def building() -> Iterator[None]:
    """A context for the constructors of foreign packages that draw weights, load others over them, print and warn.

    In it nothing is drawn (weights begin as NaN, see `check_filled`), printed or warned about, and the global random
    generator is afterwards as it was before.
    """
    with (
        torch.random.fork_rng(devices=[]),
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        _Unfilled(),
    ):
        warnings.simplefilter("ignore")
        yield


def check_filled(network: nn.Module, user: str) -> nn.Module:
    """Return a network from `building`, frozen and in evaluation mode.

    Raises:
        UserError: some of its weights were in no file; several packages would go on with random ones.
    """
    for name, tensor in network.state_dict().items():
        if bool(tensor.isnan().any()):
            raise UserError(f"{user}: {name} is in no file of weights; the installed package is of another version")
    return network.eval().requires_grad_(False)


def load_trunk(name: Literal["alexnet", "vgg16"], user: str) -> nn.Sequential:
    """Load the convolutional part (`features`) of torchvision's AlexNet or VGG16.

    Args:
        name: which.
        user: what needs it, for the message.

    Raises:
        UserError: its weights cannot be had, or are those of another network.
    """
    with torch.device("meta"):  # to be filled, so nothing is initialised
        network = (torchvision.models.alexnet if name == "alexnet" else torchvision.models.vgg16)()
    features = cast(nn.Sequential, network.features)
    prefix = "features."
    state = load_weights(name, user)
    try:
        features.load_state_dict(
            {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}, assign=True
        )
    except RuntimeError as error:
        raise UserError(f"{user}: the weights are not those of {name} ({' '.join(str(error).split())})") from error
    return features


def network_hash(network: nn.Module) -> str:
    """First 12 hexadecimal digits of the SHA-256 over name, shape, dtype and bytes of a network's tensors.

    Neither the device nor the memory format matters, nor the order in which the tensors were registered.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:12]
