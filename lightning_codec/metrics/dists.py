"""DISTS (Ding, Ma, Wang, Simoncelli: Image quality assessment: unifying structure and texture similarity, 2020)."""

from types import SimpleNamespace
from unittest import mock

import torch
from torch import Tensor, nn
from torchmetrics.functional.image import dists

from lightning_codec.pretrained import building, check_filled, load_trunk, network_hash


class Dists:
    """The distance of two pictures by torchmetrics' network, on the VGG16 that `weights fetch` brings.

    Raises:
        UserError: the weights of VGG16 cannot be had.
    """

    def __init__(self) -> None:
        self._network = _load()

    @property
    def weights(self) -> str:
        """First 12 hexadecimal digits of the hash of its tensors (see `network_hash`)."""
        return network_hash(self._network)

    def __call__(self, x_hat: Tensor, x: Tensor) -> Tensor:
        """Distances of [B, 3, H, W] in [0, 1] to [B, 3, H, W]: [B], 0 for equal pictures up to rounding."""
        self._network.to(x.device)
        with torch.autocast(x.device.type, enabled=False):
            distance: Tensor = self._network(x_hat.float(), x.float())
        return distance.reshape(len(x))


def _load() -> nn.Module:
    # The network's constructor would download its trunk, so it is given the one that is here.
    trunk = SimpleNamespace(features=load_trunk("vgg16", "DISTS"))
    with building(), mock.patch.object(dists, "vgg16", return_value=trunk):
        network = dists.DISTSNetwork()
    return check_filled(network, "DISTS")
