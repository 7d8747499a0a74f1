import random

import pytest

from lightning_codec.errors import UserError
from lightning_codec.evaluation.curves import Point, curves, natural_key, read_published, setting_means
from tests.evaluation.test_records import RECORD

HEADER = "codec,dataset,metric,bpp,value,source\n"


def test_settings_sort_by_the_numbers_in_them():
    names = ["10", "9", "0.5", "100", "a10,steps=2", "a9,steps=10", "a9,steps=4", "a"]
    expected = ["0.5", "9", "10", "100", "a", "a9,steps=4", "a9,steps=10", "a10,steps=2"]
    assert sorted(names, key=natural_key) == expected


def test_means_are_over_images_and_each_metric_over_those_that_have_it():
    rows = [
        RECORD._replace(image="a", bpp=0.5, values={"psnr": 30.0, "dists": 0.2}, encode_seconds=1.0),
        RECORD._replace(image="b", bpp=0.1, values={"psnr": 31.0, "dists": None}, encode_seconds=2.0),
        RECORD._replace(image="c", bpp=0.3, values={"psnr": 35.0, "dists": 0.4}, encode_seconds=6.0),
        RECORD._replace(image="a", setting="9", bpp=0.2, values={"psnr": None, "dists": None}),
    ]
    nine, thirty = setting_means(rows)
    assert (nine.setting, nine.images, nine.values, nine.counts) == (
        "9",
        1,
        {"psnr": None, "dists": None},
        {"psnr": 0, "dists": 0},
    )
    assert (thirty.images, thirty.bpp, thirty.encode_seconds) == pytest.approx((3, 0.3, 3.0))
    assert thirty.values == {"psnr": 32.0, "dists": pytest.approx(0.3)}
    assert thirty.counts == {"psnr": 3, "dists": 2}


def test_means_do_not_depend_on_the_order_of_the_rows():
    generator = random.Random(0)
    rows = [
        RECORD._replace(image=str(i), values={"psnr": generator.random() * 10 ** generator.randint(-8, 8)})
        for i in range(50)
    ]
    shuffled = rows[:]
    generator.shuffle(shuffled)
    assert setting_means(rows) == setting_means(shuffled)


def test_settings_come_in_the_order_of_codec_set_and_rate():
    rows = [
        RECORD._replace(codec=codec, setting=setting, dataset=dataset, bpp=bpp)
        for codec, setting, dataset, bpp in (
            ("ours", "b7c1", "kodak", 0.1),
            ("ours", "a05f", "kodak", 0.4),
            ("ours", "c3bd", "clic", 0.3),
            ("ours", "f00d", "kodak", 0.2),
            ("jpeg", "10", "kodak", 0.5),
        )
    ]
    assert [mean.setting for mean in setting_means(rows)] == ["10", "c3bd", "b7c1", "f00d", "a05f"]


def test_a_curve_has_the_settings_of_one_codec_and_set_by_rate():
    def row(codec: str, setting: str, dataset: str, bpp: float, value: float | None) -> list[object]:
        found = setting_means(
            [RECORD._replace(codec=codec, setting=setting, dataset=dataset, bpp=bpp, values={"psnr": value})]
        )
        return list(found)

    means = [
        *row("jpeg", "9", "kodak", 0.9, 32.0),
        *row("jpeg", "40", "kodak", 0.4, 30.0),
        *row("jpeg", "60", "kodak", 0.6, None),
        *row("webp", "40", "kodak", 0.3, 31.0),
        *row("jpeg", "40", "clic", 0.2, 33.0),
    ]
    found = {(c.codec, c.dataset): c for c in curves(means, "psnr", "v1")}  # type: ignore[arg-type]
    assert found["jpeg", "kodak"].points == (Point(0.4, 30.0, "40"), Point(0.9, 32.0, "9"))
    assert found["jpeg", "kodak"][2:4] == ("psnr", "v1")
    assert len(found) == 3
    assert curves(means, "lpips", "v1") == []  # type: ignore[arg-type]


def test_published_points_become_curves_by_codec_set_metric_and_source(tmp_path):
    path = tmp_path / "points.csv"
    path.write_text(
        HEADER
        + "A,kodak,ms-ssim,0.5,0.95,one\nA,kodak,ms-ssim,0.1,0.90,one\nA,kodak,ms-ssim,0.2,0.91,two\n"
        + "A,kodak,params_m,,12,one\nB,kodak,psnr,1e-1,30,one\n"
    )
    found = {(c.codec, c.metric, c.source): c for c in read_published(path)}
    assert set(found) == {("A", "ms_ssim", "one"), ("A", "ms_ssim", "two"), ("B", "psnr", "one")}
    curve = found["A", "ms_ssim", "one"]
    assert [(p.bpp, p.value) for p in curve.points] == [(0.1, 0.90), (0.5, 0.95)]
    assert (curve.dataset, curve.protocol) == ("kodak", "published")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("codec,bpp\nA,1\n", "the columns of published points must be codec,dataset,metric,bpp,value,source"),
        (HEADER + "A,kodak,psnr,0.1,30,x\nA,kodak,psnr,0.1,good,x\n", r"points\.csv, line 3: bpp and value must be"),
        (None, "no such file with published points"),
    ],
)
def test_files_without_published_points_are_refused(tmp_path, text, message):
    path = tmp_path / "points.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_published(path)
