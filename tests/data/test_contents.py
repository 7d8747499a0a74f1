from pathlib import Path

from PIL import Image

from lightning_codec.data import CompressionDataModule
from lightning_codec.data.contents import contents_of


def test_names_and_sizes_count_and_neither_order_nor_place(tmp_path: Path) -> None:
    for root in ("a", "b"):
        (tmp_path / root / "sub").mkdir(parents=True)
        (tmp_path / root / "x.png").write_bytes(b"12345")
        (tmp_path / root / "sub/y.png").write_bytes(b"123")
    a, b = tmp_path / "a", tmp_path / "b"
    before = contents_of([a / "x.png", a / "sub/y.png"], a)
    assert (before["files"], before["bytes"]) == (2, 8)
    assert contents_of([b / "sub/y.png", b / "x.png"], b) == before
    (b / "x.png").write_bytes(b"1234")
    (b / "sub/y.png").write_bytes(b"1234")
    assert contents_of([b / "x.png", b / "sub/y.png"], b) != before
    (a / "x.png").rename(a / "z.png")
    assert contents_of([a / "z.png", a / "sub/y.png"], a) != before


def test_every_training_folder_and_evaluation_set_of_files_is_listed(tmp_path: Path) -> None:
    for name in ("one/1.png", "two/2.png", "two/3.png", "eval/4.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (20, 20)).save(tmp_path / name)
    folders = [str(tmp_path / "one"), str(tmp_path / "two")]
    data = CompressionDataModule(folders, [str(tmp_path / "eval"), "dead_leaves"], crop_size=8)
    data.setup("fit")
    contents = data.contents()
    assert {name: entry["files"] for name, entry in contents["train"].items()} == {folders[0]: 1, folders[1]: 2}
    assert {name: entry["files"] for name, entry in contents["evaluation"].items()} == {"eval": 1}
    procedural = CompressionDataModule()
    procedural.setup("fit")
    assert procedural.contents() == {"train": {}, "evaluation": {}}
