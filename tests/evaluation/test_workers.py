import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from lightning_codec.evaluation.workers import Pool
from tests.evaluation.pool_work import make_work


def pool(folder: Path, processes: int) -> Pool[str]:
    return Pool(partial(make_work, folder), processes, 3)


def names(folder: Path, start: str) -> list[str]:
    return sorted(path.name.removeprefix(start) for path in folder.glob(f"{start}*"))


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 120
    while not list(path.parent.glob(path.name)):
        assert time.monotonic() < deadline, path
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for_death(pid: int) -> None:
    deadline = time.monotonic() + 60
    while is_alive(pid):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_every_unit_is_done_once_by_processes_that_stay_for_a_second_round(tmp_path):
    units = [f"{i:02d}" for i in range(8)]
    with pool(tmp_path, 2) as two:
        # the first unit ends when the five others are done, which is left to the other process
        assert [outcome.unit for outcome in two.run(["00 last", *units[1:6]])] == [*units[1:6], "00 last"]
        assert {outcome.error for outcome in two.run(units[6:])} == {None}
        assert len(names(tmp_path, "started_")) == 2
    assert [name[:2] for name in names(tmp_path, "begun_")] == units


def test_no_process_is_started_for_nothing_and_none_more_than_there_are_units(tmp_path):
    with pool(tmp_path, 3) as three:
        assert list(three.run([])) == []
        assert [outcome.unit for outcome in three.run(["only threads"])] == ["only threads"]
    assert len(names(tmp_path, "started_")) == 1
    assert (tmp_path / "threads").read_text() == "3"
    assert os.environ.get("OMP_NUM_THREADS") != "3"


def test_a_unit_that_fails_or_kills_its_process_leaves_the_others_alone(tmp_path):
    with pool(tmp_path, 1) as one:
        errors = {outcome.unit: outcome.error for outcome in one.run(["a fail", "b", "c die", "d"])}
    assert errors == {
        "a fail": "ValueError: two lines",
        "b": None,
        "c die": "its process died (exit code -9: the system may have run out of memory)",
        "d": None,
    }
    assert len(names(tmp_path, "started_")) == 2


def test_processes_end_with_an_exception_in_the_middle_of_a_unit(tmp_path):
    def interrupted() -> None:
        with pool(tmp_path, 2) as two:
            for _ in two.run(["quick", "long hang", "other hang"]):
                wait_for(tmp_path / "begun_long_*")
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    for pid in names(tmp_path, "started_"):
        assert not is_alive(int(pid))


def test_processes_end_when_the_one_that_started_them_is_killed(tmp_path):
    code = (
        "import sys; from pathlib import Path; from tests.evaluation.test_workers import pool\n"
        "if __name__ == '__main__':\n"
        "    with pool(Path(sys.argv[1]), 2) as two: list(two.run(['a hang', 'b hang']))"
    )
    script = tmp_path / "script.py"
    script.write_text(code)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    parent = subprocess.Popen([sys.executable, str(script), str(tmp_path)], env=environment)
    try:
        wait_for(tmp_path / "begun_a_*")
        wait_for(tmp_path / "begun_b_*")
    finally:
        parent.kill()
        parent.wait()
    for pid in names(tmp_path, "started_"):
        wait_for_death(int(pid))
