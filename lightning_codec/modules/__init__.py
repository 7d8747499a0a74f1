"""LightningModules: losses, optimiser and schedule around the networks."""

from lightning_codec.modules.coding import CodedFile, EvalStep
from lightning_codec.modules.diffusion_decoder import DiffusionDecoderModule
from lightning_codec.modules.diffusion_draws import DiffusionLossConfig
from lightning_codec.modules.entropy_model import EntropyModelModule
from lightning_codec.modules.multirate import MultiRateModule
from lightning_codec.modules.optimizer import OptimizerConfig

__all__ = [
    "CodedFile",
    "DiffusionDecoderModule",
    "DiffusionLossConfig",
    "EntropyModelModule",
    "EvalStep",
    "MultiRateModule",
    "OptimizerConfig",
]
