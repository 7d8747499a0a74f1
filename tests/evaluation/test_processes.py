"""Evaluations by real processes: their number does not show in the results, and no signal costs finished work."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lightning_codec.data.named_sets import evaluation_set
from lightning_codec.diffusion.sampling import SamplingConfig
from lightning_codec.errors import EXIT_TERMINATED
from lightning_codec.evaluation.engine import Measured, Workplace, evaluate
from lightning_codec.evaluation.measures import Measures
from lightning_codec.evaluation.plan import source_images
from lightning_codec.evaluation.results import Origin, summarize, write_tables
from lightning_codec.evaluation.settings import BaselineRequest, CodecSetting, ModelRequest, resolve
from lightning_codec.evaluation.store import Store
from lightning_codec.provenance import Provenance
from tests.evaluation.fakes import FakeMeasures, Log, coarse
from tests.evaluation.pictures import write_pictures
from tests.tiny import tiny_compression_model, tiny_denoiser, write_diffusion_checkpoint

PROVENANCE = Provenance({"torch": "1"}, "abc", "cpu")
IMAGES = 7
STEPS = (4, 32)


def measure(folder: Path, out: Path, settings: list[CodecSetting], measures: Measures, processes: int) -> Measured:
    images = source_images(evaluation_set(str(folder), Path()), None, out)
    place = Workplace(Store(out / "work"), processes, 1, PROVENANCE)
    return evaluate("set", images, settings, measures, place, Log())


def without_times(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    kept = [i for i, column in enumerate(rows[0]) if column not in ("encode_seconds", "decode_seconds")]
    return [[row[i] for i in kept] for row in rows]


@pytest.mark.slow
def test_the_number_of_processes_does_not_show_in_the_results(tmp_path):
    folder = write_pictures(tmp_path / "set", IMAGES)
    checkpoint = tmp_path / "last.ckpt"
    write_diffusion_checkpoint(checkpoint, tiny_compression_model(), tiny_denoiser(), SamplingConfig(steps=2))
    models = [ModelRequest(checkpoint, "mse"), ModelRequest(checkpoint, "diffusion", "diffusion")]
    settings = resolve([BaselineRequest("jpeg", (10, 70))], models).settings
    tables, pictures = [], []
    for processes in (1, 2, 3):
        out = tmp_path / f"{processes}"
        measured = measure(folder, out, settings, Measures(("psnr", "ms_ssim"), ()), processes)
        write_tables(out, measured, summarize(measured, "jpeg", []), Origin("", PROVENANCE, 1, {}))
        tables.append(without_times(out / "results.csv"))
        pictures.append([coded.picture.read_bytes() for coded in measured.coded])
        assert measured.failures == []
    assert len(tables[0]) == 1 + 4 * IMAGES
    assert tables[0] == tables[1] == tables[2]
    assert pictures[0] == pictures[1] == pictures[2]
    psnr = tables[0][0].index("psnr")
    assert len({row[psnr] for row in tables[0][1:]}) == 4 * IMAGES


def slow_settings(log: Path) -> list[CodecSetting]:
    return [coarse(log, step, seconds=0.3) for step in STEPS]


if __name__ == "__main__":
    root = Path(sys.argv[1])
    measure(root / "set", root / "out", slow_settings(root / "log"), FakeMeasures(), 2)


def coded(log: Path) -> list[str]:
    lines = log.read_text().splitlines() if log.exists() else []
    return [line for line in lines if "load" not in line and "64x64" not in line]


def started(root: Path) -> subprocess.Popen[bytes]:
    """An evaluation by two processes, in a process group of its own."""
    repository = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": str(repository), "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-m", "tests.evaluation.test_processes", str(root)]
    # a job in the background of a script ignores Ctrl-C, and its children inherit that
    return subprocess.Popen(
        command, env=environment, cwd=repository, start_new_session=True, preexec_fn=_heed_interrupts
    )


def _heed_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def wait_until_coded(log: Path, count: int) -> None:
    deadline = time.monotonic() + 400
    while len(coded(log)) < count:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def members(group: int) -> list[int]:
    """Processes of a group that still run."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, pgrp = stat.read_text().rpartition(")")[2].split()[:3]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(pgrp) == group and state != "Z":
            found.append(int(stat.parent.name))
    return found


@pytest.mark.slow
def test_whatever_signal_ends_an_evaluation_only_the_units_under_way_are_lost(tmp_path):
    folder = write_pictures(tmp_path / "set", IMAGES)
    log = tmp_path / "log"
    for number, expected in (
        (signal.SIGKILL, -signal.SIGKILL),
        (signal.SIGINT, -signal.SIGINT),
        (signal.SIGTERM, EXIT_TERMINATED),
    ):
        before = len(coded(log))
        process = started(tmp_path)
        wait_until_coded(log, before + 3)
        if number == signal.SIGINT:
            os.killpg(process.pid, number)  # as a terminal does
        else:
            process.send_signal(number)
        assert process.wait(60) == expected
        deadline = time.monotonic() + 60
        while members(process.pid):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    interrupted = len(coded(log))
    assert interrupted < len(STEPS) * IMAGES + 6
    measured = measure(folder, tmp_path / "out", slow_settings(log), FakeMeasures(), 2)
    assert len(coded(log)) <= len(STEPS) * IMAGES + 3 * 2  # two processes were at work each time
    undisturbed = measure(folder, tmp_path / "other", slow_settings(log), FakeMeasures(), 2)
    assert [c.record.values for c in measured.coded] == [c.record.values for c in undisturbed.coded]
    assert measured.distances == undisturbed.distances
    assert len(measured.coded) == len(STEPS) * IMAGES
    for first, second in zip(measured.coded, undisturbed.coded, strict=True):
        assert first.picture.read_bytes() == second.picture.read_bytes()
    assert not list((tmp_path / "out" / "work").glob(".*.tmp"))
