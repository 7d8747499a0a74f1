"""Training of the entropy codec: g_a, entropy model and ladder, by rate and distortion."""

from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from pytorch_msssim import ms_ssim
from torch import Tensor

from lightning_codec.checkpoint import (
    RECORD_KEY,
    fill,
    from_plain,
    make_record,
    read_checkpoint,
    to_plain,
    weights_digest,
)
from lightning_codec.codec import Codec
from lightning_codec.data import NamedImage
from lightning_codec.entropy import EntropyOutput, RateNoise
from lightning_codec.errors import UserError
from lightning_codec.model import CompressionModel, ModelOutput, NetworkConfig
from lightning_codec.modules.coding import EvalStep, FileCoder, bits_map, difference_8bit
from lightning_codec.modules.noise import batch_noise, mean_over_processes
from lightning_codec.modules.optimizer import OptimizerConfig, build_optimizer
from lightning_codec.modules.prediction import FilePredictor
from lightning_codec.networks import load_model
from lightning_codec.transforms import quantizer_step, start_linearly

# Five scales of an 11-tap window.
MS_SSIM_MIN_SIDE = 161


class RateDistortionLoss(NamedTuple):
    """The loss and its parts."""

    loss: Tensor | None
    """None where the images are too small for the distortion"""
    bpp: Tensor
    mse: Tensor


def estimated_bits(output: ModelOutput | EntropyOutput) -> Tensor:
    """-sum log2 P over all symbols of the batch: a scalar, float32."""
    return -(output.y_likelihoods.log2().sum() + output.z_likelihoods.log2().sum())


def estimated_bpp(output: ModelOutput | EntropyOutput, x: Tensor) -> Tensor:
    """Bits per original pixel of images x [B, 3, H, W]: a scalar, float32."""
    return estimated_bits(output) / (len(x) * x.shape[-2] * x.shape[-1])


