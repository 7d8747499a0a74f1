from pathlib import Path

import pytest

from lightning_codec.commands.plan import Job, make_folders, plan
from lightning_codec.errors import UserError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """a.png, b.jpg and in/{a.png, deep/c.png}, seen from their folder."""
    for name in ("a.png", "b.jpg", "in/a.png", "in/deep/c.png", "in/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def layout(*inputs: str, output: str = "out", force: bool = False) -> list[tuple[str, str]]:
    jobs = plan([Path(name) for name in inputs], output, ".lcb", lambda path: sorted(path.rglob("*.png")), force)
    return [(job.source.as_posix(), job.target.as_posix()) for job in jobs]


@pytest.mark.usefixtures("folder")
def test_outputs_follow_the_inputs() -> None:
    assert layout("a.png", output="x.bin") == [("a.png", "x.bin")]
    assert layout("a.png", output="in") == [("a.png", "in/a.lcb")]
    assert layout("a.png", output="new/") == [("a.png", "new/a.lcb")]
    assert layout("a.png", "b.jpg") == [("a.png", "out/a.lcb"), ("b.jpg", "out/b.lcb")]
    assert layout("in") == [("in/a.png", "out/a.lcb"), ("in/deep/c.png", "out/deep/c.lcb")]
    assert layout("in/deep", "b.jpg") == [("in/deep/c.png", "out/c.lcb"), ("b.jpg", "out/b.lcb")]


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("inputs", "output", "message"),
    [
        (["missing.png"], "out", "missing.png: no such file"),
        (["a.png", "in"], "out", "a.png and in/a.png would both be written to out/a.lcb"),
        (["a.png", "a.png"], "out", "a.png and a.png would both"),
        (["a.png", "b.jpg"], "b.jpg", "b.jpg: is a file; the output of several"),
        (["in"], "b.jpg", "b.jpg: is a file; the output of several"),
        (["a.png"], "in/../a.png", "a.png: is an input"),
        (["empty"], "out", "empty: nothing to do"),
    ],
)
def test_what_cannot_be_laid_out_is_refused(inputs: list[str], output: str, message: str, folder: Path) -> None:
    (folder / "empty").mkdir()
    with pytest.raises(UserError, match=message):
        layout(*inputs, output=output, force=True)


def test_existing_outputs_need_force_and_are_counted(folder: Path) -> None:
    (folder / "out/deep").mkdir(parents=True)
    (folder / "out/deep/c.lcb").write_bytes(b"old")
    with pytest.raises(UserError, match=r"^out/deep/c.lcb: exists already"):
        layout("in")
    (folder / "out/a.lcb").write_bytes(b"old")
    with pytest.raises(UserError, match=r"^out/a.lcb \(and 1 more\): exists already"):
        layout("in")
    assert len(layout("in", force=True)) == 2


def test_force_does_not_overwrite_a_folder(folder: Path) -> None:
    (folder / "out/a.lcb").mkdir(parents=True)
    with pytest.raises(UserError, match=r"out/a\.lcb: is a folder"):
        layout("a.png", "b.jpg", force=True)


def test_folders_are_made_or_refused_before_any_work(folder: Path) -> None:
    make_folders([Job(folder / "a.png", folder / "new/deep/a.lcb")])
    assert (folder / "new/deep").is_dir()
    with pytest.raises(OSError, match=r"a\.png"):
        make_folders([Job(folder / "b.jpg", folder / "a.png/b.lcb")])
