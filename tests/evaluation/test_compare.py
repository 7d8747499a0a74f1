import numpy as np
import pytest

from lightning_codec.errors import UserError
from lightning_codec.evaluation.compare import SettingName, common_settings, compare
from lightning_codec.evaluation.records import Record, Table
from tests.evaluation.test_records import RECORD

THIRTY = SettingName("jpeg", "30")


def rows(values: list[float | None], setting: str = "30", codec: str = "jpeg") -> list[Record]:
    """Images a, b, c ... with these PSNR and bpp of their tenth."""
    protocols = {"psnr": "v1"}
    return [
        RECORD._replace(
            codec=codec,
            setting=setting,
            image=chr(97 + i),
            bpp=0.1 * (value or 0),
            values={"psnr": value},
            protocols=protocols,
        )
        for i, value in enumerate(values)
    ]


def table(*records: Record) -> Table:
    return Table(("psnr",), list(records))


def only(a: Table, b: Table, first: SettingName = THIRTY, second: SettingName = THIRTY):
    (comparison,) = compare(a, b, [(first, second)])
    return comparison


def test_differences_are_paired_by_image_whatever_the_order():
    a, b = rows([30.0, 32.0, 40.0]), rows([31.0, 32.5, 44.0])
    comparison = only(table(*a), table(*reversed(b)))
    bpp, psnr = comparison.differences
    assert (psnr.metric, psnr.protocol, psnr.images) == ("psnr", "v1", 3)
    assert psnr.mean_a == pytest.approx(34.0)
    assert psnr.mean_b == pytest.approx(107.5 / 3)
    assert psnr.difference == pytest.approx((1 + 0.5 + 4) / 3)
    assert bpp.difference == pytest.approx((0.1 + 0.05 + 0.4) / 3)
    # the smallest and the largest difference bound every resample of three
    assert psnr.low == pytest.approx(0.5)
    assert psnr.high == pytest.approx(4.0)


def test_the_interval_is_that_of_a_bootstrap_over_images():
    generator = np.random.default_rng(1)
    differences = generator.normal(0.3, 1.0, 40)
    base = generator.uniform(25, 40, 40)  # images differ far more than the codecs do: pairing matters
    comparison = only(table(*rows(list(base))), table(*rows(list(base + differences))))
    psnr = comparison.differences[1]
    resamples = differences[generator.integers(0, 40, (20000, 40))].mean(1)
    low, high = np.quantile(resamples, [0.025, 0.975])
    assert psnr.low == pytest.approx(low, abs=0.02)
    assert psnr.high == pytest.approx(high, abs=0.02)
    assert only(table(*rows(list(base))), table(*rows(list(base + differences)))) == comparison


def test_a_constant_difference_has_no_spread_and_one_image_no_interval():
    same = only(table(*rows([30.0, 35.0, 31.0])), table(*rows([30.5, 35.5, 31.5]))).differences[1]
    assert (same.low, same.high) == (pytest.approx(0.5), pytest.approx(0.5))
    single = only(table(*rows([30.0])), table(*rows([30.5]))).differences[1]
    assert (single.images, single.difference, single.low, single.high) == (1, 0.5, None, None)


def test_images_of_one_table_only_are_named_and_left_out():
    a = [*rows([30.0, 32.0, 40.0]), RECORD._replace(image="a", dataset="other", values={"psnr": 1.0})]
    b = [*rows([31.0, 33.0]), rows([0.0] * 5)[4]._replace(values={"psnr": 50.0})]
    comparison = only(table(*a), table(*b))
    assert comparison.only_a == ["kodak/c", "other/a"]
    assert comparison.only_b == ["kodak/e"]
    assert comparison.differences[1].difference == pytest.approx(1.0)


def test_images_without_a_value_do_not_count():
    comparison = only(table(*rows([30.0, None, 40.0])), table(*rows([31.0, 3.0, None])))
    assert (comparison.differences[1].images, comparison.differences[1].difference) == (1, 1.0)
    assert comparison.differences[0].images == 3
    none = only(table(*rows([None, 30.0])), table(*rows([31.0, None])))
    assert [d.metric for d in none.differences] == ["bpp"]
    assert none.absent == {"psnr": "no image has a value in both tables"}
    other = [row._replace(values={"dists": 0.1}) for row in rows([1.0, 1.0])]
    absent = only(table(*rows([30.0, 31.0])), table(*other)).absent
    assert absent == {"psnr": "only in the first table", "dists": "only in the second table"}


def test_what_is_not_comparable_is_refused():
    a, b = rows([30.0, 32.0]), rows([31.0, 33.0])
    unlike = [b[0], b[1]._replace(protocols={"psnr": "v2"})]
    with pytest.raises(UserError, match="psnr: measured by v1 in one and by v2 in the other"):
        only(table(*a), table(*unlike))
    with pytest.raises(UserError, match=r"kodak/b has 512 x 768 pixels in one table and 512 x 767 in the other"):
        only(table(*a), table(b[0], b[1]._replace(width=767)))
    with pytest.raises(UserError, match="jpeg:30 and jpeg:30 have no image in common"):
        only(table(a[0]), table(b[1]))
    with pytest.raises(UserError, match=r"webp:30 is not in the second table, which has jpeg:30"):
        only(table(*a), table(*b), THIRTY, SettingName("webp", "30"))


def test_settings_of_both_tables_are_paired_in_order():
    a = table(*rows([1.0], "100"), *rows([1.0], "9"), *rows([1.0], "9", "webp"), *rows([1.0], "5"))
    b = table(*rows([1.0], "9"), *rows([1.0], "100"), *rows([1.0], "9", "webp"), *rows([1.0], "7"))
    assert [str(name) for name in common_settings(a, b, None)] == ["jpeg:9", "jpeg:100", "webp:9"]
    assert [str(name) for name in common_settings(a, b, "webp")] == ["webp:9"]
    with pytest.raises(UserError, match=r"the rows of avif have no setting in common"):
        common_settings(a, b, "avif")
    with pytest.raises(UserError, match=r"the tables have no setting .* \(first: jpeg:5; second: jpeg:7\)"):
        common_settings(table(*rows([1.0], "5")), table(*rows([1.0], "7")), None)
