import io
import os
import re
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from lightning_codec.bitstream import Container, pack
from lightning_codec.cli import main
from lightning_codec.images import read_image
from tests.commands.fake_codec import BAD_WIDTH, fake_codec

__all__ = ["fake_codec"]  # a fixture

pytestmark = pytest.mark.usefixtures("fake_codec")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """in/{small.png 8x4, deep/wide.jpg 20x10}, seen from their folder, with a model named by the environment."""
    (tmp_path / "in/deep").mkdir(parents=True)
    Image.new("RGB", (8, 4), "red").save(tmp_path / "in/small.png")
    Image.new("L", (20, 10)).save(tmp_path / "in/deep/wide.jpg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LIGHTNING_CODEC_MODEL", "model.ckpt")
    return tmp_path


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def container(width: int, height: int = 2) -> bytes:
    return pack(Container(b"fake", height, width, 0, (b"12345678",)))


def test_a_folder_is_compressed_and_comes_back(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compress", "in", "-o", "coded"]) == 0
    assert files(folder / "coded") == ["deep/wide.lcb", "small.lcb"]
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert re.fullmatch(r"in/deep/wide.jpg  +20x10  +1021 bytes  40.8400 bpp  +\d+\.\d\d s", lines[0])
    assert re.fullmatch(r"in/small.png      +8x4  +421 bytes  105.2500 bpp  +\d+\.\d\d s", lines[1])
    assert lines[0].index("bytes") == lines[1].index("bytes")
    assert re.fullmatch(r"total: 2 of 2 files, 1442 bytes, 49.7241 bpp, \d+\.\d\d s", lines[2])
    assert err == ""
    assert main(["decompress", "coded", "-o", "images"]) == 0
    assert files(folder / "images") == ["deep/wide.png", "small.png"]
    assert re.match(r"coded/deep/wide.lcb  +20x10  +1021 bytes", capsys.readouterr().out)
    assert torch.equal(read_image(folder / "images/small.png"), torch.full((3, 4, 8), 128 / 255))


def test_a_picture_is_not_written_under_the_name_of_another_format(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "small.lcb").write_bytes(container(8))
    assert main(["decompress", "small.lcb", "-o", "back.jpg"]) == 2
    assert "ends in .png" in capsys.readouterr().err
    assert not (folder / "back.jpg").exists()


def test_a_single_file_has_no_total(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compress", "in/small.png", "-o", "one.lcb"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_an_input_that_fails_is_reported_and_the_rest_go_on(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("RGB", (BAD_WIDTH, 4)).save(folder / "in/a.png")
    (folder / "in/b.png").write_bytes(b"text")
    assert main(["compress", "in", "-o", "coded"]) == 2
    assert files(folder / "coded") == ["deep/wide.lcb", "small.lcb"]
    out, err = capsys.readouterr()
    assert err.splitlines() == [
        "lightning-codec: error: in/a.png: thirteen",
        "lightning-codec: error: in/b.png: not an image of a known format",
    ]
    assert out.splitlines()[-1].startswith("total: 2 of 4 files, 2 failed, 1442 bytes, 49.7241 bpp, ")


def test_an_existing_output_stops_everything_unless_forced(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "coded").mkdir()
    (folder / "coded/small.lcb").write_bytes(b"old")
    assert main(["compress", "in", "-o", "coded"]) == 2
    assert capsys.readouterr().err.startswith("lightning-codec: error: coded/small.lcb: exists already")
    assert files(folder / "coded") == ["small.lcb"]
    assert main(["compress", "in", "-o", "coded", "--force"]) == 0
    assert (folder / "coded/small.lcb").stat().st_size == 421


@pytest.mark.parametrize(
    ("command", "source", "target"), [("compress", "in/small.png", "x.lcb"), ("decompress", "small.lcb", "x.png")]
)
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    folder: Path, monkeypatch: pytest.MonkeyPatch, command: str, source: str, target: str
) -> None:
    (folder / "small.lcb").write_bytes(container(8))
    (folder / "out").mkdir()
    (folder / "out" / target).write_bytes(b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    assert main([command, source, "-o", f"out/{target}", "--force"]) == 2
    assert files(folder / "out") == [target]
    assert (folder / "out" / target).read_bytes() == b"old"


@pytest.mark.parametrize(("command", "source"), [("compress", "in"), ("decompress", "small.lcb")])
def test_a_place_that_cannot_be_written_is_found_before_a_model_is_loaded(
    command: str, source: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "small.lcb").write_bytes(container(8))
    monkeypatch.setattr("tests.commands.fake_codec.FakeCodec.load", lambda _: pytest.fail("loaded"))
    assert main([command, source, "-o", "in/small.png/below/"]) == 2
    assert re.fullmatch(r"lightning-codec: error: in/small.png[^\n]*\n", capsys.readouterr().err)


def test_an_image_that_does_not_fit_into_memory_is_an_input_that_fails(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "huge.lcb").write_bytes(container(1000))
    assert main(["decompress", "huge.lcb", "-o", "x.png"]) == 2
    assert capsys.readouterr().err == "lightning-codec: error: huge.lcb: not enough memory for this image\n"


def test_a_fault_of_the_program_is_not_hidden(folder: Path) -> None:
    (folder / "odd.lcb").write_bytes(container(1001))
    with pytest.raises(RuntimeError, match="a fault of the program"):
        main(["decompress", "odd.lcb", "-o", "x.png"])


def test_the_model_is_the_option_then_the_variable(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Path] = []
    monkeypatch.setattr("tests.commands.fake_codec.FakeCodec.__init__", lambda self: seen.append(self))
    arguments = ["compress", "in/small.png", "-o", "x.lcb", "--force"]
    assert main(arguments) == 0
    assert main([*arguments, "--model", "other.ckpt"]) == 0
    assert [str(codec.loaded) for codec in seen] == ["model.ckpt", "other.ckpt"]  # type: ignore[attr-defined]


def test_threads_are_set_and_checked(capsys: pytest.CaptureFixture[str]) -> None:
    before = torch.get_num_threads()
    try:
        assert main(["compress", "in/small.png", "-o", "x.lcb", "--threads", "2"]) == 0
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert main(["compress", "in/small.png", "-o", "y.lcb", "--threads", "0"]) == 2
    assert "argument --threads: invalid positive value: '0'" in capsys.readouterr().err


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_progress_goes_to_a_terminal_on_stderr_and_results_stay_on_stdout(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    assert main(["compress", "in", "-o", "coded"]) == 0
    assert "2/2" in screen.getvalue()
    out = capsys.readouterr().out
    assert len(out.splitlines()) == 3
    assert "\x1b" not in out
