import base64
import hashlib
import io
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_codec.evaluation.report import DecodedPicture, PictureSet, ReportContent, write_report
from lightning_codec.evaluation.report_pictures import embed
from lightning_codec.evaluation.report_tables import (
    Cell,
    Table,
    absent_numbers,
    bd_table,
    protocols_table,
    results_table,
    sets_table,
)
from lightning_codec.images import write_png
from tests.evaluation.pictures import picture
from tests.evaluation.small_report import CODECS, HOSTILE, HOSTILE_REASON, LPIPS, PSNR, TOO_FEW, small_report


class Page(HTMLParser):
    """The elements of a page, each as (tag, attributes, text in it before other elements)."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.is_open = False
        self.elements: list[tuple[str, dict[str, str | None], str]] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs), ""))
        self.is_open = True

    def handle_endtag(self, tag: str) -> None:
        self.is_open = False

    def handle_data(self, data: str) -> None:
        if self.is_open:
            tag, attributes, text = self.elements[-1]
            self.elements[-1] = (tag, attributes, text + data)

    def all(self, tag: str, **attributes: str) -> list[str]:
        """The texts of the elements with these attributes."""
        wanted = attributes.items()
        return [text for name, given, text in self.elements if name == tag and wanted <= given.items()]

    def data(self) -> Any:
        (text,) = self.all("script", id="data")
        return json.loads(text)


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> ReportContent:
    return small_report(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def page(content: ReportContent, tmp_path_factory: pytest.TempPathFactory) -> Page:
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(path, content)
    return Page(path)


def column(table: Table, label: str) -> list[Cell]:
    (index,) = (i for i, head in enumerate(table.columns) if head.label == label)
    return [row[index] for row in table.rows]


def test_the_same_content_gives_the_same_bytes(content, tmp_path):
    for name in ("a.html", "b.html"):
        write_report(tmp_path / name, content)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.html", "b.html"]


def test_the_page_needs_no_other_file(page):
    for tag, attributes, _ in page.elements:
        assert tag not in {"link", "base", "iframe", "object", "embed"}
        assert "src" not in attributes
        assert (attributes.get("href") or "#").startswith("#")
        assert not any(name.startswith("on") or name == "style" for name in attributes)
    (style,) = page.all("style")
    assert "url(" not in style
    assert "@import" not in style


def test_the_policy_allows_the_style_and_the_script_and_no_other(page):
    (policy,) = (given["content"] for tag, given, _ in page.elements if given.get("http-equiv"))
    texts = [page.all("style")[0], page.all("script")[-1]]
    style, script = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts)
    assert f"style-src 'sha256-{style}'; script-src 'sha256-{script}'" in policy
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert policy.count("sha256-") == 2
    assert "unsafe" not in policy


def test_texts_cannot_break_out(page, content):
    assert HOSTILE_REASON in content.absent.values()
    assert [entry["image"] for entry in page.data()["pictures"]] == ["plain.png", HOSTILE]
    assert len(page.all("script")) == 2 + len(page.data()["pictures"]) * 7
    assert not page.all("i")  # the published codec's name
    assert not page.all("b")
    assert page.all("title") == ["A <small> report"]
    assert any(f"ours 90 {HOSTILE}" in text for text in page.all("strong"))
    (plot,) = (plot for plot in page.data()["plots"] if plot["label"] == PSNR.label)
    assert [curve["codec"] for curve in plot["curves"]] == [*CODECS, "<i>HiFiC</i>"]


def test_plots_have_every_point(page):
    psnr, lpips = page.data()["plots"]
    assert (psnr["higherIsBetter"], lpips["higherIsBetter"]) == (True, False)
    jpeg, _, published = psnr["curves"]
    assert jpeg == {"codec": "jpeg", "source": "", "points": [[0.2, 28, "9"], [0.5, 31, "50"], [1.3, 34, "90"]]}
    assert published["source"] == "a & b"
    assert page.data()["codecs"] == ["jpeg", "ours"]


def test_a_number_that_is_none_is_refused(content, tmp_path):
    broken = content.curves[0]._replace(points=(content.curves[0].points[0]._replace(value=float("nan")),))
    with pytest.raises(ValueError, match="JSON compliant"):
        write_report(tmp_path / "report.html", content._replace(curves=[broken], pictures=[]))
    assert not (tmp_path / "report.html").exists()


def test_results_have_all_digits_and_say_what_is_missing(content):
    table = results_table(content)
    assert [cell.text for cell in column(table, "bpp")] == ["0.200", "0.500", "1.300", "0.100", "0.450", "1.100"]
    assert [cell.key for cell in column(table, "PSNR (dB) ↑")] == [28.0, 31.0, 34.0] * 2
    assert [cell.text for cell in column(table, "LPIPS (AlexNet) ↓")] == ["0.05000"] * 6
    kid = column(table, "KID/256 ↓")
    assert (kid[0].key, kid[0].title) == (None, TOO_FEW)
    assert [cell.text for cell in kid[1:]] == ["0.001000"] * 5
    images = column(table, "images")
    assert [cell.note for cell in images] == [""] * 5 + ["of 2"]
    assert "not those of the set" in images[-1].title
    # PSNR has a value for one image of two; of the last setting only one image was coded.
    assert [cell.note for cell in column(table, "PSNR (dB) ↑")] == ["n=1"] * 5 + [""]
    assert [cell.note for cell in column(table, "LPIPS (AlexNet) ↓")] == [""] * 6


def test_a_metric_that_a_row_lacks_has_no_number(content):
    rows = [row._replace(values={"psnr": row.values["psnr"]}) for row in content.rows]
    cells = column(results_table(content._replace(rows=rows)), "KID/256 ↓")
    assert {(cell.key, cell.title) for cell in cells} == {(None, "not measured")}


def test_distances_of_sets_state_counts_and_protocol(content):
    table = sets_table(content)
    assert [cell.key for cell in column(table, "n originals")] == [9, *[900] * 5]
    assert [cell.key for cell in column(table, "n decoded")] == [9, *[901] * 5]
    assert {cell.text for cell in column(table, "protocol")} == {"kid-v1@ba9876543210"}
    value, std = column(table, "value ↓"), column(table, "± std")
    assert (value[0].key, value[0].title, std[0].title) == (None, TOO_FEW, TOO_FEW)
    assert (value[1].key, std[1].key) == (0.001, 0.0002)


def test_bd_rates_state_anchor_interval_and_method_or_why_there_is_none(content):
    table = bd_table(content)
    texts = [[cell.text for cell in row] for row in table.rows]
    assert texts[0] == ["PSNR (dB)", "ours", "jpeg", "−21.2", "28", "34", "akima", ""]
    assert texts[1][3:] == ["–", "–", "–", "akima", "the curves do not overlap"]
    assert [cell.key for cell in column(table, "BD-rate (%)")] == [-21.25, None]
    whole = bd_table(content._replace(bd_rates=content.bd_rates[:1]))
    assert [head.label for head in whole.columns][-1] == "method"
    assert [len(row) for row in whole.rows] == [7]


def test_protocols_are_listed_with_that_of_the_rate(content):
    rows = [[cell.text for cell in row] for row in protocols_table(content).rows]
    assert rows[0][:3] == ["bpp", "lower", "bpp-file-v1"]
    assert rows[2] == [LPIPS.label, "lower", "lpips-v1@0123456789ab", "a network's"]


def test_reasons_are_counted_once_for_each_setting(content):
    (entry,) = absent_numbers(content.rows, content.set_rows, {"kid256": "KID"})
    assert entry == ("KID", TOO_FEW, 1)


def test_absent_values_carry_no_key_into_the_page(page):
    cells = [given for tag, given, _ in page.elements if tag == "td" and given.get("title") == TOO_FEW]
    assert cells
    assert all("data-key" not in given for given in cells)
    keys = [given["data-key"] for tag, given, text in page.elements if tag == "td" and text.startswith("−21.2")]
    assert keys == ["-21.25"]


def test_pictures_are_embedded_without_loss(page, content):
    def decoded(payload: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
        (text,) = page.all("script", id=f"payload-{payload}")
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))

    shown = page.data()["pictures"][1]
    entry = content.pictures[1]
    assert (shown["width"], shown["height"], shown["note"]) == (64, 48, "")
    np.testing.assert_array_equal(decoded(shown["payload"]), np.asarray(Image.open(entry.original)))
    assert len(shown["decoded"]) == 6
    for picture_data, source in zip(shown["decoded"], entry.decoded, strict=True):
        np.testing.assert_array_equal(decoded(picture_data["payload"]), np.asarray(Image.open(source.path)))
        assert (picture_data["codec"], picture_data["setting"]) == (source.codec, source.setting)
        assert picture_data["bpp"] == source.bpp
        assert list(picture_data["values"].items()) == [
            ("PSNR (dB)", source.values["psnr"]),
            ("LPIPS (AlexNet)", None),
        ]


def test_of_a_large_picture_the_centre_is_shown(tmp_path):
    large = picture(0, 900, 1000)
    write_png(large, tmp_path / "x.png")
    decoded = DecodedPicture("ours", "1", 0.5, tmp_path / "x.png", {})
    (entry,) = embed([PictureSet("x", tmp_path / "x.png", [decoded])]).sets
    assert (entry.width, entry.height) == (768, 768)
    assert "768 x 768" in entry.note
    assert "(116, 66) of 1000 x 900" in entry.note
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(entry.data[1]))))
    expected = (large[:, 66 : 66 + 768, 116 : 116 + 768] * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(shown, expected)


def test_pictures_beyond_the_limit_are_left_out_and_named(content):
    whole = embed(content.pictures)
    assert whole.note == ""
    first = sum(map(len, whole.sets[0].data))
    total = first + sum(map(len, whole.sets[1].data))
    assert embed(content.pictures, limit=total) == whole
    cut = embed(content.pictures, limit=total - 1)
    assert cut.sets == whole.sets[:1]
    assert "1 of 2 images are not shown" in cut.note
    assert embed(content.pictures, limit=first - 1).sets == []


def test_a_picture_of_another_size_is_refused(content, tmp_path):
    write_png(picture(0, 48, 63), tmp_path / "x.png")
    entry = content.pictures[0]
    wrong = entry.decoded[0]._replace(path=tmp_path / "x.png")
    with pytest.raises(ValueError, match=r"x\.png has \(63, 48\) pixels"):
        embed([entry._replace(decoded=[wrong])])


def test_a_report_of_nothing_says_so(content, tmp_path):
    nothing = content._replace(
        rows=[], set_rows=[], curves=[], bd_rates=[], absent={}, failures=[], pictures=[], codecs={}
    )
    write_report(tmp_path / "report.html", nothing)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Nothing: all that was asked for was measured." in text
    assert "No pictures are embedded" in text
