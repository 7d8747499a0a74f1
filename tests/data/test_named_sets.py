import pytest
from PIL import Image

from lightning_codec.data.kodak import KODAK_FILES
from lightning_codec.data.named_sets import evaluation_set, evaluation_sets
from lightning_codec.errors import UserError
from tests.photos import photos


def fill(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 6), "red").save(folder / name)
    return folder


def names(entry):
    return [entry.images[i].name for i in range(len(entry.images))]


def test_kodak_is_its_24_files_whatever_else_is_there(tmp_path):
    fill(tmp_path / "kodak", *KODAK_FILES, "other.png")
    entry = evaluation_set("kodak", tmp_path)
    assert entry.name == "kodak"
    assert names(entry) == [f"kodim{i:02d}.png" for i in range(1, 25)]


def test_incomplete_kodak_says_what_to_put_where(tmp_path):
    fill(tmp_path / "kodak", *list(KODAK_FILES)[:20])
    with pytest.raises(UserError, match=r"4 of 24 .*kodim21\.png.*put them there.*data\.download") as caught:
        evaluation_set("kodak", tmp_path)
    assert str(tmp_path / "kodak") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.data
def test_kodak_files_have_the_stored_sizes():
    entry = evaluation_set("kodak", photos("kodak").parent)
    shapes = [tuple(entry.images[i].image.shape[1:]) for i in (0, 3)]
    assert shapes == [(3, 512, 768), (3, 768, 512)]


@pytest.mark.parametrize("wrapped", [False, True])
def test_clic2020_joins_professional_and_mobile(tmp_path, wrapped):
    pro, mobile = ("CLIC2020Professional_test/", "CLIC2020Mobile_test/") if wrapped else ("", "")
    fill(tmp_path / "clic2020", f"{pro}professional/b.png", f"{pro}professional/a.png", f"{mobile}mobile/c.png")
    expected = [f"{pro}professional/a.png", f"{pro}professional/b.png", f"{mobile}mobile/c.png"]
    assert names(evaluation_set("clic2020", tmp_path)) == expected


def test_clic2020_without_one_part_says_which_archive_to_unzip(tmp_path):
    fill(tmp_path / "clic2020", "professional/a.png")
    with pytest.raises(UserError, match=r"no mobile images; unzip CLIC2020Mobile_test\.zip"):
        evaluation_set("clic2020", tmp_path)


def test_folder_is_a_set_of_its_own_name(tmp_path):
    fill(tmp_path / "mine", "x/b.png", "a.png")
    entry = evaluation_set(f"{tmp_path}/mine/", tmp_path)
    assert entry.name == "mine"
    assert names(entry) == ["a.png", "x/b.png"]
    (tmp_path / "link").symlink_to(tmp_path / "mine", target_is_directory=True)
    assert evaluation_set(f"{tmp_path}/mine/../link", tmp_path).name == "link"


def test_sets_keep_the_order_given(tmp_path):
    folder = fill(tmp_path / "mine", "a.png")
    sets = evaluation_sets([str(folder), "dead_leaves"], tmp_path)
    assert [entry.name for entry in sets] == ["mine", "dead_leaves"]


def test_sets_of_one_name_are_refused(tmp_path):
    one, two = fill(tmp_path / "1" / "val", "a.png"), fill(tmp_path / "2" / "val", "a.png")
    with pytest.raises(UserError, match="'val' occurs twice"):
        evaluation_sets([str(one), str(two)], tmp_path)


def test_unknown_and_empty_sets_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"'kodakk'.*clic2020, dead_leaves, kodak"):
        evaluation_set("kodakk", tmp_path)
    with pytest.raises(UserError, match="no image files in this evaluation folder"):
        evaluation_set(str(tmp_path), tmp_path)
