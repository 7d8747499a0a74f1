"""Codecs side by side: which setting is shown, which pixels, and what is refused."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from lightning_codec.cli import main
from lightning_codec.errors import UserError
from lightning_codec.evaluation.gallery import GAP, LINE, Piece, gallery, nearest
from lightning_codec.evaluation.output import picture_path
from lightning_codec.evaluation.records import Table, read_records, write_records
from tests.evaluation.made_up import record

Pixels = npt.NDArray[np.uint8]

SIDE = 16
RATES = {("jpeg", "5"): 0.1, ("jpeg", "10"): 0.4, ("ours", "1"): 0.19}


def noise(seed: int) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (24, 32, 3), dtype=np.uint8)


@pytest.fixture
def evaluation(tmp_path: Path) -> Path:
    """Two codecs on two images of 32 x 24, every decoded picture a noise of its own."""
    records = [
        record(codec, setting, image, bpp, 30.0)._replace(height=24, width=32)
        for (codec, setting), bpp in RATES.items()
        for image in ("sub/b.jpg", "a.png")
    ]
    write_records(tmp_path / "results.csv", ("psnr",), records)
    for seed, row in enumerate(records):
        path = picture_path(tmp_path, row)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise(seed)).save(path)
    return tmp_path


def decoded(evaluation: Path, codec: str, setting: str, image: str) -> Pixels:
    return np.asarray(Image.open(evaluation / "pictures" / f"{codec}_{setting}" / image))


def shown(sheet: Image.Image, row: int, column: int) -> Pixels:
    left, top = column * (SIDE + GAP), LINE + row * (SIDE + LINE + GAP)
    return np.asarray(sheet)[top : top + SIDE, left : left + SIDE]


def test_the_nearest_rate_is_the_one_of_the_smallest_ratio() -> None:
    rows = [record("jpeg", "5", "a", 0.1, 30.0), record("jpeg", "10", "a", 0.4, 30.0)]
    assert nearest(rows, 0.19).setting == "5"
    assert nearest(rows, 0.21).setting == "10"  # by difference it would be 0.1


def test_every_codec_shows_the_pixels_of_its_nearest_setting(evaluation: Path) -> None:
    table = read_records(evaluation / "results.csv")
    sheet = gallery(evaluation, table, [Piece("a"), Piece("sub/b", 3, 7)], ["ours", "jpeg", "jpeg:5"], 0.21, SIDE)
    middle = slice(4, 20), slice(8, 24)
    for column, (codec, setting) in enumerate([("ours", "1"), ("jpeg", "10"), ("jpeg", "5")]):
        np.testing.assert_array_equal(shown(sheet, 0, column), decoded(evaluation, codec, setting, "a.png")[middle])
        whole = decoded(evaluation, codec, setting, "sub/b.jpg.png")
        np.testing.assert_array_equal(shown(sheet, 1, column), whole[7 : 7 + SIDE, 3 : 3 + SIDE])
    assert sheet.size == (3 * SIDE + 2 * GAP, LINE + 2 * (SIDE + LINE + GAP))


def test_originals_are_the_first_column_and_a_piece_is_no_larger_than_its_image(evaluation: Path) -> None:
    Image.fromarray(noise(99)).save(evaluation / "a.png")
    table = read_records(evaluation / "results.csv")
    sheet = gallery(evaluation, table, [Piece("a.png")], ["ours"], 0.2, 1000, evaluation)
    pixels = np.asarray(sheet)[LINE : LINE + 24]
    np.testing.assert_array_equal(pixels[:, :32], noise(99))
    np.testing.assert_array_equal(pixels[:, 1000 + GAP :][:, :32], decoded(evaluation, "ours", "1", "a.png"))


@pytest.mark.parametrize(
    ("piece", "codec", "message"),
    [
        ("c", "ours", "c: names no image of the table, which has sub/b.jpg, a.png"),
        ("a", "theirs", "theirs: no such codec or setting with a.png in the table; its codecs are jpeg, ours"),
        ("a", "jpeg:7", "jpeg:7: no such codec or setting"),
        ("a@17,0", "ours", "a@17,0: 16 x 16 pixels from there leave the image of 32 x 24"),
        ("a@0", "ours", "'a@0': a piece is given as IMAGE or as IMAGE@LEFT,TOP"),
        ("@1,1", "ours", "'@1,1': a piece is given as"),
        ("a@1,-1", "ours", "'a@1,-1': a piece is given as"),
    ],
)
def test_what_is_not_there_is_refused(evaluation: Path, piece: str, codec: str, message: str) -> None:
    table = read_records(evaluation / "results.csv")
    with pytest.raises(UserError) as error:
        gallery(evaluation, table, [Piece.parse(piece)], [codec], 0.2, SIDE)
    assert str(error.value).startswith(message)


def test_a_name_that_fits_several_images_and_a_lost_picture_are_refused(evaluation: Path) -> None:
    rows = [record("ours", "1", image, 0.2, 30.0) for image in ("ab.png", "ac.png")]
    with pytest.raises(UserError, match="a: fits 2 images"):
        gallery(evaluation, Table(("psnr",), rows), [Piece("a")], ["ours"], 0.2, SIDE)
    with pytest.raises(UserError, match=r"ab\.png: no such picture"):
        gallery(evaluation, Table(("psnr",), rows), [Piece("ab")], ["ours"], 0.2, SIDE)


def test_an_original_of_another_size_is_refused(evaluation: Path) -> None:
    Image.new("RGB", (40, 24)).save(evaluation / "a.png")
    table = read_records(evaluation / "results.csv")
    with pytest.raises(UserError, match=r"a\.png: 40 x 24 pixels; evaluated were 32 x 24"):
        gallery(evaluation, table, [Piece("a")], ["ours"], 0.2, SIDE, evaluation)


def test_the_command_shows_every_image_and_codec_by_default(
    evaluation: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = evaluation / "gallery.png"
    command = ["gallery", str(evaluation), "-o", str(out), "--size", str(SIDE), "--bpp", "0.1"]
    assert main(command) == 0
    with Image.open(out) as sheet:
        np.testing.assert_array_equal(shown(sheet, 1, 0), decoded(evaluation, "jpeg", "5", "a.png")[4:20, 8:24])
        np.testing.assert_array_equal(shown(sheet, 0, 1), decoded(evaluation, "ours", "1", "sub/b.jpg.png")[4:20, 8:24])
    before = out.read_bytes()
    assert main([*command, "--images", "nothing"]) == 2
    assert out.read_bytes() == before
    assert main([*command[:2], "-o", str(evaluation / "x.jpg")]) == 2
    assert main([*command, "--bpp", "0"]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 3
    assert "--bpp: 0 is not above 0" in errors[2]
    assert errors[1].endswith("x.jpg: a gallery is written without loss, as .png")
