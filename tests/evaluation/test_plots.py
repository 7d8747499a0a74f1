import warnings
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image

from lightning_codec.errors import UserError
from lightning_codec.evaluation.curves import Curve, Point
from lightning_codec.evaluation.plots import MEASURED_COLOURS, NAMED_PUBLISHED, curves_figure, draw_curves


def measured(codec: str, offset: float = 0.0, protocol: str = "p") -> Curve:
    points = tuple(Point(0.2 * 2**i, 28.0 + 3 * i + offset, str(i)) for i in range(4))
    return Curve(codec, "kodak", "psnr", protocol, points)


def published(codec: str, source: str = "a paper", value: float = 32.0) -> Curve:
    points = (Point(0.1, value, ""), Point(4.0, value + 20, ""))
    return Curve(codec, "kodak", "psnr", "published", points, source)


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def colours(axes: Axes) -> dict[str, str]:
    return {str(line.get_label()): to_hex(line.get_color()).upper() for line in axes.lines}


def test_files_are_the_same_at_every_drawing(tmp_path):
    curves = [measured("jpeg"), measured("ours", 2), published("HiFiC")]
    for folder in ("first", "second"):
        draw_curves(curves, "PSNR (dB)", True, tmp_path / folder, "rd_kodak_psnr")
    for ending in ("png", "svg"):
        first, second = (tmp_path / folder / f"rd_kodak_psnr.{ending}" for folder in ("first", "second"))
        assert first.read_bytes() == second.read_bytes()
    assert sorted(path.name for path in (tmp_path / "first").iterdir()) == ["rd_kodak_psnr.png", "rd_kodak_psnr.svg"]
    svg = (tmp_path / "first" / "rd_kodak_psnr.svg").read_text()
    assert "<dc:date>" not in svg
    with Image.open(tmp_path / "first" / "rd_kodak_psnr.png") as image:
        assert image.width == 1260
        assert "Software" not in image.info


def test_axes_name_units_direction_and_set():
    axes = curves_figure([measured("ours")], "LPIPS (AlexNet)", False).axes[0]
    assert axes.get_xlabel() == "rate (bits per pixel)"
    assert axes.get_ylabel() == "LPIPS (AlexNet), lower is better"
    assert axes.get_title() == "kodak"
    assert curves_figure([measured("ours")], "PSNR (dB)", True).axes[0].get_ylabel() == "PSNR (dB), higher is better"


def test_measured_curves_are_solid_and_published_ones_dashed_with_their_source():
    curves = [measured("ours"), published("A", "one"), published("B", "two"), published("C", "one")]
    figure = curves_figure(curves, "PSNR (dB)", True)
    ours, *others = figure.axes[0].lines
    assert (ours.get_linestyle(), ours.get_marker()) == ("-", "o")
    np.testing.assert_array_equal(ours.get_xydata(), [[0.2, 28], [0.4, 31], [0.8, 34], [1.6, 37]])
    assert {line.get_linestyle() for line in others} == {"--"}
    assert legend(figure) == ["ours", "A [1]", "B [2]", "C [1]"]
    assert figure.texts[0].get_text().splitlines()[1:] == ["[1] one", "[2] two"]
    assert "published" in figure.texts[0].get_text()


def test_measured_curves_decide_on_the_axes():
    figure = curves_figure([measured("ours"), published("in"), published("out", value=60.0)], "PSNR (dB)", True)
    axes = figure.axes[0]
    assert axes.get_xlim() == pytest.approx((0, 1.68))
    assert axes.get_ylim() == pytest.approx((27.46, 37.54))
    assert legend(figure) == ["ours", "in [1]"]
    alone = curves_figure([published("out", value=60.0)], "PSNR (dB)", True)
    assert alone.axes[0].get_xlim() == pytest.approx((0, 4.2))
    assert legend(alone) == ["out [1]"]


def test_many_published_curves_are_grey_beyond_the_first():
    curves = [measured("ours"), *(published(f"codec {i}", f"source {i}") for i in range(NAMED_PUBLISHED + 3))]
    figure = curves_figure(curves, "PSNR (dB)", True)
    assert len(figure.axes[0].lines) == NAMED_PUBLISHED + 4
    assert legend(figure)[-2:] == [f"codec {NAMED_PUBLISHED - 1} [{NAMED_PUBLISHED}]", "3 more published"]
    assert f"source {NAMED_PUBLISHED}" not in figure.texts[0].get_text()


@pytest.mark.parametrize("extra", [[], [published(f"bmshj2018-hyperprior [mse] {i}", "x" * 200) for i in range(12)]])
def test_legend_and_notes_lie_below_the_axes_and_within_the_figure(extra):
    label = "PSNR (dB)" if extra else "Fréchet distance of the features of a network with a long name, 64-pixel patches"
    figure = curves_figure([*(measured(f"codec-{i}", i) for i in range(9)), *extra], label, True)
    figure.draw_without_rendering()
    width, height = figure.bbox.size
    box = figure.legends[0].get_window_extent()
    axes_box = figure.axes[0].get_tightbbox()
    note = figure.texts[0].get_window_extent()
    assert axes_box is not None
    assert axes_box.y0 >= box.y1
    assert axes_box.y1 <= height
    assert axes_box.x0 >= 0
    assert axes_box.x1 <= width
    assert figure.axes[0].yaxis.label.get_window_extent().y0 >= box.y1
    assert box.x0 >= 0
    assert box.x1 <= width
    assert note.x1 <= width
    assert note.y0 >= 0
    assert not extra or box.y0 >= note.y1


def test_a_codec_keeps_its_colour_where_others_are_missing():
    names = ["avif", "jpeg", "ours"]
    all_of_them = colours(curves_figure([measured(name) for name in names], "PSNR (dB)", True, names).axes[0])
    assert all_of_them == dict(zip(names, MEASURED_COLOURS, strict=False))
    assert colours(curves_figure([measured("ours")], "PSNR (dB)", True, names).axes[0]) == {"ours": all_of_them["ours"]}


def test_no_two_codecs_look_alike():
    lines = curves_figure([measured(f"codec-{i}", i) for i in range(56)], "PSNR (dB)", True).axes[0].lines
    assert len({(line.get_color(), line.get_marker()) for line in lines}) == 56


def test_a_dollar_sign_is_no_formula(tmp_path: Path):
    curve = measured("cheap$and$broken\\frac")
    draw_curves([curve, published("$\\bad$", "$\\worse$")], "PSNR (dB)", True, tmp_path, "plot")
    assert (tmp_path / "plot.svg").stat().st_size > 1000


def test_a_single_point_has_axes():
    curve = measured("ours")._replace(points=(Point(0.5, 30.0, "1"),))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns of axes without an extent
        axes = curves_figure([curve], "PSNR (dB)", True).axes[0]
    assert axes.get_xlim() == pytest.approx((0, 0.525))
    assert axes.get_ylim() == pytest.approx((28.5, 31.5))


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(UserError, match="psnr-v1"):
        curves_figure([measured("a", protocol="psnr-v1"), measured("b", protocol="psnr-v2")], "PSNR (dB)", True)
    for curves in ([], [measured("a"), measured("b")._replace(dataset="clic")]):
        with pytest.raises(ValueError, match="one set and one metric"):
            curves_figure(curves, "PSNR (dB)", True)
