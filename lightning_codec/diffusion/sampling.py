"""How a picture is drawn from a trained denoiser, as plain values."""

from dataclasses import dataclass
from typing import get_args

from lightning_codec.diffusion.samplers import SamplerName
from lightning_codec.errors import UserError


@dataclass(frozen=True)
class SamplingConfig:
    """Settings of the sampler; they are stored in every checkpoint and can be changed at every decoding.

    Args:
        steps: S >= 1; as many evaluations of the network, or 2 S - 1 for `heun`.
        sampler: one of `SamplerName`.
        warm_start: begin at IDCT(alpha DCT(x_c)) + gamma sigma xi; without it at noise alone.
        t_start: where to begin, in (0, 1]. The finest texture is decided below 0.2, so that a warm start needs no more.
        power: p > 0 of the time grid t_i = t_start (1 - i/S)^p.
        gamma: scale >= 0 of the noise of the start, at perception 1. For a Gaussian posterior and a deterministic
            sampler the error is (1 + gamma^2) times the least possible, and the texture gamma^2 of the true variance.
        colour: scale >= 0 of the differences between the channels of that noise; 0 for grey noise, of which nothing can
            be left as coloured speckles.
        chroma: share, in [0, 1], of what the decoded picture changes of the colour differences of x_c; 0 for the colour
            of x_c, with the luminance of the decoded picture.
        clamp: keep every estimate of x within [-1, 1].
    """

    steps: int = 4
    sampler: SamplerName = "2m"
    warm_start: bool = True
    t_start: float = 0.25
    power: float = 2.0
    gamma: float = 1.0
    colour: float = 1.0
    chroma: float = 1.0
    clamp: bool = False

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise UserError(f"sampling: steps is {self.steps}: it must be 1 or more")
        if self.sampler not in get_args(SamplerName):
            raise UserError(
                f"sampling: sampler is {self.sampler!r}: it must be one of {', '.join(get_args(SamplerName))}"
            )
        if not 0.0 < self.t_start <= 1.0:
            raise UserError(f"sampling: t_start is {self.t_start}: it must lie in (0, 1]")
        if not self.power > 0.0:
            raise UserError(f"sampling: power is {self.power}: it must be positive")
        if not self.gamma >= 0.0:
            raise UserError(f"sampling: gamma is {self.gamma}: it must be 0 or more")
        if not self.colour >= 0.0:
            raise UserError(f"sampling: colour is {self.colour}: it must be 0 or more")
        if not 0.0 <= self.chroma <= 1.0:
            raise UserError(f"sampling: chroma is {self.chroma}: it must lie in [0, 1]")

    @property
    def evaluations(self) -> int:
        """Of the network, for one picture."""
        return 2 * self.steps - 1 if self.sampler == "heun" else self.steps
