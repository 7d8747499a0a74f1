import json

import pytest

from lightning_codec.benchmark import evaluation
from lightning_codec.benchmark.evaluation import Growth, Times, memory, times
from lightning_codec.cli import main
from lightning_codec.evaluation.units import Bench, CodedUnit, OriginalUnit, Unit


@pytest.mark.slow
def test_both_ways_do_every_unit_and_the_cores_work(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[Unit] = []
    do = Bench.do

    def noted(self: Bench, unit: Unit) -> None:
        done.append(unit)
        do(self, unit)

    monkeypatch.setattr(Bench, "do", noted)  # of this process: the others are spawned
    result = times(images=3, processes=2, side=64, metrics=("psnr",))
    assert sum(isinstance(unit, OriginalUnit) for unit in done) == 3
    assert sum(isinstance(unit, CodedUnit) for unit in done) == 3
    assert result.in_one_process > 0
    assert result.parallel > 0
    assert 0 < result.busy <= 1.05


@pytest.mark.slow
def test_the_memory_of_the_loop_does_not_grow() -> None:
    growth = memory(images=120, side=32, metrics=("psnr",))
    assert 100 < growth.early <= growth.late < 1.02 * growth.early


def test_units_that_fail_end_the_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Bench, "do", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        evaluation._loop(1, 32, ("psnr",))


def test_the_command_prints_ratios(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[int] = []

    def fake_times(images: int, processes: int) -> Times:
        asked.extend((images, processes))
        return Times(4, 6, 0.9)

    def fake_memory(images: int) -> Growth:
        asked.append(images)
        return Growth(200, 210)

    monkeypatch.setattr(evaluation, "times", fake_times)
    monkeypatch.setattr(evaluation, "memory", fake_memory)
    assert main(["benchmark", "evaluation", "--repeats", "2", "--threads", "3", "--json"]) == 0
    tables = list(json.loads(capsys.readouterr().out).values())
    assert asked == [10, 3, 200]
    assert tables[1]["one / parallel"] == 1.5
    assert tables[1]["cores busy, share"] == 0.9
    assert tables[2]["growth"] == pytest.approx(0.05)
