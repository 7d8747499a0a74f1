import json
from pathlib import Path

import pytest

from lightning_codec.cli import main
from lightning_codec.evaluation.records import write_records
from tests.evaluation.test_compare import rows


@pytest.fixture
def tables(tmp_path: Path) -> list[str]:
    """Two tables; in the second, ours:1 is better by 1 to 3 dB and jpeg:30 is as good on the mean."""
    first = [*rows([30.0, 32.0, 40.0]), *rows([30.0, 32.0, 40.0], "1", "ours")]
    second = [*rows([31.0, 31.0, 40.0]), *rows([31.0, 34.0, 43.0], "1", "ours")]
    paths = []
    for name, records in (("a.csv", first), ("b.csv", second)):
        write_records(tmp_path / name, ["psnr"], records)
        paths.append(str(tmp_path / name))
    return paths


def test_the_table_marks_intervals_without_zero(tables, capsys):
    assert main(["compare", *tables]) == 0
    jpeg, ours = capsys.readouterr().out.split("\n\n")
    assert jpeg.splitlines()[0] == "jpeg:30 minus jpeg:30"
    assert ours.splitlines()[0] == "ours:1 minus ours:1"
    (line,) = (line for line in ours.splitlines() if line.split()[0] == "psnr")
    assert line.split() == ["psnr", "3", "34.00000", "36.00000", "+2.00000", "+1.00000", "..", "+3.00000", "*"]
    (line,) = (line for line in jpeg.splitlines() if line.split()[0] == "psnr")
    assert line.split()[4:] == ["+0.00000", "-1.00000", "..", "+1.00000"]


def test_a_pair_of_settings_as_json(tables, capsys):
    assert main(["compare", *tables, "--a", "jpeg:30", "--b", "ours:1", "--json"]) == 0
    (comparison,) = json.loads(capsys.readouterr().out)
    assert comparison["a"] == {"codec": "jpeg", "setting": "30"}
    assert comparison["b"] == {"codec": "ours", "setting": "1"}
    psnr = comparison["differences"][1]
    assert (psnr["metric"], psnr["images"], psnr["difference"]) == ("psnr", 3, 2.0)
    assert main(["compare", *tables, "--codec", "ours", "--json"]) == 0
    assert [c["a"]["codec"] for c in json.loads(capsys.readouterr().out)] == ["ours"]


def test_images_that_are_not_compared_are_named(tables, tmp_path, capsys):
    path = tmp_path / "more.csv"
    more = [row._replace(values={"dists": 0.1}, protocols={}) for row in rows([31.0] * 7)[2:]]
    write_records(path, ["dists"], more)
    assert main(["compare", tables[0], str(path)]) == 0
    out = capsys.readouterr().out
    assert "only in A, left out: 2 (kodak/a, kodak/b)" in out
    assert "only in B, left out: 4 (kodak/d, kodak/e, kodak/f, ...)" in out
    assert "psnr: not compared, only in the first table" in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--a", "jpeg:30"], "--a and --b name a pair of settings: give both, or neither"),
        (["--a", "jpeg:30", "--b", "ours"], "'ours': a setting is given as CODEC:SETTING"),
        (["--a", "jpeg:30", "--b", "ours:1", "--codec", "ours"], "--codec is for settings that both tables have"),
        (["--codec", "webp"], "the rows of webp have no setting in common"),
    ],
)
def test_wrong_calls_are_one_line(tables, options, message, capsys):
    assert main(["compare", *tables, *options]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"lightning-codec: error: {message}")
    assert err.count("\n") == 1
