"""LightningModules: losses, optimiser and schedule around the networks."""

from lightning_codec.modules.entropy_model import EntropyModelModule, EvalStep
from lightning_codec.modules.optimizer import OptimizerConfig

__all__ = ["EntropyModelModule", "EvalStep", "OptimizerConfig"]
