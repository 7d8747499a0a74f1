import pytest
from PIL import Image

from lightning_codec.data.inputs import InputSet
from lightning_codec.errors import UserError
from lightning_codec.images import ImageError


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "sub").mkdir()
    for name, size in {"b.png": (4, 5), "a.png": (6, 7), "sub/c.png": (8, 9)}.items():
        Image.new("RGB", size).save(tmp_path / name)
    return tmp_path


def test_files_and_folders_in_the_order_given(folder):
    inputs = InputSet([folder / "b.png", folder / "sub"])
    assert [(inputs[i].name, inputs[i].image.shape[2:]) for i in range(len(inputs))] == [
        ("b.png", (5, 4)),
        ("c.png", (9, 8)),
    ]
    assert InputSet([folder]).names == ["a.png", "b.png", "sub/c.png"]


def test_equal_names_are_refused(folder):
    with pytest.raises(UserError, match=r"same name, a\.png"):
        InputSet([folder / "a.png", folder])


def test_missing_empty_and_no_inputs_are_refused(folder):
    (folder / "empty").mkdir()
    with pytest.raises(UserError, match="no such file or folder"):
        InputSet([folder / "missing.png"])
    with pytest.raises(UserError, match="no image files in this folder"):
        InputSet([folder / "empty"])
    with pytest.raises(UserError, match="no inputs"):
        InputSet([])


def test_file_that_is_no_image_is_named(folder):
    (folder / "notes.txt").write_text("text")
    with pytest.raises(ImageError, match=r"notes\.txt: not an image"):
        InputSet([folder / "notes.txt"])[0]
