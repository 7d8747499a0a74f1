import csv
from pathlib import Path

import pytest

from lightning_codec.callbacks import LcbWriter
from lightning_codec.errors import UserError

from .stubs import StubData, StubModule, make_trainer

DATA = StubData({"predict": [("sub/b.tar.png", 4, 5, 0), ("a.png", 8, 8, 0), ("sub/a.jpg", 2, 2, 0)]})


def predict(tmp_path: Path, writer: LcbWriter) -> list[dict[str, str]]:
    folder = Path(writer.output_dir) if writer.output_dir else tmp_path / "run" / "predictions"
    try:
        make_trainer(tmp_path, [writer]).predict(StubModule(), datamodule=DATA)
    finally:
        with (folder / "predictions.csv").open() as file:
            table = list(csv.DictReader(file))
    return table


def test_each_image_becomes_a_file_at_its_path_and_a_line(tmp_path):
    table = predict(tmp_path, LcbWriter())
    folder = tmp_path / "run" / "predictions"
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    assert files == ["a.lcb", "predictions.csv", "sub/a.lcb", "sub/b.tar.lcb"]
    assert (folder / "sub/b.tar.lcb").read_bytes() == b"lcb sub/b.tar.png"
    assert [line["name"] for line in table] == ["a.png", "sub/a.jpg", "sub/b.tar.png"]
    for line, file, pixels in zip(table, ("a.lcb", "sub/a.lcb", "sub/b.tar.lcb"), (64, 4, 20), strict=True):
        size = (folder / file).stat().st_size
        assert int(line["bytes"]) == size
        assert float(line["bpp"]) == 8 * size / pixels
        assert float(line["seconds"]) > 0
        assert line["error"] == ""


def test_existing_files_are_kept_and_a_different_one_is_named(tmp_path):
    output = tmp_path / "out"
    predict(tmp_path, LcbWriter(str(output)))
    same, other = output / "a.lcb", output / "sub/a.lcb"
    before = same.stat().st_mtime_ns
    predict(tmp_path, LcbWriter(str(output)))
    assert same.stat().st_mtime_ns == before
    other.write_bytes(b"another model")
    with pytest.raises(UserError, match=r"1 of 3 \.lcb files .* sub/a\.jpg: kept an existing file"):
        predict(tmp_path, LcbWriter(str(output)))
    assert other.read_bytes() == b"another model"
    table = predict(tmp_path, LcbWriter(str(output), overwrite=True))
    assert other.read_bytes() == b"lcb sub/a.jpg"
    assert {line["error"] for line in table} == {""}


def test_a_file_that_cannot_be_written_costs_only_itself(tmp_path):
    output = tmp_path / "out"
    (output / "a.lcb").mkdir(parents=True)
    with pytest.raises(UserError, match=r"1 of 3 .* the first is a\.png: "):
        predict(tmp_path, LcbWriter(str(output), overwrite=True))
    with (output / "predictions.csv").open() as file:
        table = {line["name"]: line for line in csv.DictReader(file)}
    assert table["a.png"]["bytes"] == ""
    assert (output / "sub/a.lcb").read_bytes() == b"lcb sub/a.jpg"


def test_two_images_of_one_file_are_an_error(tmp_path):
    data = StubData({"predict": [("a.png", 4, 4, 0), ("a.jpg", 4, 4, 0), ("b.png", 4, 4, 0)]})
    with pytest.raises(UserError, match=r"2 of 3 \.lcb files .* a\.jpg: several images of this name"):
        make_trainer(tmp_path, [LcbWriter(overwrite=True)]).predict(StubModule(), datamodule=data)


def test_an_unwritable_folder_is_one_line_before_anything_is_coded(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/out: the folder for \.lcb files cannot be made"):
        make_trainer(tmp_path, [LcbWriter(str(tmp_path / "file" / "out"))]).predict(StubModule(), datamodule=DATA)
