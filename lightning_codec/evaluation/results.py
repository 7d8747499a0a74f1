"""From measurements to what is read: means, curves and BD-rates of an evaluation, and its files."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lightning_codec.errors import UserError
from lightning_codec.evaluation.bd_rate import BDRow, Method, bd_table
from lightning_codec.evaluation.curves import Curve, SettingMeans, curves, setting_means
from lightning_codec.evaluation.engine import Measured, SetDistance
from lightning_codec.evaluation.records import write_records
from lightning_codec.files import write_csv, write_json
from lightning_codec.metrics.rows import BPP_PROTOCOL
from lightning_codec.provenance import Provenance

BD_METHOD: Method = "akima"
DEFAULT_ANCHOR = "jpeg"


class Origin(NamedTuple):
    """What an evaluation was asked to do, and by what it was done."""

    command: str
    provenance: Provenance
    threads: int
    absent_codecs: dict[str, str]
    """Why a codec that was asked for cannot be had, by "codec:setting"."""


class Results(NamedTuple):
    """The results of an evaluation over its set."""

    means: list[SettingMeans]
    """Of every setting; `values` has the distances between sets too. Sorted by codec and setting."""
    curves: dict[str, list[Curve]]
    """By metric; settings that have not coded every image are no points."""
    published: dict[str, list[Curve]]
    """Published curves of the same set, by metric."""
    anchor: str | None
    bd_rates: list[BDRow]


def choose_anchor(codecs: Sequence[str], wanted: str | None) -> str | None:
    """The codec that others are compared with: the one asked for, else JPEG, else the first; None for a single one.

    Raises:
        UserError: the one asked for is not evaluated.
    """
    if wanted is not None and wanted not in codecs:
        raise UserError(f"anchor {wanted!r} is not evaluated; there are {', '.join(dict.fromkeys(codecs))}")
    if len(set(codecs)) < 2:
        return None
    return wanted or (DEFAULT_ANCHOR if DEFAULT_ANCHOR in codecs else codecs[0])


def summarize(measured: Measured, anchor: str | None, published: Sequence[Curve]) -> Results:
    """Average, draw up the curves and compare them.

    Args:
        measured: what was measured.
        anchor: of the BD-rates; None for none.
        published: curves of any sets and metrics; those of this set and of a metric that was measured are kept.
    """
    means = [_with_distances(row, measured) for row in setting_means(coded.record for coded in measured.coded)]
    complete = measured.complete_settings()
    points = [row for row in means if (row.codec, row.setting) in complete]
    drawn = {fact.name: curves(points, fact.name, fact.protocol.key) for fact in measured.metrics}
    same_set = [curve for curve in published if curve.dataset == measured.dataset]
    rows: list[BDRow] = []
    if anchor is not None:
        for fact in measured.metrics:
            rows += bd_table(drawn[fact.name], anchor, BD_METHOD, fact.higher_is_better)
    return Results(
        means=means,
        curves={name: found for name, found in drawn.items() if found},
        published={name: [curve for curve in same_set if curve.metric == name] for name in drawn},
        anchor=anchor,
        bd_rates=rows,
    )


def _with_distances(row: SettingMeans, measured: Measured) -> SettingMeans:
    distances = measured.distances.get((row.codec, row.setting), {})
    return row._replace(values={**row.values, **{name: distance.value for name, distance in distances.items()}})


def write_tables(out: Path, measured: Measured, results: Results, origin: Origin) -> None:
    """Write results.csv, bd_rates.csv and summary.json."""
    image_metrics = [fact.name for fact in measured.metrics if not fact.of_sets]
    records = [coded.record for coded in measured.coded]
    write_records(out / "results.csv", image_metrics, records)
    write_csv(out / "bd_rates.csv", BDRow._fields, results.bd_rates)
    write_json(out / "summary.json", _summary(measured, results, origin))


def _summary(measured: Measured, results: Results, origin: Origin) -> dict[str, Any]:
    reasons: Counter[tuple[str, str]] = Counter()
    for coded in measured.coded:
        reasons.update(coded.reasons.items())
    complete = measured.complete_settings()
    return {
        "dataset": {"name": measured.dataset, "images": [image.name for image in measured.images]},
        "command": origin.command,
        **origin.provenance._asdict(),
        "threads": origin.threads,
        "codecs": {setting.codec: setting.description for setting in measured.settings},
        "absent_codecs": origin.absent_codecs,
        "protocols": {
            "bpp": BPP_PROTOCOL.facts(),
            **{fact.name: fact.protocol.facts() for fact in measured.metrics},
        },
        "absent_metrics": measured.absent,
        "images_without_value": [
            {"metric": metric, "reason": reason, "images": count} for (metric, reason), count in sorted(reasons.items())
        ],
        "settings": [_setting(row, (row.codec, row.setting) in complete, measured) for row in results.means],
        "bd_rates": {
            "anchor": results.anchor,
            "method": f"{BD_METHOD}, log rate, over the interval that both curves reach; MS-SSIM in dB",
            "rows": [row._asdict() for row in results.bd_rates],
        },
        "failures": [{"unit": unit, "error": error} for unit, error in measured.failures],
    }


def _setting(row: SettingMeans, is_complete: bool, measured: Measured) -> dict[str, Any]:
    distances: Mapping[str, SetDistance] = measured.distances.get((row.codec, row.setting), {})
    return {
        "codec": row.codec,
        "setting": row.setting,
        "images": row.images,
        "complete": is_complete,
        "bpp": row.bpp,
        "metrics": {metric: {"mean": row.values[metric], "images": count} for metric, count in row.counts.items()},
        "set_metrics": {metric: distance._asdict() for metric, distance in distances.items()},
        "encode_seconds": row.encode_seconds,
        "decode_seconds": row.decode_seconds,
    }
