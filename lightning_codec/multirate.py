"""Several rates by one network: shared kernels, and for every rate its own scales and biases.

The network of one rate is a plain `CompressionModel`: what belongs to the rate is multiplied into the shared kernels.
So the codec, its files and its decoders know nothing of all this; training and storage alone do.
"""

import copy
from collections.abc import Sequence
from statistics import geometric_mean

import torch
from torch import Tensor, nn
from torch.func import functional_call

from lightning_codec.entropy import RateNoise
from lightning_codec.model import CompressionModel, ModelOutput, NetworkConfig
from lightning_codec.transforms import quantizer_step
from lightning_codec.transforms.layers import ResUnit


class RateWeights(nn.Module):
    """What K networks with the kernels W of one do not share.

        W_k = out_k W in_k   kernels of g_a, h_a, h_s and g_s; in_k: only those of g_s that read y_hat
        b_k                  every bias, norm and other vector, and the prior of z
        W                    all kernels of the channel groups

    out_k of the last layer of g_a and in_k are the gains of Cui et al. ("Asymmetric Gained Deep Image Compression With
    Continuous Rate Adaptation", CVPR 2021). They begin at sqrt(lmbda_k / lmbda), lmbda the geometric mean of all, and
    its inverse, since the squared step of a quantiser goes with 1 / lmbda: all networks begin as the same transforms
    with finer or coarser rounding.

    Args:
        model: the network whose kernels are shared; its other weights only say where those of the rates begin, and
            are not trained.
        lmbdas: weight of the distortion of each rate, K of them.

    Raises:
        ValueError: there are no rates, or `model` has a latent residual prediction, which reads y_hat as well.
    """

    def __init__(self, model: CompressionModel, lmbdas: Sequence[float]) -> None:
        super().__init__()
        if model.lrp is not None:
            raise ValueError("latent_residual_prediction: not with several rates: switch it off")
        if not lmbdas:
            raise ValueError("lmbdas: give at least one")
        self.count = len(lmbdas)
        middle = quantizer_step(geometric_mean(lmbdas))
        gains = [middle / quantizer_step(lmbda) for lmbda in lmbdas]
        ones = [1.0] * self.count
        inverses = torch.tensor([1.0 / gain for gain in gains])
        self.y_hat_scales = nn.Parameter(inverses[:, None].repeat(1, model.config.latent_channels))
        self.out_scales = nn.ParameterDict()
        self.own = nn.ParameterDict()
        self._readers, writers = _readers_and_writers_of_y_hat(model)
        for name, parameter in model.named_parameters():
            layer, _, kind = name.rpartition(".")
            start = torch.tensor(gains if layer in writers else ones, device=parameter.device)
            if parameter.ndim == 1 or name.startswith("entropy.prior."):
                columns = start.reshape(-1, *[1] * parameter.ndim)
                self.own[_key(name)] = nn.Parameter(columns * parameter.detach())
                parameter.requires_grad_(False)
            elif kind == "weight" and not name.startswith("entropy.groups."):
                module = model.get_submodule(layer)
                assert isinstance(module, nn.Conv2d | nn.ConvTranspose2d)
                self.out_scales[_key(layer)] = nn.Parameter(start[:, None].repeat(1, module.out_channels))

    def of(self, model: CompressionModel, rate: int) -> dict[str, Tensor]:
        """Those weights of the network of a rate, 0 to K - 1, that are not `model`'s own; differentiable."""
        weights = {_name(key): values[rate] for key, values in self.own.items()}
        for key, scales in self.out_scales.items():
            layer = _name(key)
            module = model.get_submodule(layer)
            weight = module.get_parameter("weight")
            transposed = isinstance(module, nn.ConvTranspose2d)
            scaled = weight * _along(scales[rate], 1 if transposed else 0)
            if layer in self._readers:
                scaled = scaled * _along(self.y_hat_scales[rate], 0 if transposed else 1)
            weights[f"{layer}.weight"] = scaled
        return weights

    def forward(self, model: CompressionModel, rate: int, x: Tensor, noise: RateNoise | None = None) -> ModelOutput:
        """As `CompressionModel.forward`, by the network of a rate."""
        # A module that stands in several places (a shared bias) is one object, which the first of its names reaches.
        # Tied, it would be replaced once for each name and end up with the weights of the rate.
        output: ModelOutput = functional_call(model, self.of(model, rate), (x, noise), tie_weights=False)
        return output

    @torch.no_grad()
    def network(self, model: CompressionModel, rate: int) -> CompressionModel:
        """The network of a rate, a copy."""
        return self.put_into(copy.deepcopy(model), rate)

    @torch.no_grad()
    def put_into(self, model: CompressionModel, rate: int) -> CompressionModel:
        """`model` itself, with the weights of a rate; the shared ones are gone."""
        for name, value in self.of(model, rate).items():
            model.get_parameter(name).copy_(value)
        return model.requires_grad_(True)


class MultiRateNetwork(nn.Module):
    """The shared kernels and the rates, as checkpoints and files have them: `model.` and `rates.`.

    Args:
        config: of the network of every single rate.
        lmbdas: as for `RateWeights`.

    Raises:
        ValueError: as `RateWeights`.
    """

    def __init__(self, config: NetworkConfig, lmbdas: Sequence[float]) -> None:
        super().__init__()
        self.model = CompressionModel(config)
        self.rates = RateWeights(self.model, lmbdas)

    def network(self, rate: int | None = None) -> CompressionModel:
        """The network of a rate, 0 to K - 1, or of the middle one; a copy."""
        return self.rates.network(self.model, self._rate(rate))

    def turn_into(self, rate: int | None = None) -> CompressionModel:
        """As `network`, but for the copy: this one is not to be used any more."""
        return self.rates.put_into(self.model, self._rate(rate))

    def _rate(self, rate: int | None) -> int:
        return self.rates.count // 2 if rate is None else rate


def _readers_and_writers_of_y_hat(model: CompressionModel) -> tuple[frozenset[str], frozenset[str]]:
    """The layers that read values in the units of y_hat, and those that give such: by name.

    In g_s the residual units before the first upsampling add to y_hat itself.
    """
    first = model.g_s.rungs[0]
    units = [module for module in first.modules() if isinstance(module, ResUnit)]
    upsampling = [module for module in first.children() if isinstance(module, nn.ConvTranspose2d)]
    readers = {*(unit.body[0] for unit in units), *upsampling}
    writers = {*(unit.body[-1] for unit in units), model.g_a.body[-1]}

    def names(layers: set[nn.Module]) -> frozenset[str]:
        return frozenset(name for name, module in model.named_modules() if module in layers)

    return names(readers), names(writers)


def _along(values: Tensor, dimension: int) -> Tensor:
    """[C] so that it multiplies a kernel along its input or output channels."""
    return values[None, :, None, None] if dimension else values[:, None, None, None]


def _key(name: str) -> str:
    """A parameter's name as one that a ParameterDict takes: without dots."""
    return name.replace(".", "/")


def _name(key: str) -> str:
    return key.replace("/", ".")
