"""`lightning-codec spectrum` on folders of pictures."""

import json
from pathlib import Path

import pytest
import torch

from lightning_codec.cli import main
from lightning_codec.images import write_png


@pytest.fixture
def folders(tmp_path: Path) -> tuple[str, str, str]:
    """Originals; their copies; their rows averaged in pairs, so that rows cannot alternate. One lies in a folder."""
    for name, seed in (("a.png", 0), ("sub/b.png", 1)):
        image = torch.rand(3, 64, 96, generator=torch.Generator().manual_seed(seed))
        blurred = image.unflatten(1, (32, 2)).mean(2).repeat_interleave(2, 1)
        for folder, content in (("x", image), ("same", image), ("blurred", blurred)):
            path = tmp_path / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            write_png(content, path)
    return str(tmp_path / "x"), str(tmp_path / "same"), str(tmp_path / "blurred")


def test_the_table_has_two_lines_for_each_folder(folders, capsys) -> None:
    assert main(["spectrum", *folders]) == 0
    head, originals, same, same_colour, blurred, blurred_colour = capsys.readouterr().out.splitlines()
    assert "rings 1 to 8" in head
    assert originals.split()[1:10] == same.split()[1:10] == ["luma", *["1.00"] * 8]
    assert same_colour.split() == ["colour", *["1.00"] * 8]
    assert originals.split()[10:] == same.split()[10:]
    assert float(blurred.split()[9]) < 0.7  # detail is missing
    assert float(blurred_colour.split()[8]) < 0.7


def test_grey_originals_have_no_colour_to_be_compared(tmp_path: Path, capsys) -> None:
    for name, channels in (("x", 1), ("decoded", 3)):
        (tmp_path / name).mkdir()
        write_png(torch.rand(channels, 64, 96).expand(3, -1, -1), tmp_path / name / "a.png")
    assert main(["spectrum", str(tmp_path / "x"), str(tmp_path / "decoded")]) == 0
    assert capsys.readouterr().out.splitlines()[-1].split() == ["colour", "none", "in", "the", "originals"]


def test_json_has_the_protocol_and_all_numbers(folders, capsys) -> None:
    assert main(["spectrum", folders[0], folders[2], "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["protocol"]["key"] == "spectrum-ycbcr8-v3"
    numbers = document["folders"][folders[2]]
    assert len(numbers["rings"]) == len(numbers["colour_rings"]) == 8
    assert numbers["peaks"]["vertical"] < 0.2 < numbers["peaks"]["horizontal"]
    assert numbers["flat"] < numbers["flat_of_originals"]


def test_pictures_without_a_partner_are_named(folders, tmp_path: Path, capsys) -> None:
    write_png(torch.rand(3, 64, 96), tmp_path / "same" / "c.png")
    assert main(["spectrum", *folders[:2]]) == 2
    assert "c.png: has no original of that name" in capsys.readouterr().err
    write_png(torch.rand(3, 64, 64), tmp_path / "x" / "c.png")
    assert main(["spectrum", *folders[:2]]) == 2
    assert "c.png: is not of the size of" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert main(["spectrum", folders[0], str(tmp_path / "empty")]) == 2
    assert "no pictures in this folder" in capsys.readouterr().err