class EntropyModelModule(FilePredictor):
    """L = bpp + lmbda * 255^2 * MSE (or bpp + lmbda * (1 - MS-SSIM)), images in [0, 1].

    The rate is taken at noisy latents and everything downstream at rounded ones; in the last part of the training
    (`hard_rate_fraction`) the rate is taken at the rounded latents as well, since at low rates the noise estimate is up
    to 45 % above what a file costs.

    Args:
        network: the codec's network.
        lmbda: weight of the distortion.
        distortion: `mse` or `ms-ssim` (crops of more than 160 pixels).
        optimizer: AdamW and its schedule.
        hard_rate_fraction: share of the optimiser steps at the end that train on the hard rate, in [0, 1].
        channels_last: memory layout of weights and images; faster for convolutions on every device.
        compile: `torch.compile` the network.
        linear_start: let g_a and g_s begin as a linear transform coder (`lightning_codec.transforms.linear_start`), not
            by chance.
        start_from: checkpoint, or name of a model that ships, of a codec with the same network, trained for another
            rate perhaps, whose weights this training begins with; its optimiser and its steps do not count.
        transforms_from: checkpoint or model, likewise, of a codec whose g_a and g_s are taken and stay as they are:
            only an entropy model is trained, by the rate alone. For comparing entropy models on the same latents.
    """

    def __init__(
        self,
        network: NetworkConfig,
        lmbda: float,
        distortion: Literal["mse", "ms-ssim"] = "mse",
        optimizer: OptimizerConfig = OptimizerConfig(),  # noqa: B008 - frozen
        hard_rate_fraction: float = 0.15,
        channels_last: bool = True,
        compile: bool = False,
        linear_start: bool = False,
        start_from: str | None = None,
        transforms_from: str | None = None,
    ) -> None:
        super().__init__()
        if not 0.0 <= hard_rate_fraction <= 1.0:
            raise UserError(f"hard_rate_fraction is {hard_rate_fraction}: it must lie in [0, 1]")
        if lmbda <= 0.0:
            raise UserError(f"lmbda is {lmbda}: it must be positive")
        if transforms_from is not None and network.latent_residual_prediction:
            raise UserError("transforms_from: latent_residual_prediction belongs to both sides: switch it off")
        self.lmbda = lmbda
        self.distortion = distortion
        self.optimizer_config = optimizer
        self.hard_rate_fraction = hard_rate_fraction
        self.channels_last = channels_last
        self.model = CompressionModel(network)
        if linear_start:
            start_linearly(self.model.g_a, self.model.g_s, quantizer_step(lmbda))
        if start_from is not None:
            fill(self.model, load_model(start_from).state_dict(), start_from)
        self._rate_alone = transforms_from is not None
        if transforms_from is not None:
            source = load_model(transforms_from)
            for part, name in ((self.model.g_a, "g_a"), (self.model.g_s, "g_s")):
                fill(part, source.get_submodule(name).state_dict(), transforms_from)
                part.requires_grad_(False)
        if channels_last:
            self.model.to(memory_format=torch.channels_last)
        if compile:
            (self.model.entropy if self._rate_alone else self.model).compile()
        self._record: dict[str, Any] = make_record(
            type(self),
            {
                "network": to_plain(network),
                "lmbda": lmbda,
                "distortion": distortion,
                "optimizer": to_plain(optimizer),
                "hard_rate_fraction": hard_rate_fraction,
                "channels_last": channels_last,
                "compile": compile,
            },
        )
        self._codec: tuple[bytes, Codec] | None = None
        self._coder = FileCoder()

    @classmethod
    def from_checkpoint(cls, path: Path | str) -> "EntropyModelModule":
        """The module of a checkpoint, with its weights.

        Raises:
            CheckpointError: the file is missing, damaged, or not a checkpoint of this package.
        """
        content = read_checkpoint(path)
        args = dict(content.init_args)
        args["network"] = from_plain(NetworkConfig, args["network"])
        args["optimizer"] = from_plain(OptimizerConfig, args["optimizer"])
        module = cls(**args)
        module.load_state_dict(content.state_dict, strict=True)
        return module

    def codec(self) -> Codec:
        """The codec of the weights as they are now; made anew only when they have changed."""
        network = self.network()
        # By content: fused optimisers change weights without counting a version.
        digest = weights_digest(network.config, network)
        if self._codec is None or self._codec[0] != digest:
            self._codec = (digest, Codec(network))
        return self._codec[1]

    def network(self) -> CompressionModel:
        """The network that codes."""
        return self.model

    def takes_hard_rate(self) -> bool:
        """Whether the training takes its rate at the rounded latents at the current step."""
        total = self.trainer.estimated_stepping_batches
        return self.global_step >= (1.0 - self.hard_rate_fraction) * total

    def _step(self, x: Tensor, noise: RateNoise | None = None) -> tuple[ModelOutput, RateDistortionLoss]:
        """Forward pass and loss of images [B, 3, H, W]; without noise at the hard rate."""
        output: ModelOutput = self.model(x, noise)
        return output, self._losses(output, x, self.lmbda)

    def _losses(self, output: ModelOutput, x: Tensor, lmbda: float) -> RateDistortionLoss:
        """The loss of images [B, 3, H, W]; the rate is per original pixel."""
        bpp = estimated_bpp(output, x)
        x_hat = output.x_hat.float()
        mse = F.mse_loss(x_hat, x)
        if self._rate_alone:
            return RateDistortionLoss(bpp, bpp, mse)
        if self.distortion == "mse":
            distortion = 255.0**2 * mse
        elif min(x.shape[-2:]) >= MS_SSIM_MIN_SIDE:
            distortion = 1.0 - ms_ssim(x_hat.clamp(0.0, 1.0), x, data_range=1.0)
        else:
            return RateDistortionLoss(None, bpp, mse)
        return RateDistortionLoss(bpp + lmbda * distortion, bpp, mse)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        """One step on crops [B, 3, H, W]."""
        x = batch.contiguous(memory_format=torch.channels_last) if self.channels_last else batch
        noise = None
        if not self.takes_hard_rate():
            noise = self.model.rate_noise(x, batch_noise(self._trainer, batch_idx, x).uniform)
        if self._rate_alone:  # the picture has no part in it
            bpp = estimated_bpp(self.model.rates(x, noise), x)
            means = mean_over_processes(self._trainer, {"loss": bpp, "bpp": bpp})
            self._log_training(means, len(x))
            return bpp
        _, losses = self._step(x, noise)
        if losses.loss is None:
            raise UserError(
                f"distortion ms-ssim needs crops of at least {MS_SSIM_MIN_SIDE} pixels a side, "
                f"data.crop_size is {x.shape[-1]}: raise it"
            )
        means = mean_over_processes(self._trainer, {"loss": losses.loss, "bpp": losses.bpp, "mse": losses.mse})
        self._log_training({"loss": means["loss"], "bpp": means["bpp"], "psnr": -10.0 * means["mse"].log10()}, len(x))
        return losses.loss

    def _log_training(self, values: dict[str, Tensor], batch_size: int) -> None:
        self.log_dict({f"train/{name}": value for name, value in values.items()}, prog_bar=True, batch_size=batch_size)

    def validation_step(  # type: ignore[override] # Lightning hands any object on to the callbacks
        self, batch: NamedImage, batch_idx: int, dataloader_idx: int = 0
    ) -> EvalStep:
        """Reconstruction and estimated rate of one image, at its hard rate."""
        output, losses = self._step(batch.image)
        loss = None if losses.loss is None else float(losses.loss)
        return EvalStep(output.x_hat.float().clamp(0.0, 1.0), float(losses.bpp), loss, bits_map(output))

    def test_step(  # type: ignore[override] # Lightning hands any object on to the callbacks
        self, batch: NamedImage, batch_idx: int, dataloader_idx: int = 0
    ) -> EvalStep:
        """As `validation_step`, with the picture that the image's file decodes to."""
        step = self.validation_step(batch, batch_idx, dataloader_idx)
        x_hat, file = self._coder(self.codec(), batch.image, timed=True)
        return step._replace(x_hat=x_hat, file=file, difference=difference_8bit(x_hat, step.x_hat))

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """One AdamW, its rate set anew at every optimiser step."""
        total = int(min(self.trainer.estimated_stepping_batches, 2**31))
        optimizer, schedule = build_optimizer(self, self.optimizer_config, total)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Write what the checkpoint has to say about itself."""
        checkpoint[RECORD_KEY] = self._record
