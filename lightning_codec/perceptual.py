"""Learned perceptual distances, as frozen functions: for losses and for judging pictures."""

import contextlib
import io
import warnings
from functools import partial
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from lightning_codec.errors import UserError

PerceptualName = Literal["lpips-alex", "lpips-vgg", "stlpips-alex", "stlpips-vgg"]
"""LPIPS (Zhang et al., CVPR 2018) and shift-tolerant LPIPS (Ghildyal and Liu, ECCV 2022) on AlexNet or VGG16."""


class PerceptualDistance:
    """A frozen distance of two images.

    It is no `nn.Module`, so a module that holds one registers none of its weights: they are in no optimiser, no average
    and no checkpoint. It follows the device of its arguments.

    The shift-tolerant networks come complete in the wheel `stlpips-pytorch`; those of `lpips` need the trunk of
    torchvision, which is downloaded once.

    Args:
        name: which.

    Raises:
        UserError: the package or its weights cannot be had.
    """

    def __init__(self, name: PerceptualName) -> None:
        self.name = name
        self._network = _load(name).eval().requires_grad_(False).to(memory_format=torch.channels_last)

    def __call__(self, x_hat: Tensor, x: Tensor) -> Tensor:
        """Distances of [B, 3, H, W] in [0, 1] to [B, 3, H, W]: [B], 0 for equal images, differentiable by both."""
        self._network.to(x.device)
        with torch.autocast(x.device.type, enabled=False):
            images = [(2.0 * image.float() - 1.0).contiguous(memory_format=torch.channels_last) for image in (x_hat, x)]
            distance: Tensor = self._network(*images)
        return distance.flatten()


def _load(name: PerceptualName) -> nn.Module:
    if name not in get_args(PerceptualName):
        raise UserError(f"perceptual network {name!r}: it must be one of {', '.join(get_args(PerceptualName))}")
    family, trunk = name.split("-")
    try:
        # Both packages print, and warn about torchvision's old arguments.
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            if family == "lpips":
                import lpips

                make = partial(lpips.LPIPS, net=trunk)
            else:
                from stlpips_pytorch import stlpips

                make = partial(stlpips.LPIPS, net=trunk, variant="shift_tolerant")
            network: nn.Module = make(verbose=False)
    except ImportError as error:
        raise UserError(
            f"perceptual network {name}: {error}; install it with pip install 'lightning_codec[perceptual]'"
        ) from error
    except (OSError, RuntimeError) as error:  # torch reports a download that is damaged as a RuntimeError
        raise UserError(f"perceptual network {name}: its weights cannot be had ({error})") from error
    return network
