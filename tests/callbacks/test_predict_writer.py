"""`predict` as a batch coder, with a codec whose files are known in advance."""

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from lightning_codec.bitstream.errors import CorruptError
from lightning_codec.callbacks import LcbWriter, PngWriter
from lightning_codec.callbacks.predict_writer import PredictionWriter
from lightning_codec.data import CompressionDataModule
from lightning_codec.errors import UserError
from lightning_codec.images import read_image
from lightning_codec.modules.prediction import FilePredictor

from .stubs import make_trainer

NAMES = ("a.png", "c/e.png", "d.png", "sub/a.png", "sub/b.tar.png")


class GreyCodec:
    """A file holds its picture's size and level of grey."""

    def __init__(self, fingerprint: bytes = b"\x01\x02\xab\xff") -> None:
        self.fingerprint = fingerprint
        self.coded: list[int] = []

    def compress(self, image: Tensor) -> bytes:
        level = round(float(image.mean()) * 255)
        self.coded.append(level)
        return b"lcb %d %d %d" % (level, image.shape[1], image.shape[2])

    def decompress(self, data: bytes) -> Tensor:
        if not data.startswith(b"lcb "):
            raise CorruptError("not as it was written")
        level, height, width = map(int, data.split()[1:])
        self.coded.append(level)
        return torch.full((3, height, width), level / 255)


class GreyPredictor(FilePredictor):
    def __init__(self, codec: GreyCodec) -> None:
        super().__init__()
        self.net = nn.Linear(1, 1)
        self.grey = codec

    def codec(self) -> Any:
        return self.grey


def write_picture(folder: Path, name: str, level: int) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4 + level, 5), (level,) * 3).save(folder / name)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Number i of NAMES is of level i, 5 rows and 4 + i columns."""
    for level, name in enumerate(NAMES):
        write_picture(tmp_path / "photos", name, level)
    return tmp_path / "photos"


def predict(
    inputs: Path, writer: PredictionWriter, codec: GreyCodec | None = None, processes: int = 1, **more: Any
) -> list[int]:
    """Run; returns what was coded (by this process), as levels."""
    codec = codec or GreyCodec()
    settings = {"devices": processes, "strategy": "ddp_fork"} if processes > 1 else {}
    trainer = make_trainer(inputs.parent, [writer], **settings, **more)
    data = CompressionDataModule(predict_inputs=[str(inputs)])
    trainer.predict(GreyPredictor(codec), datamodule=data, return_predictions=False)
    return codec.coded


def rows(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "predictions.csv").open() as file:
        return {line["name"]: line for line in csv.DictReader(file)}


def contents(folder: Path) -> dict[str, bytes]:
    """What a user sees of the folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".predict" not in path.parts
    }


def identities(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        name: ((s := (folder / name).stat()).st_ino, s.st_mtime_ns) for name in contents(folder) if "csv" not in name
    }


def test_each_image_becomes_a_file_at_its_path_and_a_row(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert predict(photos, LcbWriter()) == [0, 1, 2, 3, 4]
    folder = photos.parent / "run" / "predictions"
    table = rows(folder)
    assert sorted(contents(folder)) == ["a.lcb", "c/e.lcb", "d.lcb", "predictions.csv", "sub/a.lcb", "sub/b.tar.lcb"]
    assert list(table) == list(NAMES)
    for level, row in enumerate(table.values()):
        data = b"lcb %d 5 %d" % (level, 4 + level)
        assert (folder / row["output"]).read_bytes() == data
        assert (int(row["bytes"]), int(row["width"]), int(row["height"])) == (len(data), 4 + level, 5)
        assert float(row["bpp"]) == 8 * len(data) / (5 * (4 + level))
        assert float(row["seconds"]) > 0
        assert row["error"] == ""
    mean = sum(8 * 9 / (5 * (4 + level)) for level in range(5)) / 5
    out = capsys.readouterr().out
    assert f"{folder}: 5 of 5 files, 45 bytes, mean {mean:.4f} bpp, 0 failed; 5 now in " in out
    assert " images/s" in out


def test_files_become_pictures_again(photos: Path) -> None:
    coded, back = photos.parent / "coded", photos.parent / "back"
    predict(photos, LcbWriter(str(coded)))
    (coded / "d.lcb").write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"1 of 5 files failed .* the first is d\.lcb: not as it was written"):
        predict(coded, PngWriter(str(back)))
    table = rows(back)
    assert list(table) == ["a.lcb", "c/e.lcb", "d.lcb", "sub/a.lcb", "sub/b.tar.lcb"]
    assert table["d.lcb"] | {"seconds": "", "error": ""} == {
        **dict.fromkeys(table["d.lcb"], ""),
        "name": "d.lcb",
        "output": "d.png",
    }
    assert (table["sub/a.lcb"]["bytes"], table["sub/a.lcb"]["width"]) == ("9", "7")
    for name in set(NAMES) - {"d.png"}:
        assert torch.equal(read_image(back / name), read_image(photos / name))


