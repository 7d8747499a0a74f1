"""Benchmark of `evaluate`: parallel processes against the same work in one, and the memory of the loop over images."""

import multiprocessing
import os
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np

from lightning_codec.benchmark.memory import peak_mib
from lightning_codec.data.dead_leaves import render
from lightning_codec.data.named_sets import evaluation_set
from lightning_codec.evaluation.engine import Workplace, evaluate
from lightning_codec.evaluation.measures import Measures
from lightning_codec.evaluation.plan import Plan, plan_units, source_images
from lightning_codec.evaluation.settings import BaselineRequest, CodecSetting, resolve
from lightning_codec.evaluation.store import Store
from lightning_codec.evaluation.units import Bench, SourceImage, Unit
from lightning_codec.evaluation.workers import Outcome
from lightning_codec.images import from_uint8, write_png
from lightning_codec.provenance import provenance

METRICS = ("psnr", "ms_ssim", "stlpips_alex", "stlpips_vgg", "frechet_vgg64")
SIDE = 640  # pixels: about as many as an image of Kodak has
SMALL_SIDE = 192  # of the images of the memory test; MS-SSIM needs more than 160
EARLY = 50  # images after which the memory is taken the first time


class Times(NamedTuple):
    """Evaluating a set with JPEG, all metrics of `METRICS`."""

    parallel: float
    """Wall seconds of `evaluate`, start of its processes included."""
    in_one_process: float
    """Wall seconds of the same units one after another in this process, which has as many threads as the others have
    processes, and its libraries loaded."""
    busy: float
    """Share of the cores' time that `evaluate` used."""


class Growth(NamedTuple):
    """Peak memory of a process that does unit after unit, in MiB."""

    early: float
    """After 50 images."""
    late: float
    """After all of them."""


class _Silent:
    def begin(self, units: int, reused: int) -> None:
        """Nothing."""

    def done(self, outcome: Outcome[Unit]) -> None:
        """Fail with what failed: times of half the work mean nothing."""
        if outcome.error is not None:
            raise RuntimeError(f"{outcome.unit.label}: {outcome.error}")


def times(images: int, processes: int, side: int = SIDE, metrics: Sequence[str] = METRICS) -> Times:
    """Measure a set of procedural images both ways."""
    measures, settings = Measures.named(metrics), _settings()
    with TemporaryDirectory() as folder:
        sources = _sources(Path(folder, "images"), images, side)
        place = Workplace(Store(Path(folder, "parallel")), processes, 1, provenance())
        before, start = _cpu_seconds(), time.perf_counter()
        evaluate("benchmark", sources, settings, measures, place, _Silent())
        parallel = time.perf_counter() - start
        busy = (_cpu_seconds() - before) / (parallel * processes)
        start = time.perf_counter()
        bench, plan = _bench(Path(folder, "one"), sources, settings, measures, processes)
        units: list[Unit] = [*plan.originals, *plan.coded, *plan.distances]
        for unit in units:
            bench.do(unit)
        return Times(parallel, time.perf_counter() - start, busy)


def memory(images: int, side: int = SMALL_SIDE, metrics: Sequence[str] = METRICS) -> Growth:
    """Measure images one after another in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_loop, (images, side, metrics))


def _loop(images: int, side: int, metrics: Sequence[str]) -> Growth:
    with TemporaryDirectory() as folder:
        sources = _sources(Path(folder, "images"), 1, side)
        bench, plan = _bench(Path(folder, "work"), sources, _settings(), Measures.named(metrics), 1)
        early = 0.0
        for done in range(1, images + 1):
            bench.do(plan.coded[0])
            if done == EARLY:
                early = peak_mib()
        return Growth(early, peak_mib())


def _settings() -> list[CodecSetting]:
    return resolve([BaselineRequest("jpeg", (50,))], []).settings


def _sources(folder: Path, count: int, side: int) -> list[SourceImage]:
    folder.mkdir(parents=True)
    for index in range(count):
        write_png(from_uint8(render(side, np.random.default_rng(index))), folder / f"{index:03d}.png")
    return source_images(evaluation_set(str(folder), folder), None, folder)


def _bench(
    folder: Path, sources: list[SourceImage], settings: list[CodecSetting], measures: Measures, threads: int
) -> tuple[Bench, Plan]:
    folder.mkdir()
    bench = Bench(Store(folder), measures, provenance(), threads)
    return bench, plan_units(sources, settings, bench.instruments, threads)


def _cpu_seconds() -> float:
    """Of this process and of those it has waited for."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system
