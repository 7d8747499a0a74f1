"""Training of the diffusion decoder: on top of an entropy codec, or together with it."""

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from lightning_codec.checkpoint import (
    RECORD_KEY,
    fill,
    make_record,
    read_checkpoint,
    to_plain,
    weights_below,
    weights_digest,
)
from lightning_codec.codec import Codec
from lightning_codec.data import NamedImage
from lightning_codec.diffusion.denoiser import Denoiser, DenoiserConfig, Estimate
from lightning_codec.diffusion.objective import diffusion_loss
from lightning_codec.diffusion.process import diffuse
from lightning_codec.diffusion.samplers import start, time_grid, visited_state
from lightning_codec.diffusion.sampling import SamplingConfig
from lightning_codec.diffusion.texture import texture_distance
from lightning_codec.diffusion.texture_map import texture_levels
from lightning_codec.diffusion_decoder import DiffusionDecoder
from lightning_codec.entropy import RateNoise
from lightning_codec.errors import UserError
from lightning_codec.model import CompressionModel, ModelOutput, NetworkConfig
from lightning_codec.modules.coding import EvalStep, FileCoder, bits_map
from lightning_codec.modules.diffusion_draws import DiffusionLossConfig, Draws, Rollout, training_draws, whole_view
from lightning_codec.modules.entropy_model import estimated_bpp
from lightning_codec.modules.noise import batch_noise, mean_over_processes
from lightning_codec.modules.optimizer import OptimizerConfig, build_optimizer
from lightning_codec.modules.prediction import FilePredictor
from lightning_codec.networks import load_model
from lightning_codec.perceptual import PerceptualDistance
from lightning_codec.shipped.catalogue import Model
from lightning_codec.shipped.loading import find_model
from lightning_codec.transforms import pad_to_multiple


class DiffusionLoss(NamedTuple):
    """The loss and its parts, scalars."""

    loss: Tensor
    diffusion: Tensor
    perceptual: Tensor | None
    texture: Tensor | None
    bpp: Tensor
    fidelity: Tensor
    """MSE of x_c, images in [-1, 1]"""
    output: ModelOutput
    """of the codec"""


