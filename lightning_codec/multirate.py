"""Several rates by one network: shared kernels, and for every rate its own scales and biases.

The network of one rate is a plain `CompressionModel`: what belongs to the rate is multiplied into the shared kernels.
So the codec, its files and its decoders know nothing of all this; training and storage alone do.
"""

import copy
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

from lightning_codec.entropy import RateNoise
from lightning_codec.model import CompressionModel, ModelOutput, NetworkConfig

# Places of a residual unit's outer convolutions in its `body`.
RESIDUAL_FIRST, RESIDUAL_LAST = 0, 4


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
        middle = math.exp(sum(map(math.log, lmbdas)) / self.count)
        gains = [math.sqrt(lmbda / middle) for lmbda in lmbdas]
        ones = [1.0] * self.count
        inverses = torch.tensor([1.0 / gain for gain in gains])
        self.y_hat_scales = nn.Parameter(inverses[:, None].repeat(1, model.config.latent_channels))
        self.out_scales = nn.ParameterDict()
        self.own = nn.ParameterDict()
        readers, writers = _residuals_of_y_hat(model)
        self._readers = readers
        # These give values in the units of y_hat: g_a, and the residuals that g_s adds to y_hat itself.
        in_units_of_y_hat = {"g_a.body." + str(len(model.g_a.body) - 1), *writers}
        for name, parameter in model.named_parameters():
            layer, _, kind = name.rpartition(".")
            start = torch.tensor(gains if layer in in_units_of_y_hat else ones, device=parameter.device)
            if parameter.ndim == 1 or (name.startswith("entropy.prior.") and parameter.requires_grad):
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
        output: ModelOutput = functional_call(model, self.of(model, rate), (x, noise))
        return output

    @torch.no_grad()
    def network(self, model: CompressionModel, rate: int) -> CompressionModel:
        """The network of a rate, a copy."""
        network = copy.deepcopy(model)
        network.load_state_dict({**model.state_dict(), **self.of(model, rate)})
        return network.requires_grad_(True)


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
        """The network of a rate, 0 to K - 1, or of the middle one."""
        return self.rates.network(self.model, self.rates.count // 2 if rate is None else rate)


def _residuals_of_y_hat(model: CompressionModel) -> tuple[frozenset[str], frozenset[str]]:
    """The layers of g_s that read y_hat, in its units: its residual units' first ones and the first upsampling; and
    those that write to it: the units' last ones."""
    units = model.g_s.get_submodule("rungs.0.0")
    assert isinstance(units, nn.Sequential)
    readers = {f"g_s.rungs.0.0.{i}.body.{RESIDUAL_FIRST}" for i in range(len(units))} | {"g_s.rungs.0.1"}
    writers = {f"g_s.rungs.0.0.{i}.body.{RESIDUAL_LAST}" for i in range(len(units))}
    return frozenset(readers), frozenset(writers)


def _along(values: Tensor, dimension: int) -> Tensor:
    """[C] so that it multiplies a kernel along its input or output channels."""
    return values[None, :, None, None] if dimension else values[:, None, None, None]


def _key(name: str) -> str:
    """A parameter's name as one that a ParameterDict takes: without dots."""
    return name.replace(".", "/")


def _name(key: str) -> str:
    return key.replace("/", ".")
