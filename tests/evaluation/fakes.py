"""A codec, metrics and a pool that make an evaluation a matter of milliseconds; processes can load them."""

import struct
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lightning_codec.evaluation.measures import Instruments, Measures
from lightning_codec.evaluation.settings import CodecSetting
from lightning_codec.evaluation.units import Unit
from lightning_codec.evaluation.workers import Outcome
from lightning_codec.images import from_uint8, to_uint8
from lightning_codec.metrics.features import SetExtractor, set_metric
from lightning_codec.metrics.psnr import PSNR_PROTOCOL
from lightning_codec.metrics.suite import image_suite


@dataclass(frozen=True)
class CoarseSource:
    """A codec that keeps multiples of `step`, and writes a line for every call into `log`."""

    log: Path
    step: int
    seconds: float = 0.0
    """That it takes to code."""

    def load(self) -> "CoarseCodec":
        self.note("load")
        return CoarseCodec(self)

    def note(self, what: str) -> None:
        with self.log.open("a") as file:
            file.write(f"{self.step} {what}\n")


class CoarseCodec:
    """Refuses pictures that are 13 pixels wide; a width of 14 comes back as 13."""

    def __init__(self, source: CoarseSource) -> None:
        self.source = source

    def compress(self, image: Tensor) -> bytes:
        _, height, width = image.shape
        if width == 13:
            raise ValueError("thirteen")
        time.sleep(self.source.seconds)
        self.source.note(f"{height}x{width}")
        levels = to_uint8(image).numpy() // self.source.step
        return struct.pack("<HH", height, width) + zlib.compress(levels.tobytes())

    def decompress(self, data: bytes) -> Tensor:
        height, width = struct.unpack_from("<HH", data)
        levels = np.frombuffer(zlib.decompress(data[4:]), np.uint8).reshape(3, height, width)
        pixels = np.minimum(levels.astype(int) * self.source.step + self.source.step // 2, 255).astype(np.uint8)
        return from_uint8(pixels.transpose(1, 2, 0))[..., : 13 if width == 14 else width]


def coarse(log: Path, step: int, **changes: object) -> CodecSetting:
    """A setting of the codec."""
    name = str(changes.pop("codec", "coarse"))
    source = CoarseSource(log, step, float(changes.pop("seconds", 0.0)))  # type: ignore[arg-type]
    setting = CodecSetting(name, str(step), "multiples of a step", f"coarse {step}", 1.0, True, source)
    return replace(setting, **changes)  # type: ignore[arg-type]


class MeanColours:
    """Three features of a patch."""

    name = "mean-colours"
    dimensions = 3

    def __init__(self, weights: str) -> None:
        self.weights = weights

    def __call__(self, patches: Tensor) -> Tensor:
        return patches.float().mean(dim=(2, 3))


@dataclass(frozen=True)
class FakeMeasures(Measures):
    """PSNR, MS-SSIM, a distance on the colours of patches of 8 pixels, and one metric that is absent."""

    image: tuple[()] = ()
    sets: tuple[()] = ()
    weights: str = "0123456789ab"
    """Hash of the network."""
    psnr: str = PSNR_PROTOCOL.id
    """Of the protocol of PSNR."""

    def load(self) -> Instruments:
        extractor = SetExtractor(MeanColours(self.weights), 8, (set_metric("frechet_vgg64", self.weights),))
        psnr, ms_ssim = image_suite(("psnr", "ms_ssim")).metrics
        psnr = replace(psnr, protocol=replace(psnr.protocol, id=self.psnr))  # type: ignore[type-var]
        return Instruments([psnr, ms_ssim], [extractor], {"dists": "no network here"})


class InlinePool:
    """Does the units in this process, as `workers.Pool` does them in others."""

    def __init__(self, make_work: Callable[[], Callable[[Unit], None]], processes: int, threads: int) -> None:
        threads_before = torch.get_num_threads()
        self.work = make_work()
        torch.set_num_threads(threads_before)

    def __enter__(self) -> "InlinePool":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def run(self, units: Iterable[Unit]) -> Iterator[Outcome[Unit]]:
        for unit in units:
            try:
                self.work(unit)
            except Exception as error:
                yield Outcome(unit, str(error))
            else:
                yield Outcome(unit, None)


class Log:
    """A watcher that remembers; it interrupts after some units."""

    def __init__(self, interrupt_after: int | None = None) -> None:
        self.begun: tuple[int, int] | None = None
        self.labels: list[str] = []
        self.interrupt_after = interrupt_after

    def begin(self, units: int, reused: int) -> None:
        self.begun = (units, reused)

    def done(self, outcome: Outcome[Unit]) -> None:
        self.labels.append(outcome.unit.label)
        if len(self.labels) == self.interrupt_after:
            raise KeyboardInterrupt
