"""The distances between sets of pictures by name, and the networks whose features they compare."""

import typing
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, cast, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from lightning_codec.errors import UserError
from lightning_codec.images import check_image, to_uint8
from lightning_codec.metrics.patches import patches
from lightning_codec.metrics.protocol import Protocol
from lightning_codec.perceptual import load_network
from lightning_codec.pretrained import building, check_filled, network_hash
from lightning_codec.weights import load_weights, require

SetMetricName = Literal["fid256", "kid256", "frechet_vgg64"]
Features = npt.NDArray[np.float32]
"""Of one picture or of several, [n, D]: a row for each patch."""


class FeatureExtractor(typing.Protocol):
    """A network that describes a patch by D numbers."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def weights(self) -> str:
        """First 12 hexadecimal digits of the hash of its tensors (see `network_hash`)."""

    @property
    def dimensions(self) -> int:
        """D."""

    def __call__(self, patches: Tensor) -> Tensor:
        """Features of uint8 patches [n, 3, p, p]: float32 [n, D]; each row depends on its own patch alone."""


class SetMetric(NamedTuple):
    """A distance between two sets of pictures; smaller is better."""

    name: SetMetricName
    protocol: Protocol
    label: str


class SetExtractor(NamedTuple):
    """A network, the patches it sees, and the distances that are computed from its features."""

    extractor: FeatureExtractor
    patch_size: int
    metrics: tuple[SetMetric, ...]

    def features(self, image: Tensor) -> Features:
        """Features of the patches of a picture [3, H, W] or [1, 3, H, W] in [0, 1], rounded to 8 bit.

        Returns:
            float32 [n, D]; n is 0 where the picture is smaller than a patch.

        Raises:
            ValueError: the picture breaks the contract (see `check_image`), or there are several.
        """
        (picture,) = to_uint8(check_image(image, "image"))
        with torch.no_grad():
            return self.extractor(patches(picture, self.patch_size)).cpu().numpy()


class SetSuite(NamedTuple):
    """The networks that can be had, with the distances they serve, and why the others cannot."""

    extractors: list[SetExtractor]
    absent: dict[str, str]


class _Facts(NamedTuple):
    """What a distance between sets is."""

    id: str
    label: str
    description: str
    patch_size: int


_HIFIC_PATCHES = (
    "patches of 256 pixels from (0, 0) and, where both sides have 384, a second grid shifted by 128; "
    "8 bit by rounding, not resized before torch-fidelity's Inception (2048 features)"
)
_SETS: dict[SetMetricName, _Facts] = {
    "fid256": _Facts(
        "fid256-hific-v1", "FID/256", f"Fréchet distance, {_HIFIC_PATCHES}; statistics of all patches in float64", 256
    ),
    "kid256": _Facts(
        "kid256-hific-v1",
        "KID/256",
        f"squared MMD (unbiased, cubic polynomial), mean of 100 subsets of 1000, {_HIFIC_PATCHES}",
        256,
    ),
    "frechet_vgg64": _Facts(
        "frechet-vgg64-v1",
        "Fréchet distance, VGG16 of ST-LPIPS, 64-pixel patches",
        "Fréchet distance of the 512 deepest features of shift-tolerant LPIPS' VGG16, averaged over the patch; patches "
        "of 64 pixels from (0, 0) and, where both sides have 96, a second grid shifted by 32; 8 bit by rounding, not "
        "resized; statistics of all patches in float64; not comparable with any FID",
        64,
    ),
}


def set_metric(name: SetMetricName, weights: str) -> SetMetric:
    """The distance of this name on features of a network with this hash."""
    facts = _SETS[name]
    return SetMetric(name, Protocol(facts.id, facts.description, weights), facts.label)


def set_extractors(names: Sequence[SetMetricName]) -> SetSuite:
    """Load the networks that the distances of these names need, each once; nothing is downloaded.

    Raises:
        UserError: there is no distance of a name.
    """
    for name in names:
        if name not in get_args(SetMetricName):
            raise UserError(f"set metric {name!r}: it must be one of {', '.join(get_args(SetMetricName))}")
    suite = SetSuite([], {})
    families: tuple[tuple[tuple[SetMetricName, ...], Callable[[], FeatureExtractor]], ...] = (
        (("fid256", "kid256"), InceptionFeatures),
        (("frechet_vgg64",), VGG16Features),
    )
    for family, load in families:
        wanted = [name for name in family if name in names]
        if not wanted:
            continue
        try:
            extractor = load()
        except UserError as error:
            suite.absent.update(dict.fromkeys(wanted, str(error)))
        else:
            metrics = tuple(set_metric(name, extractor.weights) for name in wanted)
            suite.extractors.append(SetExtractor(extractor, _SETS[wanted[0]].patch_size, metrics))
    return suite


class InceptionFeatures:
    """torch-fidelity's Inception (2015-12-05), pooled features; it resizes to 299 pixels as TensorFlow 1 did.

    Raises:
        UserError: the package or the weights cannot be had.
    """

    name = "inception-2015-12-05"
    dimensions = 2048

    def __init__(self) -> None:
        try:
            from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
        except ImportError as error:
            raise UserError(
                f"Inception features: {error}; install it with pip install 'lightning_codec[perceptual]'"
            ) from error
        # The package unpickles whatever the file holds; what this reads before is tensors and nothing else.
        load_weights("inception", "Inception features")
        path = require("inception", "Inception features")
        try:
            with building():
                network = FeatureExtractorInceptionV3(
                    "inception-v3-compat", ["2048"], feature_extractor_weights_path=str(path)
                )
        except RuntimeError as error:
            raise UserError(
                f"Inception features: {path} is of another network ({' '.join(str(error).split())})"
            ) from error
        self._network = check_filled(network, "Inception features")
        self.weights = network_hash(self._network)

    def __call__(self, patches: Tensor) -> Tensor:
        """Features of uint8 patches [n, 3, p, p]: float32 [n, 2048]."""
        self._network.to(patches.device)
        return _in_chunks(lambda chunk: self._network(chunk)[0], patches, chunk_size=16, dimensions=self.dimensions)


class VGG16Features:
    """The deepest features of shift-tolerant LPIPS' VGG16 (relu5_3), averaged over the patch: they ship in a wheel.

    Raises:
        UserError: the package cannot be had.
    """

    name = "stlpips-vgg16"
    dimensions = 512

    def __init__(self) -> None:
        network = load_network("stlpips-vgg")
        parts = cast(list[nn.Module], [network.scaling_layer, network.net])
        self._network = nn.Sequential(*parts).to(memory_format=torch.channels_last)
        self.weights = network_hash(self._network)

    def __call__(self, patches: Tensor) -> Tensor:
        """Features of uint8 patches [n, 3, p, p]: float32 [n, 512]."""
        self._network.to(patches.device)
        return _in_chunks(self._describe, patches, chunk_size=16, dimensions=self.dimensions)

    def _describe(self, patches: Tensor) -> Tensor:
        x = (patches.float() / 127.5 - 1.0).contiguous(memory_format=torch.channels_last)
        deepest: Tensor = self._network(x)[-1]
        return deepest.mean(dim=(2, 3))


def _in_chunks(describe: Callable[[Tensor], Tensor], patches: Tensor, chunk_size: int, dimensions: int) -> Tensor:
    """Features of uint8 patches [n, 3, p, p], a few at a time: float32 [n, D]."""
    with torch.autocast(patches.device.type, enabled=False):
        chunks = [describe(chunk) for chunk in torch.split(patches, chunk_size)] if len(patches) else []
    return torch.cat([torch.empty(0, dimensions, device=patches.device), *chunks])
