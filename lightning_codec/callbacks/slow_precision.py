"""A warning of a precision that the processor has no instructions for."""

import platform

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities import rank_zero_warn

X86 = ("x86_64", "AMD64")


class SlowPrecision(pl.Callback):
    """Warns, once at the start of a training on a CPU, that bfloat16 is emulated there.

    Without AVX-512 x86 processors have no kernels for it, and a step takes several times as long as in float32: 31 s
    in place of 3.6 s for the decoder of configs/experiment/photo_decoder.yaml on one core of an AMD EPYC with AVX2.
    """

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Warn, on the first process."""
        if (advice := slow_precision(str(trainer.precision), pl_module.device.type)) is not None:
            rank_zero_warn(advice)


def slow_precision(precision: str, device: str) -> str | None:
    """What to tell the user about the Trainer's precision on this kind of device; None where nothing is amiss."""
    capability = torch.backends.cpu.get_cpu_capability()
    emulated = platform.machine() in X86 and not capability.startswith(("AVX512", "AMX"))
    if device != "cpu" or not precision.startswith("bf16") or not emulated:
        return None
    return (
        f"trainer.precision is {precision}, but this processor ({capability}) has no instructions for bfloat16: "
        "a step may take eight times as long as with --trainer.precision 32-true"
    )
