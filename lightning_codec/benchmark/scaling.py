"""Benchmark of data-parallel training: several processes against one, and what the exchange of gradients costs."""

import json
import statistics
import time
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn
from torch.nn.parallel import DistributedDataParallel

from lightning_codec.benchmark.diffusion import CROPS, TINY_DECODER
from lightning_codec.model import CompressionModel, ModelOutput, NetworkConfig
from lightning_codec.modules import DiffusionDecoderModule, DiffusionLossConfig, OptimizerConfig
from lightning_codec.modules.entropy_model import estimated_bits
from lightning_codec.modules.optimizer import build_optimizer

What = Literal["codec", "decoder"]


class Scaling(NamedTuple):
    """Medians of the seconds of a step, measured in turns by the same processes, one thread each."""

    processes: int
    images: int
    """in a batch of one process"""
    alone: float
    """the first process computes, the others wait"""
    apart: float
    """all compute, and nothing is exchanged"""
    together: float
    """all compute and exchange their gradients"""
    gradient_bytes: int
    """that a process has to exchange in a step; on a ring it sends and receives 2 (n - 1) / n times as many"""

    @property
    def speedup(self) -> float:
        """Images per second of all processes over those of one."""
        return self.processes * self.alone / self.together

    @property
    def communication(self) -> float:
        """Share of a step that is spent on the exchange beyond what is hidden behind the computation."""
        return max(0.0, 1.0 - self.apart / self.together)


class CodecLoss(nn.Module):
    """The loss of a training step of the codec, as one forward pass."""

    def __init__(self, network: NetworkConfig) -> None:
        super().__init__()
        self.model = CompressionModel(network).to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        """Images [B, 3, H, W] to a scalar."""
        output: ModelOutput = self.model(x, self.model.rate_noise(x, lambda shape: torch.rand(shape) - 0.5))
        return estimated_bits(output) / x.numel() + (output.x_hat - x).square().mean()


class DecoderLoss(nn.Module):
    """The loss of a training step of the diffusion decoder, the codec being frozen."""

    def __init__(self, network: NetworkConfig) -> None:
        super().__init__()
        loss = DiffusionLossConfig(rho=0.0)
        self.module = DiffusionDecoderModule(network=network, decoder=TINY_DECODER, loss=loss).train()

    def forward(self, x: Tensor) -> Tensor:
        """Images [B, 3, H, W] to a scalar."""
        loss: Tensor = self.module.training_step(x, 0)
        return loss


class _Step:
    """Forward, backward and optimiser step on images [B, 3, H, W]."""

    def __init__(self, loss: nn.Module, x: Tensor) -> None:
        self.loss, self.x = loss, x
        self.optimizer, _ = build_optimizer(loss, OptimizerConfig(), 1000)

    def __call__(self) -> None:
        torch.autograd.backward(self.loss(self.x))
        self.optimizer.step()
        self.optimizer.zero_grad()


def scaling(
    what: What,
    processes: int,
    repeats: int,
    shape: tuple[int, int, int, int] = CROPS,
    network: NetworkConfig | None = None,
) -> Scaling:
    """Train a few steps in processes that meet by gloo on this machine.

    Args:
        what: the codec of the small preset, or the tiny diffusion decoder on it.
        processes: at least 2.
        repeats: counted rounds; each is a step of every kind.
        shape: of the batch of one process, [B, 3, H, W].
        network: of the codec; default: the small preset.
    """
    with TemporaryDirectory() as folder:
        arguments = (processes, what, repeats, shape, network or NetworkConfig(), folder)
        spawn(_train, arguments, nprocs=processes)  # type: ignore[no-untyped-call]  # torch gives it no types
        return Scaling(**json.loads(Path(folder, "result.json").read_text()))


def _train(
    rank: int,
    processes: int,
    what: What,
    repeats: int,
    shape: tuple[int, int, int, int],
    network: NetworkConfig,
    folder: str,
) -> None:
    warnings.filterwarnings("ignore", message=".*self.log.*")  # there is no Trainer to log to
    torch.set_num_threads(1)
    torch.manual_seed(0)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=processes)
    try:
        kind = CodecLoss if what == "codec" else DecoderLoss
        # Two of them: a wrapped one enters into exchanges by itself, also when only one process runs it.
        bare, wrapped = kind(network), DistributedDataParallel(kind(network), gradient_as_bucket_view=True)
        steps = {False: _Step(bare, torch.rand(shape)), True: _Step(wrapped, torch.rand(shape))}

        def seconds(exchange: bool, ranks: range) -> float:
            dist.barrier()
            start = time.perf_counter()
            if rank in ranks:
                steps[exchange]()
            dist.barrier()
            return time.perf_counter() - start

        hows = {"alone": (False, range(1)), "apart": (False, range(processes)), "together": (True, range(processes))}
        # The first round is not counted: it allocates, and gradients come into being.
        rounds = [{name: seconds(*how) for name, how in hows.items()} for _ in range(repeats + 1)][1:]
        if rank == 0:
            medians = {name: statistics.median(times[name] for times in rounds) for name in hows}
            count = sum(p.numel() * p.element_size() for p in bare.parameters() if p.requires_grad)
            result = Scaling(processes, shape[0], gradient_bytes=count, **medians)
            Path(folder, "result.json").write_text(json.dumps(result._asdict()))
    finally:
        dist.destroy_process_group()
