import csv
import json
from pathlib import Path

import pytest

from lightning_codec.errors import UserError
from lightning_codec.evaluation.curves import Curve, Point
from lightning_codec.evaluation.engine import Measured
from lightning_codec.evaluation.records import read_records
from lightning_codec.evaluation.results import choose_anchor, summarize, write_tables
from lightning_codec.provenance import provenance
from tests.evaluation.made_up import ORIGIN, made_up


@pytest.fixture
def measured(tmp_path: Path) -> Measured:
    return made_up(tmp_path)


def test_curves_have_the_complete_settings_and_the_distances_of_sets(measured):
    results = summarize(measured, "jpeg", [])
    psnr = {curve.codec: curve for curve in results.curves["psnr"]}
    assert psnr["ours"].points == tuple(Point(0.05 * 2**i, 28.0 + 2 * i, str(10 * (i + 1))) for i in range(4))
    assert len(psnr["jpeg"].points) == 5
    assert psnr["jpeg"].protocol == "psnr-v1"
    fid = {curve.codec: curve for curve in results.curves["fid256"]}
    assert fid["jpeg"].protocol == "fid-v1@0123456789ab"
    assert [point.value for point in fid["jpeg"].points] == [10.0, 5.0, 10 / 3, 2.5]
    assert len(results.means) == 10
    (row,) = (row for row in results.bd_rates if row.metric == "psnr")
    assert (row.codec, row.anchor) == ("ours", "jpeg")
    assert (row.percent, row.low, row.high) == pytest.approx((-50, 28.0, 34.0))
    (row,) = (row for row in results.bd_rates if row.metric == "fid256")
    assert (row.percent, row.low, row.high) == pytest.approx((-50, 2.5, 10.0))
    assert summarize(measured, None, []).bd_rates == []


def test_published_curves_of_this_set_and_of_metrics_that_were_measured_are_kept(measured):
    kept = Curve("VTM", "set", "psnr", "published", (Point(0.1, 30.0, ""),), "a paper")
    others = [kept._replace(dataset="kodak"), kept._replace(metric="lpips_alex")]
    published = summarize(measured, "jpeg", [kept, *others]).published
    assert published == {"psnr": [kept], "fid256": []}


def test_a_bd_rate_that_cannot_be_had_says_why(measured):
    coded = [c for c in measured.coded if c.record.codec == "jpeg" or c.record.setting in ("10", "20")]
    results = summarize(measured._replace(coded=coded), "jpeg", [])
    assert [(row.percent, row.reason is not None) for row in results.bd_rates] == [(None, True), (None, True)]
    assert "ours has 2 points" in str(results.bd_rates[0].reason)
    only_ours = [c for c in measured.coded if c.record.codec == "ours"]
    results = summarize(measured._replace(coded=only_ours), "jpeg", [])
    assert results.bd_rates[0].reason == "psnr: jpeg has no values on set"


def test_the_files_say_everything(measured, tmp_path):
    write_tables(tmp_path, measured, summarize(measured, "jpeg", []), ORIGIN)
    table = read_records(tmp_path / "results.csv")
    assert table.metrics == ("psnr",)
    assert table.records == [coded.record for coded in measured.coded]
    with (tmp_path / "bd_rates.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["metric"], row["codec"], row["anchor"], row["method"]) for row in rows] == [
        ("psnr", "ours", "jpeg", "akima"),
        ("fid256", "ours", "jpeg", "akima"),
    ]
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["dataset"] == {"name": "set", "images": ["a.jpg", "sub/b.png"]}
    assert summary["absent_codecs"] == {"jxl:50": "not there"}
    assert summary["absent_metrics"] == {"dists": "no network"}
    assert summary["protocols"]["fid256"] == {"key": "fid-v1@0123456789ab", "description": "a distance"}
    assert summary["codecs"] == {"jpeg": "multiples of a step", "ours": "multiples of a step"}
    assert summary["images_without_value"] == [{"metric": "psnr", "reason": "infinite", "images": 2}]
    assert summary["failures"] == [{"unit": "ours 50 a.jpg", "error": "broken"}]
    settings = {(row["codec"], row["setting"]): row for row in summary["settings"]}
    assert settings["jpeg", "10"]["metrics"] == {"psnr": {"mean": 28.0, "images": 1}}
    assert settings["jpeg", "20"]["set_metrics"]["fid256"] == {
        "value": 5.0,
        "std": None,
        "reason": None,
        "n_real": 3,
        "n_fake": 4,
    }
    assert settings["ours", "50"]["complete"] is False
    assert settings["ours", "40"]["complete"] is True
    assert (summary["command"], summary["commit"], summary["device"]) == ("lightning-codec evaluate", "abc", "cpu")


def test_the_anchor_is_the_one_asked_for_or_jpeg_or_the_first():
    assert choose_anchor(["webp", "jpeg", "jpeg", "ours"], None) == "jpeg"
    assert choose_anchor(["webp", "ours"], None) == "webp"
    assert choose_anchor(["webp", "jpeg"], "webp") == "webp"
    assert choose_anchor(["webp", "webp"], None) is None
    with pytest.raises(UserError, match="anchor 'vtm' is not evaluated; there are webp, jpeg"):
        choose_anchor(["webp", "jpeg"], "vtm")


def test_provenance_names_versions_and_the_processor():
    found = provenance()
    assert {"lightning_codec", "torch", "pillow", "python"} == set(found.versions)
    assert found.device.startswith("cpu (")
    assert found.commit == "" or len(found.commit.removesuffix("-dirty")) == 40
