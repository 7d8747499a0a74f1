"""Differences of the pictures of a sweep's members."""

import csv
import json
from pathlib import Path

import pytest

from lightning_codec.cli import main
from lightning_codec.cluster.changes import write_changes
from lightning_codec.cluster.grid import Axis
from lightning_codec.cluster.images import write_images
from lightning_codec.cluster.pairing import pairs
from lightning_codec.cluster.script import FINISHED
from lightning_codec.cluster.sweep import Sweep

COLUMNS = ["dataset", "name", "bytes", "bpp", "psnr", "encode_seconds", "decode_seconds"]
AXES = (Axis("blur", ("0", "4")), Axis("seed_everything", ("0", "1")))
Images = dict[str, tuple[float, float | None]]


def finish(sweep: Sweep, member: str, images: Images, protocol: str = "d-v1@ab") -> None:
    """Leave what a tested member leaves: PSNR and distance of its images by name."""
    metrics = sweep.folder / member / "test" / "version_0" / "metrics"
    metrics.mkdir(parents=True)
    with (metrics / "test_kodak.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(["kodak", name, 100, 8, psnr, 0.25, 0.5] for name, (psnr, _) in images.items())
    header = {"protocol": {"d": {"key": protocol, "description": "a distance"}}, "means": {}}
    entries: dict[str, object] = {name: {"d": distance, "reasons": {}} for name, (_, distance) in images.items()}
    (metrics / "test_kodak_perceptual.json").write_text(json.dumps({"header": header, "images": entries}))
    (sweep.folder / member / FINISHED).touch()


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    found = Sweep(tmp_path / "s", (), AXES)
    found.begin()
    finish(found, "blur=0,seed_everything=0", {"a": (30.0, 0.5), "b": (32.0, 0.4), "c": (20.0, 0.3)})
    finish(found, "blur=4,seed_everything=0", {"a": (30.5, 0.4), "b": (31.0, 0.1), "c": (20.0, None)})
    return found


def changes(sweep: Sweep, others: list[Path] | None = None) -> dict[str, dict[str, str]]:
    _, images = write_images(sweep, others or [])
    path = write_changes(sweep.folder, pairs(sweep, images, Axis("blur", ("0",))))
    return {row["metric"]: row for row in csv.DictReader(path.open())}


def test_pictures_are_compared_image_by_image_where_both_have_a_value(sweep: Sweep) -> None:
    rows = changes(sweep)
    assert list(rows) == ["psnr", "d-v1@ab"]
    psnr, distance = rows["psnr"], rows["d-v1@ab"]
    assert (psnr["blur"], psnr["against"], psnr["dataset"], psnr["seeds"]) == ("4", "0", "kodak", "1")
    assert (psnr["images"], distance["images"]) == ("3", "2")
    assert float(psnr["mean"]) == pytest.approx((30.5 + 31.0 + 20.0) / 3)
    assert float(psnr["change"]) == pytest.approx((0.5 - 1.0) / 3)
    assert float(distance["mean"]) == pytest.approx(0.25)
    assert float(distance["change"]) == pytest.approx((-0.1 - 0.3) / 2)
    assert (float(distance["low"]), float(distance["high"])) == pytest.approx((-0.3, -0.1))
    assert distance["between_seeds"] == ""


def test_an_image_is_the_mean_of_its_seeds(sweep: Sweep) -> None:
    finish(sweep, "blur=0,seed_everything=1", {"a": (30.0, 0.5), "b": (32.0, 0.4), "c": (20.0, 0.3)})
    finish(sweep, "blur=4,seed_everything=1", {"a": (30.0, 0.2), "b": (32.0, 0.3), "c": (20.0, 0.3)})
    distance = changes(sweep)["d-v1@ab"]
    assert (distance["seeds"], distance["images"]) == ("2", "2")
    # images: -(0.1 + 0.3) / 2 and -(0.3 + 0.1) / 2; seeds: -(0.1 + 0.3) / 2 and -(0.3 + 0.1) / 2
    assert float(distance["change"]) == pytest.approx(-0.2)
    assert (float(distance["low"]), float(distance["high"])) == pytest.approx((-0.2, -0.2))
    assert float(distance["between_seeds"]) == pytest.approx(0.0, abs=1e-12)


def test_numbers_of_other_protocols_are_in_another_column_and_not_compared(sweep: Sweep, tmp_path: Path) -> None:
    second = Sweep(tmp_path / "other", (), AXES)
    second.begin()
    finish(second, "blur=4,seed_everything=0", {"a": (31.0, 0.1)}, protocol="d-v2@cd")
    (sweep.folder / "blur=4,seed_everything=0" / FINISHED).unlink()
    path, _ = write_images(second)
    assert list(changes(sweep, [path])) == ["psnr"]
    header, first, *_, last = (sweep.folder / "images.csv").read_text().splitlines()
    assert header.endswith(",decode_seconds,d-v1@ab,d-v2@cd")
    assert first.endswith(",0.5,0.5,")
    assert last.endswith(",0.5,,0.1")


def test_the_command_writes_the_table(sweep: Sweep, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "-o", str(sweep.folder), "--collect", "--against", "blur=0"]) == 0
    assert f"changes: {sweep.folder / 'changes.csv'}" in capsys.readouterr().out
    assert len((sweep.folder / "changes.csv").read_text().splitlines()) == 3
