"""`lightning-codec compare`: two tables of `evaluate`, image by image."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_codec.commands.parser import CommandParser
from lightning_codec.errors import UserError

if TYPE_CHECKING:
    from lightning_codec.evaluation.compare import Comparison, SettingName


def run(name: str, arguments: list[str]) -> int:
    """Compare two tables; returns the exit code."""
    parser = CommandParser(
        name,
        "Compare two results.csv of evaluate, pairing the images: the mean of the differences (second minus first) "
        "and its 95 % confidence interval over the images, by 10,000 bootstrap resamples with a fixed seed. An "
        "interval without 0 is marked with a star. Numbers of different protocols are refused.",
        "lightning-codec compare last_week/results.csv today/results.csv --codec lightning-codec",
    )
    parser.add_argument("first", metavar="A.csv", type=Path, help="what is compared with")
    parser.add_argument("second", metavar="B.csv", type=Path, help="what is compared")
    parser.add_argument("--codec", metavar="NAME", help="only settings of this codec (default: all that both have)")
    parser.add_argument("--a", metavar="CODEC:SETTING", help="a setting of A.csv, to be compared with --b")
    parser.add_argument("--b", metavar="CODEC:SETTING", help="a setting of B.csv")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the tables")
    options = parser.parse_args(arguments)
    if (options.a is None) != (options.b is None):
        raise UserError("--a and --b name a pair of settings: give both, or neither")
    if options.a is not None and options.codec is not None:
        raise UserError("--codec is for settings that both tables have: leave it out beside --a and --b")

    from lightning_codec.evaluation.compare import common_settings, compare
    from lightning_codec.evaluation.records import read_records

    a, b = read_records(options.first), read_records(options.second)
    if options.a is not None:
        pairs = [(_setting(options.a), _setting(options.b))]
    else:
        pairs = [(setting, setting) for setting in common_settings(a, b, options.codec)]
    comparisons = compare(a, b, pairs)
    if options.json:
        print(json.dumps([_plain(comparison) for comparison in comparisons], indent=1))
    else:
        print("\n\n".join(_table(comparison) for comparison in comparisons))
    return 0


def _setting(text: str) -> "SettingName":
    from lightning_codec.evaluation.compare import SettingName

    codec, colon, setting = text.partition(":")
    if not colon:
        raise UserError(f"{text!r}: a setting is given as CODEC:SETTING, as in jpeg:30")
    return SettingName(codec, setting)


def _plain(comparison: "Comparison") -> dict[str, object]:
    plain = comparison._asdict()
    return {
        **plain,
        "a": comparison.a._asdict(),
        "b": comparison.b._asdict(),
        "differences": [difference._asdict() for difference in comparison.differences],
    }


def _table(comparison: "Comparison") -> str:
    lines = [f"{comparison.b} minus {comparison.a}"]
    lines.append(f"  {'':<14}{'images':>7}{'A':>12}{'B':>12}{'B - A':>12}   95 % interval")
    for row in comparison.differences:
        interval = "-"
        if row.low is not None and row.high is not None:
            star = "" if row.low <= 0 <= row.high else " *"
            interval = f"{row.low:+.5f} .. {row.high:+.5f}{star}"
        numbers = f"{row.mean_a:>12.5f}{row.mean_b:>12.5f}{row.difference:>+12.5f}"
        lines.append(f"  {row.metric:<14}{row.images:>7}{numbers}   {interval}")
    lines += [f"  {metric}: not compared, {reason}" for metric, reason in comparison.absent.items()]
    for which, images in (("A", comparison.only_a), ("B", comparison.only_b)):
        if images:
            more = ", ..." if len(images) > 3 else ""
            lines.append(f"  only in {which}, left out: {len(images)} ({', '.join(images[:3])}{more})")
    return "\n".join(lines)