def test_the_same_command_again_does_what_is_left(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = photos.parent / "out"
    predict(photos, LcbWriter(str(output)))
    before = identities(output)
    assert predict(photos, LcbWriter(str(output))) == []
    write_picture(photos, "b.png", 9)
    (photos / "d.png").unlink()
    (output / "sub/a.lcb").unlink()
    capsys.readouterr()
    assert predict(photos, LcbWriter(str(output))) == [9, 3]
    assert f"{output}: 3 of 5 files are finished already" in capsys.readouterr().out
    after = identities(output)
    assert {name: after[name] for name in before if name != "sub/a.lcb"} == {
        name: known for name, known in before.items() if name != "sub/a.lcb"
    }
    assert list(rows(output)) == ["a.png", "b.png", "c/e.png", "sub/a.png", "sub/b.tar.png"]


def test_a_file_of_somebody_else_is_kept_and_named_unless_it_is_the_same(photos: Path) -> None:
    output = photos.parent / "out"
    (output / "sub").mkdir(parents=True)
    (output / "a.lcb").write_bytes(b"lcb 0 5 4")
    (output / "sub/a.lcb").write_bytes(b"other")
    before = identities(output)
    for _ in range(2):
        with pytest.raises(UserError, match=r"1 of 5 files failed .* sub/a\.png: kept an existing file"):
            predict(photos, LcbWriter(str(output)))
        assert {name: identities(output)[name] for name in before} == before
    assert rows(output)["a.png"]["bytes"] == "9"
    assert predict(photos, LcbWriter(str(output), overwrite=True)) == [0, 1, 2, 3, 4]
    assert contents(output)["sub/a.lcb"] == b"lcb 3 5 7"


def test_what_cannot_be_read_or_written_costs_only_itself_and_is_tried_again(photos: Path) -> None:
    output = photos.parent / "out"
    (output / "a.lcb").mkdir(parents=True)
    (photos / "d.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"2 of 5 files failed .*, the first is a\.png: .*directory"):
        predict(photos, LcbWriter(str(output)))
    table = rows(output)
    assert {name for name, row in table.items() if row["error"]} == {"a.png", "d.png"}
    assert table["d.png"]["error"] == f"{photos}/d.png: not an image of a known format"
    assert table["d.png"]["bytes"] == ""
    (output / "a.lcb").rmdir()
    write_picture(photos, "d.png", 2)
    assert predict(photos, LcbWriter(str(output))) == [0, 2]
    assert not any(row["error"] for row in rows(output).values())


def test_inputs_of_one_output_are_all_named_before_anything_is_coded(photos: Path) -> None:
    for name in ("a.jpg", "sub/a.webp", "sub/a.gif"):
        write_picture(photos, name, 0)
    codec = GreyCodec()
    with pytest.raises(UserError) as error:
        predict(photos, LcbWriter(str(photos.parent / "out")), codec)
    p = str(photos)
    assert f"{p}/a.jpg and {p}/a.png would all be a.lcb; " in str(error.value)
    assert f"{p}/sub/a.gif and {p}/sub/a.png and {p}/sub/a.webp would all be sub/a.lcb: rename" in str(error.value)
    assert codec.coded == []


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("file/out", "file/out: no files can be written there"),
        ("photos/sub/out", "photos/sub/out: lies in the input folder"),
        ("photos", "photos: lies in the input folder"),
    ],
)
def test_an_impossible_folder_is_one_line_before_anything_is_coded(photos: Path, output: str, message: str) -> None:
    (photos.parent / "file").write_text("")
    codec = GreyCodec()
    with pytest.raises(UserError, match=message):
        predict(photos, LcbWriter(str(photos.parent / output)), codec)
    assert codec.coded == []


def test_files_of_two_models_are_not_mixed(photos: Path) -> None:
    output = photos.parent / "out"
    predict(photos, LcbWriter(str(output)))
    other = GreyCodec(b"\x09\x09\x09\x09")
    with pytest.raises(UserError, match=r"another job \(model was 0102abff, is 09090909\): .* overwrite: true"):
        predict(photos, LcbWriter(str(output)), other)
    with pytest.raises(UserError, match=r"another job \(threads was \d+, is 7\)"):
        predict(photos, LcbWriter(str(output), threads=7))
    assert predict(photos, LcbWriter(str(output), overwrite=True), other) == [0, 1, 2, 3, 4]


def test_a_writer_of_the_other_kind_is_refused_where_its_folder_is_named(photos: Path) -> None:
    with pytest.raises(UserError, match=r"png_writer is for \.lcb files, data\.predict_inputs are images"):
        predict(photos, PngWriter(str(photos.parent / "out")))
    assert predict(photos, PngWriter()) == [0, 1, 2, 3, 4]  # returned, not written


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 3}, "png_writer: steps is for decoder diffusion"),
        ({"decoder": "diffusion", "steps": 0}, "steps is 0: it must be 1 or more"),
        ({"decoder": "diffusion", "seed": -1}, "seed is -1"),
        ({"decoder": "diffusion", "perception": 1.5}, r"perception is 1\.5"),
        ({"decoder": "diffusion", "memory_limit": "lots"}, "memory_limit is 'lots': give a number with its unit"),
        ({"threads": 0}, "png_writer: threads is 0"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        PngWriter(**options)


def test_a_folder_in_use_is_refused(photos: Path) -> None:
    output = photos.parent / "out"

    class Meanwhile(GreyCodec):
        def compress(self, image: Tensor) -> bytes:
            with pytest.raises(UserError, match="out: this process is writing there now"):
                predict(photos, LcbWriter(str(output)))
            return super().compress(image)

    assert predict(photos, LcbWriter(str(output)), Meanwhile()) == [0, 1, 2, 3, 4]
