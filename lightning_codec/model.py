"""The compression network: transforms and entropy model put together."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor, nn

from lightning_codec.entropy import EntropyConfig, EntropyModel, EntropyOutput, RateNoise
from lightning_codec.transforms import (
    AnalysisTransform,
    Ladder,
    LatentResidualPrediction,
    SynthesisLadder,
    crop_to,
    pad_to_multiple,
)
from lightning_codec.transforms.padding import padded_size

LATENT_STRIDE = 16
HYPER_STRIDE = 64


@dataclass(frozen=True)
class NetworkConfig:
    """Everything that defines the network, as plain values; it is stored in every checkpoint.

    Args:
        channels: (N1, N2, N3), widths at H/2, H/4 and H/8, of g_a and of the ladder.
        latent_channels: M.
        analysis_units: residual units after each of the first three stages of g_a.
        synthesis_units: residual units before each upsampling of the ladder.
        entropy: the entropy model.
        latent_residual_prediction: refine y_hat before the ladder (it never touches a probability).
    """

    channels: tuple[int, int, int] = (48, 64, 96)
    latent_channels: int = 80
    analysis_units: int = 1
    synthesis_units: int = 1
    entropy: EntropyConfig = field(default_factory=EntropyConfig)
    latent_residual_prediction: bool = False


class ModelOutput(NamedTuple):
    """What one forward pass gives. Likelihoods cover the padded image, the picture is cropped to the original."""

    x_hat: Tensor
    """x_c, [B, 3, H0, W0], not clamped"""
    ladder: Ladder
    """all rungs, of the padded image"""
    y_hat: Tensor
    """[B, M, h, w]"""
    y_likelihoods: Tensor
    """[B, M, h, w]"""
    z_likelihoods: Tensor
    """[B, N_z, h/4, w/4]"""


class CompressionModel(nn.Module):
    """x ─► g_a ─► y ─► entropy model ─► y_hat ─► (LRP) ─► g_s ladder ─► x_c.

    Args:
        config: the network's settings.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        M = config.latent_channels
        self.config = config
        self.g_a = AnalysisTransform(config.channels, M, config.analysis_units)
        self.entropy = EntropyModel(M, config.entropy)
        self.g_s = SynthesisLadder(M, config.channels, config.synthesis_units)
        self.lrp = (
            LatentResidualPrediction(self.entropy.widths, config.entropy.hyper_channels)
            if config.latent_residual_prediction
            else None
        )

    def synthesize(self, psi: Tensor, y_hat: Tensor) -> Ladder:
        """The ladder of decoded latents: psi [B, 2 N_h, h, w], y_hat [B, M, h, w]."""
        ladder: Ladder = self.g_s(y_hat if self.lrp is None else self.lrp(psi, y_hat))
        return ladder

    def rate_noise(self, x: Tensor, uniform: Callable[[tuple[int, ...]], Tensor]) -> RateNoise:
        """What `forward` needs for a noisy rate of images [B, 3, H0, W0]; `uniform` draws U(-1/2, 1/2) of a shape."""
        height, width = padded_size(*x.shape[-2:])
        y = (len(x), self.config.latent_channels, height // LATENT_STRIDE, width // LATENT_STRIDE)
        z = (len(x), self.config.entropy.hyper_channels, height // HYPER_STRIDE, width // HYPER_STRIDE)
        return RateNoise(uniform(y), uniform(z))

    def rates(self, x: Tensor, noise: RateNoise | None = None) -> EntropyOutput:
        """As `forward`, without the picture: latents and likelihoods of images [B, 3, H0, W0]."""
        coded: EntropyOutput = self.entropy(self.g_a(pad_to_multiple(x)), noise)
        return coded

    def forward(self, x: Tensor, noise: RateNoise | None = None) -> ModelOutput:
        """x [B, 3, H0, W0] in [0, 1], any size -> picture and likelihoods.

        Args:
            x: images.
            noise: that the rate is taken with, see `EntropyModel.forward`; None: the hard rate.
        """
        height, width = x.shape[-2:]
        coded = self.rates(x, noise)
        ladder = self.synthesize(coded.psi, coded.y_hat)
        x_hat = crop_to(ladder.c0, height, width)
        return ModelOutput(x_hat, ladder, coded.y_hat, coded.y_likelihoods, coded.z_likelihoods)