class DiffusionDecoderModule(FilePredictor):
    """z_t, t and the ladder of the decoded latents ─► U-Net ─► x_hat.

    Two-stage (default): the entropy codec comes trained from `codec` and is frozen. One-stage and joint fine-tuning:
    `train_codec`, with the codec of `codec` or a new one of `network`. Either way y_hat is rounded as in a file.
    The averaged weights decode, at validation and in every checkpoint's codec.

    Args:
        codec: checkpoint of the entropy codec; it is copied into the checkpoints of this module.
        network: in place of `codec`, a network to be trained from the start.
        decoder: U-Net, schedule and prediction.
        loss: settings of the loss.
        sampling: how pictures are decoded by default.
        optimizer: AdamW and its schedule.
        train_codec: train transforms and entropy model too.
        ema_decay: of the averaged weights, per optimiser step; lower in the first steps (`warming_average`).
        channels_last: memory layout of weights and images.
        start_from: checkpoint, or name of a model that ships, of a diffusion decoder with the same U-Net, for another
            codec perhaps, whose averaged weights this training begins with; its optimiser and its steps do not count.
            Blocks may have more units than there: the further ones begin as identities; a texture map that was not
            seen there begins without effect.
    """

    def __init__(
        self,
        codec: str | None = None,
        network: NetworkConfig | None = None,
        decoder: DenoiserConfig = DenoiserConfig(),  # noqa: B008 - frozen
        loss: DiffusionLossConfig = DiffusionLossConfig(),  # noqa: B008 - frozen
        sampling: SamplingConfig = SamplingConfig(),  # noqa: B008 - frozen
        optimizer: OptimizerConfig = OptimizerConfig(),  # noqa: B008 - frozen
        train_codec: bool = False,
        ema_decay: float = 0.999,
        channels_last: bool = True,
        start_from: str | None = None,
    ) -> None:
        super().__init__()
        if codec is not None and network is None:
            self.model = load_model(codec)
        elif network is not None and codec is None:
            self.model = CompressionModel(network)
        else:
            raise UserError(
                "the diffusion decoder needs either codec (a checkpoint) or network (to train from the start)"
            )
        if loss.rollout and decoder.prediction != "x":
            raise UserError(f"loss: rollout is {loss.rollout}: it needs prediction x, not {decoder.prediction}")
        if not 0.0 <= ema_decay < 1.0:
            raise UserError(f"ema_decay is {ema_decay}: it must lie in [0, 1)")
        if not train_codec:
            self.model.requires_grad_(False)
        self.decoder = Denoiser(decoder, self.model.config.channels)
        if start_from is not None:
            _start(self.decoder, start_from)
        self.loss_config = loss
        self.sampling = sampling
        self.optimizer_config = optimizer
        self.train_codec = train_codec
        self.channels_last = channels_last
        self._untrained_codec = codec is None
        if channels_last:
            self.model.to(memory_format=torch.channels_last)
            self.decoder.to(memory_format=torch.channels_last)
        self.ema = AveragedModel(self.decoder, multi_avg_fn=warming_average(ema_decay)).requires_grad_(False)
        # Not a submodule: its weights belong to no optimiser, average or checkpoint.
        self._perceptual: PerceptualDistance | None = None
        self._record: dict[str, Any] = make_record(
            type(self),
            {
                "network": to_plain(self.model.config),
                "decoder": to_plain(decoder),
                "loss": to_plain(loss),
                "sampling": to_plain(sampling),
                "optimizer": to_plain(optimizer),
                "train_codec": train_codec,
                "ema_decay": ema_decay,
                "channels_last": channels_last,
            },
        )
        self._codec: tuple[bytes, DiffusionDecoder] | None = None
        self._coder = FileCoder()

    def codec(self) -> DiffusionDecoder:
        """The codec of the averaged weights as they are now; made anew only when they have changed."""
        averaged = cast("Denoiser", self.ema.module)
        digest = weights_digest(self.model.config, self.model) + weights_digest(averaged.config, averaged)
        if self._codec is None or self._codec[0] != digest:
            self._codec = (digest, DiffusionDecoder(Codec(self.model), averaged, self.sampling))
        return self._codec[1]

    def setup(self, stage: str) -> None:
        """Load the perceptual network, and refuse to train on a codec that knows nothing.

        Raises:
            UserError: so it is, or the perceptual network cannot be had.
        """
        if stage == "fit" and self._untrained_codec and not self.train_codec and self.trainer.ckpt_path is None:
            raise UserError("an untrained codec would stay frozen: give its checkpoint as codec, or set train_codec")
        name = self.loss_config.perceptual
        if stage in ("fit", "validate") and name != "none" and self.loss_config.rho > 0.0:
            self._perceptual = PerceptualDistance(name, as_loss=True)

    def _condition(self, x: Tensor, noise: RateNoise | None = None) -> tuple[ModelOutput, list[Tensor]]:
        """The codec's output for images [B, 3, H, W] in [0, 1], and c_0 .. c_3 of the padded ones, c_0 in [-1, 1]."""
        with torch.set_grad_enabled(self.train_codec and self.training):
            output: ModelOutput = self.model(x, noise)
        c3, c2, c1, c0 = output.ladder
        return output, [2.0 * c0.float() - 1.0, c1, c2, c3]  # of autocast; c_0 goes through the DCT

    def _step(self, image: Tensor, draws: Draws, denoiser: Denoiser | AveragedModel) -> DiffusionLoss:
        """The loss of images [B, 3, H, W] in [0, 1]; the perceptual distance is of what `draws.view` shows."""
        settings, config = self.loss_config, self.decoder.config
        t, noise, view, rollout, rate_noise, map_known = draws
        output, ladder = self._condition(image, rate_noise)
        x = 2.0 * pad_to_multiple(image) - 1.0
        levels = texture_levels(x, ladder[0]) if config.texture_map else None
        ladder = self.decoder.condition(ladder, levels, map_known)
        z = diffuse(config.schedule, x, t, noise)
        if rollout is not None:
            state = self._visited([rung[rollout.rows] for rung in ladder], noise[rollout.rows], rollout)
            z = z.index_copy(0, torch.tensor(rollout.rows, device=z.device), state)
        estimate: Estimate = denoiser(z, t, ladder)
        diffusion = diffusion_loss(config, estimate, x, noise, t, settings.min_snr).mean()
        loss = (1.0 - settings.rho) * diffusion
        perceptual = None
        if self._perceptual is not None:
            shown = [(view.magnified(view.cut(picture)[view.rows]) + 1.0) / 2.0 for picture in (estimate.x_hat, x)]
            perceptual = self._perceptual(*shown).sum() / view.divisor
            loss = loss + settings.rho * perceptual
        texture = None
        if settings.texture > 0.0:
            texture = texture_distance(view.cut(estimate.x_hat), view.cut(x)).mean()
            loss = loss + settings.texture * texture
        bpp = estimated_bpp(output, image)
        fidelity = F.mse_loss(ladder[0], x)
        if self.train_codec:
            # The rate counts at weight 0 too: DistributedDataParallel waits for a gradient of every parameter.
            loss = loss + settings.fidelity * fidelity + settings.lmbda_rate * bpp
        return DiffusionLoss(loss, diffusion, perceptual, texture, bpp, fidelity, output)

    @torch.no_grad()
    def _visited(self, ladder: list[Tensor], noise: Tensor, rollout: Rollout) -> Tensor:
        """The sampler's state where the rollout stops, [B, 3, H, W], from the start with this noise."""
        sampling, schedule, grid = self.sampling, self.decoder.config.schedule, rollout.grid

        def denoiser(z: Tensor, t: float) -> Tensor:
            estimate: Estimate = self.decoder(z, z.new_full((len(z),), t), ladder)
            return estimate.x_hat

        x_c = ladder[0] if sampling.warm_start else None
        z = start(schedule, x_c, grid[0], sampling.gamma, noise, sampling.colour)
        return visited_state(denoiser, z, grid, rollout.stop, schedule, sampling.sampler, rollout.noise)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        """One step on crops [B, 3, H, W]."""
        image = batch.contiguous(memory_format=torch.channels_last) if self.channels_last else batch
        source = batch_noise(self._trainer, batch_idx, image)
        draws = training_draws(
            source, pad_to_multiple(image), self.loss_config, self.sampling, self.decoder.config.schedule
        )
        if self.train_codec:
            draws = draws._replace(rate=self.model.rate_noise(image, source.uniform))
        losses = self._step(image, draws, self.decoder)
        values = {"train/loss": losses.loss, "train/diffusion": losses.diffusion, "train/bpp": losses.bpp}
        if losses.perceptual is not None:
            values["train/perceptual"] = losses.perceptual
        if losses.texture is not None:
            values["train/texture"] = losses.texture
        values = mean_over_processes(self._trainer, {**values, "fidelity": losses.fidelity})
        values["train/psnr_x_c"] = 10.0 * torch.log10(4.0 / values.pop("fidelity"))
        self.log_dict(values, prog_bar=True, batch_size=len(image))
        return losses.loss

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - as Lightning calls it
        """Step, then move the averaged weights."""
        super().optimizer_step(*args, **kwargs)
        self.ema.update_parameters(self.decoder)

    def validation_step(  # type: ignore[override] # Lightning hands any object on to the callbacks
        self, batch: NamedImage, batch_idx: int, dataloader_idx: int = 0
    ) -> EvalStep:
        """The picture that the file of one image decodes to, and the loss at the times where the sampler looks."""
        x_hat, file = self._coder(self.codec(), batch.image, timed=False)
        grid = time_grid(self.sampling.steps, min(self.sampling.t_start, self.loss_config.t_max), self.sampling.power)
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(pad_to_multiple(batch.image).shape, generator=generator).to(batch.image)
        total = 0.0
        for time in grid[:-1]:
            t = torch.full((1,), time, device=self.device)
            view = whole_view(t, self.decoder.config.schedule, self.loss_config.perceptual_min_snr)
            losses = self._step(batch.image, Draws(t, noise, view), self.ema)
            total += float(losses.loss)
        return EvalStep(x_hat, float(losses.bpp), total / (len(grid) - 1), bits_map(losses.output), file)

    def test_step(  # type: ignore[override] # Lightning hands any object on to the callbacks
        self, batch: NamedImage, batch_idx: int, dataloader_idx: int = 0
    ) -> EvalStep:
        """The picture that the file of one image decodes to, and the estimated rate."""
        output, _ = self._condition(batch.image)
        x_hat, file = self._coder(self.codec(), batch.image, timed=True)
        return EvalStep(x_hat, float(estimated_bpp(output, batch.image)), None, bits_map(output), file)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """One AdamW over everything that is trained, its rate set anew at every optimiser step."""
        total = int(min(self.trainer.estimated_stepping_batches, 2**31))
        optimizer, schedule = build_optimizer(self, self.optimizer_config, total)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Write what the checkpoint has to say about itself."""
        checkpoint[RECORD_KEY] = self._record


def _start(denoiser: Denoiser, source: str) -> None:
    found = find_model(source)
    if isinstance(found, Model):
        weights = DiffusionDecoder.load(found).denoiser.state_dict()
    else:  # whatever codec it was trained for
        weights = weights_below("ema.module.", read_checkpoint(found))
    # Units that the source lacks keep their start, and so does a texture map, which then counts nothing.
    further = {name: v for name, v in denoiser.state_dict().items() if ".units." in name or ".texture." in name}
    fill(denoiser, {**further, **weights}, source)


def warming_average(decay: float) -> Callable[[Any, Any, Any], None]:
    """An exponential average whose decay rises as (1 + n) / (10 + n) up to `decay`, so that the start is forgotten."""

    def average(averaged: list[Tensor], current: list[Tensor], count: Tensor | int) -> None:
        step = get_ema_multi_avg_fn(min(decay, (1 + int(count)) / (10 + int(count))))  # type: ignore[no-untyped-call]  # torch gives it no types
        step(averaged, current, count)

    return average
