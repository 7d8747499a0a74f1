import os
from pathlib import Path

import pytest

from lightning_codec.evaluation import output
from lightning_codec.evaluation.curves import Curve, Point
from lightning_codec.evaluation.engine import Measured
from lightning_codec.evaluation.output import link_pictures, plot_stem, report_content, write_output
from lightning_codec.evaluation.results import summarize
from lightning_codec.metrics.suite import Value
from tests.evaluation.made_up import ORIGIN, made_up


@pytest.fixture
def measured(tmp_path: Path) -> Measured:
    return made_up(tmp_path)


def test_pictures_get_their_names_without_taking_more_room(measured, tmp_path, monkeypatch):
    paths = link_pictures(tmp_path, measured)
    assert paths[0] == tmp_path / "pictures" / "ours_10" / "a.jpg.png"
    assert paths[1] == tmp_path / "pictures" / "ours_10" / "sub" / "b.png"
    for coded, path in zip(measured.coded, paths, strict=True):
        assert path.samefile(coded.picture)
    # another picture takes the name of an old one, on a file system without links too
    measured.coded[0].picture.unlink()
    measured.coded[0].picture.write_text("new")
    monkeypatch.setattr(os, "link", lambda *_: fail())
    link_pictures(tmp_path, measured)
    assert paths[0].read_text() == "new"
    assert len(list((tmp_path / "pictures").rglob("*.*"))) == len(paths)


def fail() -> None:
    raise OSError("no links here")


def test_names_of_plots_are_names_of_files():
    assert plot_stem("my set/a", "psnr") == "rd_my_set_a_psnr"


def test_every_metric_is_drawn_with_published_points_and_the_colours_of_all_codecs(measured, tmp_path, monkeypatch):
    drawn = {}
    reports = []
    monkeypatch.setattr(output, "draw_curves", lambda curves, *rest: drawn.update({rest[3]: (curves, *rest)}))
    monkeypatch.setattr(output, "write_report", lambda path, content: reports.append((path, content)))
    published = Curve("VTM", "set", "psnr", "published", (Point(0.1, 30.0, ""),), "a paper")
    results = summarize(measured, "jpeg", [published])
    write_output(tmp_path, measured, results, ORIGIN)
    curves, label, higher_is_better, folder, _, codecs = drawn["rd_set_psnr"]
    assert {curve.codec for curve in curves} == {"jpeg", "ours", "VTM"}
    assert (label, higher_is_better, folder, codecs) == ("PSNR (dB)", True, tmp_path, ["jpeg", "ours"])
    assert drawn["rd_set_fid256"][1:3] == ("FID/256", False)
    assert sorted(drawn) == ["rd_set_fid256", "rd_set_psnr"]
    ((path, content),) = reports
    assert path == tmp_path / "report.html"
    assert published in content.curves
    assert (tmp_path / "results.csv").is_file()


def test_the_report_knows_all_that_was_found_out(measured, tmp_path):
    paths = link_pictures(tmp_path, measured)
    content = report_content(measured, summarize(measured, "jpeg", []), ORIGIN, paths)
    rows = {(row.codec, row.setting): row for row in content.rows}
    assert rows["jpeg", "10"].values == {"psnr": Value(28.0, None), "fid256": Value(10.0, None)}
    assert rows["jpeg", "50"].values["fid256"] == Value(None, "too few")
    assert [row.is_complete for row in content.rows] == [True] * 9 + [False]
    assert content.rows[-1].codec == "ours"
    assert content.set_rows[0][:4] == ("ours", "10", "fid256", 10.0)
    assert content.absent == {"jxl:50": "not there", "dists": "no network"}
    assert content.codecs == {"jpeg": "multiples of a step", "ours": "multiples of a step"}
    assert content.failures == [("ours 50 a.jpg", "broken")]
    assert (content.images, content.threads, content.dataset) == (2, 1, "set")
    assert [(found.image, len(found.decoded)) for found in content.pictures] == [("a.jpg", 9), ("sub/b.png", 10)]
    first = content.pictures[0].decoded[1]
    assert (first.codec, first.setting, first.path.read_text()) == ("ours", "20", "ours 1 a.jpg")
    assert first.values == {"psnr": 30.0}


def test_a_metric_that_no_image_has_says_why(measured):
    coded = [
        c._replace(record=c.record._replace(values={"psnr": None}), reasons={"psnr": "tiny"}) for c in measured.coded
    ]
    bare = measured._replace(coded=coded)
    content = report_content(bare, summarize(bare, None, []), ORIGIN, [c.picture for c in coded])
    assert content.rows[0].values["psnr"] == Value(None, "no image has a value: tiny")
