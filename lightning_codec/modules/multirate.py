"""Training of one entropy codec for several rates."""

import logging
import math
import warnings
from pathlib import Path
from statistics import geometric_mean
from typing import Any, Literal

import lightning.pytorch as pl
from torch import Tensor

from lightning_codec.checkpoint import CheckpointError, fill, make_record, read_checkpoint, to_plain
from lightning_codec.entropy import RateNoise
from lightning_codec.errors import UserError
from lightning_codec.files import replacing
from lightning_codec.model import CompressionModel, ModelOutput, NetworkConfig
from lightning_codec.modules.entropy_model import EntropyModelModule, RateDistortionLoss
from lightning_codec.modules.optimizer import OptimizerConfig
from lightning_codec.multirate import RateWeights
from lightning_codec.networks import load_rates


class MultiRateModule(EntropyModelModule):
    """The rates take turns, one for each optimiser step, all with the same kernels (`lightning_codec.multirate`).

        L_k = sqrt(lmbda / lmbda_k) (bpp + lmbda_k * 255^2 * MSE)   lmbda: the geometric mean

    The weight keeps the high rates, whose loss is several times larger, from having the kernels to themselves. As a
    codec, at validation, test and prediction, it is that of `rate`.

    Args:
        network: the network of every single rate.
        lmbdas: weight of the distortion of each rate, increasing.
        rate: which one validates, tests and predicts, from 0; the middle one by default.
        distortion: as for `EntropyModelModule`.
        optimizer: AdamW and its schedule.
        hard_rate_fraction: as for `EntropyModelModule`.
        channels_last: memory layout of weights and images.
        linear_start: as for `EntropyModelModule`.
        start_from: checkpoint of this module, or name of a model that ships and was trained by it, of the same network
            and number of rates, whose weights this training begins with; its optimiser and its steps do not count.
    """

    def __init__(
        self,
        network: NetworkConfig,
        lmbdas: list[float],
        rate: int | None = None,
        distortion: Literal["mse", "ms-ssim"] = "mse",
        optimizer: OptimizerConfig = OptimizerConfig(),  # noqa: B008 - frozen
        hard_rate_fraction: float = 0.15,
        channels_last: bool = True,
        linear_start: bool = False,
        start_from: str | None = None,
    ) -> None:
        if not lmbdas or min(lmbdas) <= 0.0 or sorted(set(lmbdas)) != lmbdas:
            raise UserError(f"lmbdas is {lmbdas}: give positive numbers that increase")
        super().__init__(
            network,
            geometric_mean(lmbdas),
            distortion,
            optimizer,
            hard_rate_fraction,
            channels_last,
            linear_start=linear_start,
        )
        self.lmbdas = lmbdas
        self.rate = len(lmbdas) // 2 if rate is None else rate
        if not 0 <= self.rate < len(lmbdas):
            raise UserError(f"rate is {rate}: there are {len(lmbdas)}, from 0")
        self.rates = RateWeights(self.model, lmbdas)
        if start_from is not None:
            source = load_rates(start_from)
            fill(self.model, source.model.state_dict(), start_from)
            fill(self.rates, source.rates.state_dict(), start_from)
        self._record: dict[str, Any] = make_record(
            type(self),
            {
                "network": to_plain(network),
                "lmbdas": lmbdas,
                "rate": rate,
                "distortion": distortion,
                "optimizer": to_plain(optimizer),
                "hard_rate_fraction": hard_rate_fraction,
                "channels_last": channels_last,
            },
        )

    def single(self, rate: int) -> EntropyModelModule:
        """The module of one rate, as if it had been trained alone."""
        module = EntropyModelModule(
            self.model.config,
            self.lmbdas[rate],
            self.distortion,
            self.optimizer_config,
            self.hard_rate_fraction,
            self.channels_last,
        )
        module.model.load_state_dict(self.rates.network(self.model, rate).state_dict())
        return module

    def network(self) -> CompressionModel:
        """The network of `rate`."""
        return self.rates.network(self.model, self.rate)

    def _current(self) -> int:
        return self.global_step % len(self.lmbdas) if self.training else self.rate

    def _step(self, x: Tensor, noise: RateNoise | None = None) -> tuple[ModelOutput, RateDistortionLoss]:
        """As its ancestor's, by the network whose turn it is."""
        rate = self._current()
        output: ModelOutput = self.rates(self.model, rate, x, noise)
        losses = self._losses(output, x, self.lmbdas[rate])
        if self.training and losses.loss is not None:
            losses = losses._replace(loss=losses.loss * math.sqrt(self.lmbda / self.lmbdas[rate]))
        return output, losses

    def _log_training(self, values: dict[str, Tensor], batch_size: int) -> None:
        """As its ancestor's, and once more under the name of the rate: a logger gets a line of its own for each."""
        super()._log_training(values, batch_size)
        rate = self._current()
        self.log_dict({f"train/{name}_{rate}": value for name, value in values.items()}, batch_size=batch_size)


def split_checkpoint(path: Path, folder: Path) -> list[Path]:
    """Write every rate of a checkpoint of `MultiRateModule` as one of `EntropyModelModule`: rate-0.ckpt, ...

    Raises:
        CheckpointError: no such checkpoint.
        OSError: a file cannot be written.
    """
    content = read_checkpoint(path)
    if "lmbdas" not in content.init_args or "decoder" in content.init_args:
        raise CheckpointError(f"{path}: is of one rate already")
    module = MultiRateModule.from_checkpoint(path)
    assert isinstance(module, MultiRateModule)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    trainer = _silent_trainer()
    for rate in range(len(module.lmbdas)):
        trainer.strategy.connect(module.single(rate))
        target = folder / f"rate-{rate}.ckpt"
        with replacing(target) as partial:
            trainer.save_checkpoint(partial, weights_only=True)
        written.append(target)
    return written


def _silent_trainer() -> pl.Trainer:
    """A Trainer for the checkpoints that it writes, which says nothing of devices and what it will not do."""
    logger = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    finally:
        logger.setLevel(level)
