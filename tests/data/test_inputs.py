import pytest
from PIL import Image

from lightning_codec.data import NamedFile, NamedImage, Unreadable
from lightning_codec.data.inputs import NAMED_CLASHES, InputSet, refuse_clashes
from lightning_codec.errors import UserError


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "sub").mkdir()
    for name, size in {"b.png": (4, 5), "a.png": (6, 7), "sub/c.png": (8, 9)}.items():
        Image.new("RGB", size).save(tmp_path / name)
    return tmp_path


def test_files_and_folders_sorted_by_name(folder):
    inputs = InputSet([folder / "sub", folder / "b.png"])
    items = [inputs[i] for i in range(len(inputs))]
    assert all(isinstance(item, NamedImage) for item in items)
    assert [(item.name, item.image.shape[2:]) for item in items if isinstance(item, NamedImage)] == [
        ("b.png", (5, 4)),
        ("c.png", (9, 8)),
    ]
    whole = InputSet([folder])
    assert whole.names == ["a.png", "b.png", "sub/c.png"]
    assert whole.path(2) == f"{folder}/sub/c.png"
    assert not whole.coded


def test_coded_files_are_named_and_not_read(folder):
    (folder / "coded").mkdir()
    for name in ("b.LCB", "a.lcb"):
        (folder / "coded" / name).touch()
    inputs = InputSet([folder / "coded"])
    assert inputs.coded
    assert [inputs[0], inputs[1]] == [NamedFile(f"{folder}/coded/{name}", name) for name in ("a.lcb", "b.LCB")]
    with pytest.raises(UserError, match=r"a\.png is to be coded and \S+/coded/a\.lcb to be decoded: give either"):
        InputSet([folder])


def test_equal_names_are_refused_and_all_named(folder):
    with pytest.raises(UserError) as error:
        InputSet([folder / "a.png", folder, folder / "sub", folder / "sub/c.png"])
    assert f"{folder}/a.png and {folder}/a.png would all be a.png; " in str(error.value)
    assert f"{folder}/sub/c.png and {folder}/sub/c.png would all be c.png: rename" in str(error.value)


def test_of_very_many_clashes_the_rest_is_counted():
    pairs = [(f"{i:04d}", folder) for i in range(NAMED_CLASHES + 7) for folder in "xy"]
    with pytest.raises(UserError, match=r"x and y would all be 0000; .*0099; and 7 more: rename"):
        refuse_clashes(pairs)


def test_missing_empty_and_no_inputs_are_refused(folder):
    (folder / "empty").mkdir()
    with pytest.raises(UserError, match="no such file or folder"):
        InputSet([folder / "missing.png"])
    with pytest.raises(UserError, match=r"no image files and no \.lcb files in this folder"):
        InputSet([folder / "empty"])
    with pytest.raises(UserError, match="no inputs"):
        InputSet([])


def test_file_that_is_no_image_is_an_item_with_its_reason(folder):
    (folder / "notes.txt").write_text("text")
    item = InputSet([folder / "notes.txt"])[0]
    assert item == Unreadable(f"{folder}/notes.txt: not an image of a known format", "notes.txt")
