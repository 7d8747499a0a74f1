"""Settings of the decoder's loss, and everything that is random about a step of its training."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_codec.diffusion.objective import stratified_times
from lightning_codec.diffusion.samplers import Noise, time_grid
from lightning_codec.diffusion.sampling import SamplingConfig
from lightning_codec.diffusion.schedule import BlurSchedule
from lightning_codec.entropy import RateNoise
from lightning_codec.errors import UserError
from lightning_codec.modules.noise import BatchNoise, spread
from lightning_codec.perceptual import PerceptualName

# The gradient of a network with strides, or of blocks, has their period. From changing origins it leaves no grid.
JITTER = 8
# Of the images, the share whose texture map is not shown, so that files without one are decoded as well.
HIDDEN = 0.1
MAGNIFY_MAX = 8.0


@dataclass(frozen=True)
class DiffusionLossConfig:
    """L = (1 - rho) L_diff + rho perceptual + texture D_tex [+ lmbda_rate bpp + fidelity MSE(x, c_0)], in [-1, 1].

    An optimiser step's images are those of all processes and accumulated batches.

    Args:
        rho: share of the perceptual distance of the network's own estimate of x, in [0, 1].
        perceptual: its network; with `none`, or rho 0, none is loaded.
        perceptual_images: how many images of an optimiser step it sees, to save its time; 0 for all.
        magnify: at how many times its size the perceptual network sees a piece of an image in place of the whole, the
            piece being smaller by as much: distances of other networks, which look at finer detail, fall further so.
        perceptual_min_snr: it sees only times with at least this a^2 / sigma^2: with `epsilon` predicted the estimate
            of x explodes where there is only noise.
        texture: weight of the distance of band energies (`texture_distance`); 0 leaves it out.
        rollout: how many images of an optimiser step are trained at a state that the sampler itself has come to from
            x_c, rather than at a diffused original: what earlier steps leave behind is then taken away by later ones.
        min_snr: cap of the weight of an error of x.
        t_max: times are trained in [0, t_max]; a decoder that starts from x_c needs no later ones.
        lmbda_rate: weight of the rate; counts only where the codec is trained too.
        fidelity: weight of the error of x_c; likewise.
    """

    rho: float = 0.3
    perceptual: PerceptualName | Literal["none"] = "stlpips-alex"
    perceptual_images: int = 0
    magnify: float = 1.0
    perceptual_min_snr: float = 0.1
    texture: float = 0.0
    rollout: int = 0
    min_snr: float = 5.0
    t_max: float = 0.3
    lmbda_rate: float = 0.0
    fidelity: float = 0.1

    def __post_init__(self) -> None:
        if not 0.0 <= self.rho <= 1.0:
            raise UserError(f"loss: rho is {self.rho}: it must lie in [0, 1]")
        if not 0.0 < self.t_max <= 1.0:
            raise UserError(f"loss: t_max is {self.t_max}: it must lie in (0, 1]")
        if not 1.0 <= self.magnify <= MAGNIFY_MAX:
            raise UserError(f"loss: magnify is {self.magnify}: it must lie in [1, {MAGNIFY_MAX:g}]")


class View(NamedTuple):
    """What is shown of a batch to the judges that look at more than single pixels."""

    rows: list[int]
    """the images that the perceptual network sees"""
    divisor: float
    """of the sum of their distances: how many it sees in a batch on the average of an optimiser step"""
    top: int = 0
    """rows of pixels left out above"""
    left: int = 0
    magnify: float = 1.0
    """at how many times its size the perceptual network sees a piece of what is left"""
    place: tuple[float, float] = (0.0, 0.0)
    """of the piece, from the top and the left, in [0, 1)"""

    def cut(self, pictures: Tensor) -> Tensor:
        """All pictures, without the rows and columns that are left out."""
        return pictures[..., self.top :, self.left :]

    def magnified(self, pictures: Tensor) -> Tensor:
        """A piece of [B, C, H, W] at the size of the whole, which is returned itself where `magnify` is 1."""
        if self.magnify == 1.0:
            return pictures
        height, width = pictures.shape[-2:]
        rows, columns = round(height / self.magnify), round(width / self.magnify)
        top, left = int(self.place[0] * (height - rows + 1)), int(self.place[1] * (width - columns + 1))
        piece = pictures[..., top : top + rows, left : left + columns]
        # Keys' cubic with a = -1/2, which keeps straight lines: without antialias it would be -3/4 and leave a ripple.
        return F.interpolate(piece, size=(height, width), mode="bicubic", antialias=True)


class Rollout(NamedTuple):
    """Images that are taken where the sampler comes to."""

    rows: list[int]
    """which of the batch, at least one"""
    grid: list[float]
    """times of the sampler, as `time_grid` gives"""
    stop: int
    """the evaluation that is trained, 0 <= stop < len(grid) - 1"""
    noise: Noise
    """of the sampler's steps, [len(rows), 3, H, W]"""


