"""Bytes saved against another member of a sweep."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from lightning_codec.cli import main
from lightning_codec.cluster.grid import Axis
from lightning_codec.cluster.images import write_images
from lightning_codec.cluster.pairing import pairs
from lightning_codec.cluster.savings import write_savings
from lightning_codec.cluster.script import FINISHED
from lightning_codec.cluster.sweep import Sweep
from lightning_codec.errors import UserError
from tests.cluster.job import write_config

COLUMNS = ["dataset", "name", "bytes", "bpp", "psnr", "encode_seconds", "decode_seconds"]


def finish(sweep: Sweep, member: str, sets: dict[str, list[tuple[str, int, float]]]) -> None:
    """Leave what a tested member leaves: for every set, (name, bytes, psnr) of its images of 100 pixels."""
    metrics = sweep.folder / member / "test" / "version_0" / "metrics"
    metrics.mkdir(parents=True)
    for dataset, images in sets.items():
        with (metrics / f"test_{dataset}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            for first, (name, size, psnr) in enumerate(images):
                seconds = ["", ""] if first == 0 else [0.25, 0.5]  # the first is dropped as a warm-up
                writer.writerow([dataset, name, size, 8 * size / 100, psnr, *seconds])
    (metrics / "test_kodak_perceptual.csv").write_text("dataset,name,lpips\nkodak,a,0.5\n")
    (sweep.folder / member / FINISHED).touch()


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    axes = (Axis("model.part", ("none", "all")), Axis("seed_everything", ("0", "1")))
    found = Sweep(tmp_path / "s", ("--x=1",), axes)
    found.begin()
    finish(found, "part=none,seed_everything=0", {"kodak": [("a", 100, 30.0), ("b", 200, 32.0)]})
    finish(found, "part=none,seed_everything=1", {"kodak": [("a", 100, 30.0), ("b", 400, 32.0)]})
    finish(found, "part=all,seed_everything=0", {"kodak": [("a", 90, 30.5), ("b", 160, 32.0)]})
    return found


def savings(sweep: Sweep, key: str, *values: str, others: Sequence[Path] = ()) -> list[dict[str, str]]:
    _, images = write_images(sweep, others)
    return table(write_savings(sweep.folder, pairs(sweep, images, Axis(key, values))))


def table(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.open()))


def test_bytes_are_compared_image_by_image_and_seed_by_seed(sweep: Sweep) -> None:
    (row,) = savings(sweep, "model.part", "none")
    assert (row["model.part"], row["dataset"], row["images"], row["seeds"]) == ("all", "kodak", "2", "1")
    assert float(row["saved_percent"]) == pytest.approx((10 + 20) / 2)
    assert (float(row["low"]), float(row["high"])) == pytest.approx((10, 20))
    assert row["between_seeds"] == ""
    assert float(row["bpp"]) == pytest.approx((7.2 + 12.8) / 2)
    assert float(row["psnr_change"]) == pytest.approx(0.25)
    assert (float(row["encode_seconds"]), float(row["decode_seconds"])) == (0.25, 0.5)

    finish(sweep, "part=all,seed_everything=1", {"kodak": [("a", 80, 30.0), ("b", 360, 32.0)]})
    (row,) = savings(sweep, "model.part", "none")
    assert row["seeds"] == "2"
    # images: (10 + 20) / 2 and (20 + 10) / 2; seeds: (10 + 20) / 2 and (20 + 10) / 2
    assert float(row["saved_percent"]) == pytest.approx(15)
    assert (float(row["low"]), float(row["high"])) == pytest.approx((15, 15))
    assert float(row["between_seeds"]) == pytest.approx(0)


def test_the_other_way_round_more_bytes_are_a_negative_saving(sweep: Sweep) -> None:
    (row,) = savings(sweep, "model.part", "all")
    assert row["model.part"] == "none"
    assert float(row["saved_percent"]) == pytest.approx(100 * ((1 - 100 / 90) + (1 - 200 / 160)) / 2)


def test_several_are_compared_with_in_one_table(sweep: Sweep) -> None:
    rows = savings(sweep, "model.part", "none", "all")
    assert [(row["model.part"], row["against"]) for row in rows] == [("all", "none"), ("none", "all")]
    assert [float(row["saved_percent"]) for row in rows] == pytest.approx([15, 100 * (2 - 100 / 90 - 200 / 160) / 2])


def test_the_command_writes_the_table(sweep: Sweep, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "-o", str(sweep.folder), "--collect", "--against", "model.part=none"]) == 0
    assert f"savings: {sweep.folder / 'savings.csv'}" in capsys.readouterr().out
    assert len(table(sweep.folder / "savings.csv")) == 1


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (
            "model.part",
            "some",
            r"^model\.part=some: not a value of this sweep, which has model\.part=none,all; ",
        ),
        ("model.other", "all", r"^model\.other=all: not a value"),
        ("seed_everything", "1", r"no member and its counterpart with seed_everything=1 are both finished"),
    ],
)
def test_what_cannot_be_compared_is_one_line(key: str, value: str, message: str, sweep: Sweep) -> None:
    for member in ("part=none,seed_everything=1", "part=all,seed_everything=0"):
        (sweep.folder / member / FINISHED).unlink()
    with pytest.raises(UserError, match=message):
        savings(sweep, key, value)
    assert not (sweep.folder / "savings.csv").exists()


def test_a_baseline_that_there_is_not_is_refused_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["sweep", "-o", "s", "--config", str(write_config(tmp_path)), "--set", "model.init_args.lmbda=0.01,0.02"]
    assert main([*command, "--against", "model.init_args.lmbda=0.1"]) == 2
    assert "model.init_args.lmbda=0.1: not a value of this sweep" in capsys.readouterr().err
    assert main([*command, "--against", "model.init_args.lmbda"]) == 2
    assert "--against 'model.init_args.lmbda': give KEY=VALUE" in capsys.readouterr().err
    assert not Path("s").exists()


def test_images_that_were_not_coded_are_refused(sweep: Sweep) -> None:
    path = sweep.folder / "part=all,seed_everything=0/test/version_0/metrics/test_kodak.csv"
    path.write_text(path.read_text().replace("90,", ",", 1))
    with pytest.raises(UserError, match=r"^kodak/a was not coded by a member"):
        savings(sweep, "model.part", "none")


def test_every_image_is_in_one_table_with_the_settings_of_its_member(sweep: Sweep) -> None:
    tested = sweep.folder / "part=all,seed_everything=0/test/version_0/metrics/test_kodak.json"
    tested.write_text(json.dumps({"header": {"trained_parameters": 123}}))
    path, rows = write_images(sweep)
    assert rows == table(path)
    assert [(row["model.part"], row["seed_everything"], row["name"], row["bytes"]) for row in rows] == [
        ("none", "0", "a", "100"),
        ("none", "0", "b", "200"),
        ("none", "1", "a", "100"),
        ("none", "1", "b", "400"),
        ("all", "0", "a", "90"),
        ("all", "0", "b", "160"),
    ]
    assert [row["trained_parameters"] for row in rows] == ["", "", "", "", "123", "123"]
    assert [row["trained_parameters"] for row in savings(sweep, "model.part", "none")] == ["123"]


def test_members_of_another_machine_are_compared_with(sweep: Sweep, tmp_path: Path) -> None:
    second = Sweep(tmp_path / "other", ("--x=1",), (Axis("model.part", ("all",)), Axis("seed_everything", ("0", "1"))))
    second.begin()
    finish(second, "part=all,seed_everything=0", {"kodak": [("a", 1, 30.0), ("b", 1, 32.0)]})  # which sweep has as well
    finish(second, "part=all,seed_everything=1", {"kodak": [("a", 80, 30.0), ("b", 360, 32.0)]})
    path, _ = write_images(second)
    (row,) = savings(sweep, "model.part", "none", others=[path])
    assert row["seeds"] == "2"
    assert float(row["saved_percent"]) == pytest.approx(15)
    # what is compared with may be on the other machine alone
    (row,) = savings(second, "model.part", "none", others=[write_images(sweep)[0]])
    assert row["seeds"] == "2"
    assert float(row["saved_percent"]) == pytest.approx((99 + 99.5 + 20 + 10) / 4)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such table; give the images.csv of another sweep"),
        ("member,bytes\na,1\n", "is no images.csv of a sweep with the same axes"),
        ("", "is no images.csv of a sweep with the same axes"),
        ("cut", "is no images.csv of a sweep with the same axes"),
        ("no number", "is no images.csv of a sweep with the same axes"),
    ],
)
def test_a_table_of_something_else_is_refused_in_one_line(
    content: str | None, message: str, sweep: Sweep, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "other.csv"
    if content == "cut":
        content = write_images(sweep)[0].read_text()[:-10]
    if content == "no number":
        content = write_images(sweep)[0].read_text().replace(",100,", ",ten,", 1)
    if content is not None:
        path.write_text(content)
    command = ["sweep", "-o", str(sweep.folder), "--collect", "--against", "model.part=none", "--with", str(path)]
    assert main(command) == 2
    error = capsys.readouterr().err
    assert f"{path}: {message}" in error
    assert len(error.splitlines()) == 1
