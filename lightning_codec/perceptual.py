"""Learned perceptual distances, as frozen functions: for losses and for judging pictures."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Literal, get_args
from unittest import mock

import torch
import torchvision
from torch import Tensor, nn

from lightning_codec.errors import UserError
from lightning_codec.pretrained import building, check_filled, load_trunk, network_hash

PerceptualName = Literal["lpips-alex", "lpips-vgg", "stlpips-alex", "stlpips-vgg"]
"""LPIPS (Zhang et al., CVPR 2018) and shift-tolerant LPIPS (Ghildyal and Liu, ECCV 2022) on AlexNet or VGG16."""

LARGEST_REMEMBERED = 3 * 2**20
"""Values of a picture; features take about 200 times its memory."""


class PerceptualDistance:
    """A frozen distance of two images.

    It is no `nn.Module`, so a module that holds one registers none of its weights: they are in no optimiser, no average
    and no checkpoint. It follows the device of its arguments.

    The shift-tolerant networks come complete in the wheel `stlpips-pytorch`; those of `lpips` need the trunk of
    torchvision, which `lightning-codec weights fetch` brings. Nothing is downloaded here.

    Args:
        name: which.
        as_loss: under autocast, compute in its precision, and remember nothing. A measurement is always float32, and
            remembers what the trunk said of the last two pictures: an original is measured against many times.

    Raises:
        UserError: the package or its weights cannot be had.
    """

    def __init__(self, name: PerceptualName, as_loss: bool = False) -> None:
        self.name = name
        self.as_loss = as_loss
        self._network = load_network(name).to(memory_format=torch.channels_last)
        if not as_loss:
            trunk: Any = self._network.net
            trunk.forward = _Recall(trunk.forward)

    @property
    def weights(self) -> str:
        """First 12 hexadecimal digits of the hash of its tensors (see `network_hash`)."""
        return network_hash(self._network)

    def __call__(self, x_hat: Tensor, x: Tensor) -> Tensor:
        """Distances of [B, 3, H, W] in [0, 1] to [B, 3, H, W]: [B], 0 for equal images, differentiable by both."""
        self._network.to(x.device)
        kind = x.device.type
        with torch.autocast(kind, enabled=self.as_loss and torch.is_autocast_enabled(kind)):
            images = [(2.0 * image.float() - 1.0).contiguous(memory_format=torch.channels_last) for image in (x_hat, x)]
            distance: Tensor = self._network(*images)
        return distance.float().flatten()


class _Recall:
    """The forward pass of a trunk, which is not made again for one of the last two pictures.

    Args:
        forward: [B, 3, H, W] to features; a gradient is never followed through remembered ones.
    """

    def __init__(self, forward: Callable[[Tensor], Any]) -> None:
        self._forward = forward
        self._kept: list[tuple[Tensor, Any]] = []

    def __call__(self, x: Tensor) -> Any:  # noqa: ANN401 - as the trunk has it
        if torch.is_grad_enabled() or x.numel() > LARGEST_REMEMBERED:
            return self._forward(x)
        for index, (picture, features) in enumerate(self._kept):
            if picture.shape == x.shape and picture.device == x.device and torch.equal(picture, x):
                self._kept.append(self._kept.pop(index))
                return features
        features = self._forward(x)
        self._kept = [*self._kept[-1:], (x, features)]
        return features


def load_network(name: PerceptualName) -> nn.Module:
    """Load the network of a distance, frozen and in evaluation mode; the state of the random generator stays.

    Raises:
        UserError: the package or its weights cannot be had.
    """
    if name not in get_args(PerceptualName):
        raise UserError(f"perceptual network {name!r}: it must be one of {', '.join(get_args(PerceptualName))}")
    family, trunk = name.split("-")
    user = f"perceptual network {name}"
    try:
        network = _lpips(trunk, user) if family == "lpips" else _shift_tolerant(trunk)
    except ImportError as error:
        raise UserError(f"{user}: {error}; install it with pip install 'lightning_codec[perceptual]'") from error
    except (OSError, RuntimeError) as error:  # the package's own files of weights
        raise UserError(f"{user}: its weights cannot be had ({' '.join(str(error).split())})") from error
    return check_filled(network, user)


def _lpips(trunk: str, user: str) -> nn.Module:
    with building():
        import lpips

        entry: Literal["alexnet", "vgg16"] = "alexnet" if trunk == "alex" else "vgg16"
        features = load_trunk(entry, user)
        # The package asks torchvision for its trunk, which would download it.
        with mock.patch.object(torchvision.models, entry, return_value=SimpleNamespace(features=features)):
            network: nn.Module = lpips.LPIPS(net=trunk, pnet_rand=True, verbose=False)
    return network


def _shift_tolerant(trunk: str) -> nn.Module:
    with building():
        from stlpips_pytorch import stlpips

        network: nn.Module = stlpips.LPIPS(net=trunk, variant="shift_tolerant", verbose=False)
    return network
