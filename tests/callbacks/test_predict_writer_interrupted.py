"""`predict` that is interrupted, killed or shared among processes goes on and codes nothing twice."""

import os
import signal
from multiprocessing import get_context
from pathlib import Path

import pytest
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor

from lightning_codec.callbacks import LcbWriter
from lightning_codec.errors import UserError

from .test_predict_writer import (
    GreyCodec,
    contents,
    identities,
    photos,
    predict,
    rows,
    write_picture,
)

__all__ = ["photos"]  # fixture


def test_a_terminated_run_leaves_after_the_file_in_work(photos: Path) -> None:
    class Terminated(GreyCodec):
        def compress(self, image: Tensor) -> bytes:
            if len(self.coded) == 1:
                os.kill(os.getpid(), signal.SIGTERM)
            return super().compress(image)

    output = photos.parent / "out"
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SIGTERMException):
        predict(photos, LcbWriter(str(output)), Terminated())
    signal.signal(signal.SIGTERM, before)
    assert sorted(contents(output)) == ["a.lcb", "c/e.lcb"]
    assert predict(photos, LcbWriter(str(output))) == [2, 3, 4]


def test_a_limit_of_the_trainer_leaves_the_rest_for_later(photos: Path) -> None:
    with pytest.raises(UserError, match="3 of 5 files were not reached; the same command goes on"):
        predict(photos, LcbWriter(str(photos.parent / "out")), limit_predict_batches=2)
    assert predict(photos, LcbWriter(str(photos.parent / "out"))) == [2, 3, 4]


def die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Deadly(GreyCodec):
    """Kills the process at a moment around the third file."""

    def __init__(self, moment: str) -> None:
        super().__init__()
        self.moment = moment

    def compress(self, image: Tensor) -> bytes:
        if len(self.coded) == 2:
            if self.moment == "coding":
                die()
            elif self.moment == "renaming":  # the line is there, the file is not
                os.replace = die  # type: ignore[assignment]
            elif self.moment == "writing":
                Path.write_bytes = lambda path, data: (path.open("wb").write(data[:2]), die())  # type: ignore
        return super().compress(image)


@pytest.mark.parametrize("moment", ["coding", "writing", "renaming"])
def test_a_killed_run_goes_on_and_codes_nothing_twice(photos: Path, moment: str) -> None:
    output = photos.parent / "out"
    run = get_context("fork").Process(target=predict, args=(photos, LcbWriter(str(output)), Deadly(moment)))
    run.start()
    run.join()
    assert run.exitcode == -signal.SIGKILL
    assert sorted(contents(output)) == ["a.lcb", "c/e.lcb"]
    before = identities(output)
    assert predict(photos, LcbWriter(str(output))) == [2, 3, 4]
    after = identities(output)
    assert {name: after[name] for name in before} == before
    assert [row["bytes"] for row in rows(output).values()] == ["9"] * 5
    assert not list(output.rglob("*.tmp"))


def without_times(folder: Path) -> dict[str, bytes]:
    found = contents(folder)
    table = [{**row, "seconds": bool(row["seconds"])} for row in rows(folder).values()]
    return {**found, "predictions.csv": repr(table).encode()}


@pytest.mark.slow
def test_any_number_of_processes_writes_the_same_and_goes_on_with_the_work_of_another(photos: Path) -> None:
    (photos / "c/bad.png").write_bytes(b"no image")
    (photos / "zz.png").write_bytes(b"")
    found = []
    for processes in (1, 2, 3):
        output = photos.parent / f"out{processes}"
        with pytest.raises(Exception, match=r"2 of 7 files failed .* the first is c/bad\.png"):
            predict(photos, LcbWriter(str(output)), processes=processes)
        found.append(without_times(output))
    assert found[0] == found[1] == found[2]
    assert len(found[0]) == 6
    # what three have begun, two finish
    (output / "a.lcb").unlink()
    (output / "sub/a.lcb").unlink()
    before = identities(output)
    with pytest.raises(Exception, match="2 of 7 files failed"):
        predict(photos, LcbWriter(str(output)), processes=2)
    after = identities(output)
    assert {name: after[name] for name in before} == before
    assert without_times(output) == found[0]
    # nothing but failures is left: processes without any work
    write_picture(photos, "zz.png", 7)
    with pytest.raises(Exception, match="1 of 7 files failed"):
        predict(photos, LcbWriter(str(output)), processes=3)
    (photos / "c/bad.png").unlink()
    predict(photos, LcbWriter(str(output)), processes=3)
    assert len(rows(output)) == 6
