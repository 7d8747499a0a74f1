"""Random trunks under the names of the published ones, and a machine without a network."""

import os
import socket
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch
import torchvision
from torch import nn

from lightning_codec.weights import FOLDER_VARIABLE, WeightsName, named


class Payload:
    """Pickled, it makes a folder when it is read without care."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.trace),)


def random_trunk(name: WeightsName, folder: Path) -> nn.Sequential:
    """Write the convolutional part of a network with random weights where it is searched for; returns it."""
    with torch.device("meta"):
        network = {"alexnet": torchvision.models.alexnet, "vgg16": torchvision.models.vgg16}[name]()
    features: nn.Sequential = network.features.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(1)
    for layer in features:
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, std=(2 / layer.weight[0].numel()) ** 0.5, generator=generator)
            assert layer.bias is not None
            nn.init.normal_(layer.bias, std=0.01, generator=generator)
    (file,) = named([name])
    torch.save({f"features.{key}": value for key, value in features.state_dict().items()}, folder / file.file)
    return features


def use_weights(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Search for weights in this folder alone, and fail on any attempt to reach a network."""

    def refuse(*_: Any) -> NoReturn:
        raise AssertionError("something tried to reach a network")

    monkeypatch.setenv(FOLDER_VARIABLE, str(folder))
    monkeypatch.setenv("TORCH_HOME", str(folder / "no_hub"))
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