class Draws(NamedTuple):
    """Everything that is random about the loss of a batch."""

    t: Tensor
    """times [B]; those of rolled out images are where they stop"""
    noise: Tensor
    """white, shaped as the padded images, [B, 3, H, W]"""
    view: View
    rollout: Rollout | None = None
    rate: RateNoise | None = None
    """None for the hard rate"""
    map_known: Tensor | None = None
    """bool [B], whose texture map is shown; None for all"""


def whole_view(t: Tensor, schedule: BlurSchedule, min_snr: float) -> View:
    """The whole of every image at times [B] that the perceptual network is not spared."""
    rows = _seen(t, schedule, min_snr).nonzero()[:, 0].tolist()
    return View(rows, max(1, len(rows)))


def training_draws(
    source: BatchNoise,
    image: Tensor,
    settings: DiffusionLossConfig,
    sampling: SamplingConfig,
    schedule: BlurSchedule,
) -> Draws:
    """The draws for a training batch of padded images [B, 3, H, W].

    Choices are made for the whole optimiser step and do not depend on how it is split into batches. A mean over images
    that not every batch has equally many of is a sum over a constant (`View.divisor`), so that the mean of the batches'
    gradients is the gradient of the step's mean.
    """
    size, choose = source.step_size, source.choices
    times = stratified_times(size, settings.t_max, torch.tensor(choose.random(), dtype=torch.float32))
    top, left = choose.integers(JITTER, size=2).tolist()
    shown = spread(min(settings.perceptual_images or size, size), size, int(choose.integers(size)))
    rolled = spread(min(settings.rollout, size), size, int(choose.integers(size)))
    steps = int(choose.integers(1, sampling.steps + 1))
    stop = int(choose.integers(steps))
    grid = time_grid(steps, sampling.t_start, sampling.power)
    times[rolled] = grid[stop]
    place = (choose.random(), choose.random())
    shown &= _seen(times, schedule, settings.perceptual_min_snr)
    known = torch.from_numpy(choose.random(size)) >= HIDDEN

    mine = source.indices
    noise = source.normal(image.shape)
    if image.is_contiguous(memory_format=torch.channels_last):
        noise = noise.contiguous(memory_format=torch.channels_last)
    divisor = max(1, int(shown.sum())) * len(mine) / size
    view = View(shown[mine].nonzero()[:, 0].tolist(), divisor, top, left, settings.magnify, place)
    rows: list[int] = rolled[mine].nonzero()[:, 0].tolist()
    rollout = None
    if rows:
        shape: Sequence[int] = (len(rows), *image.shape[1:])
        rollout = Rollout(rows, grid, stop, lambda _: source.normal(shape, rows))
    return Draws(times[mine].to(image.device), noise, view, rollout, map_known=known[mine])


def _seen(t: Tensor, schedule: BlurSchedule, min_snr: float) -> Tensor:
    return schedule.log_snr(t).exp() >= min_snr
