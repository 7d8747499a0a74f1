"""The folder that an evaluation leaves: tables, pictures by name, plots and the report."""

import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from lightning_codec.evaluation.curves import SettingMeans
from lightning_codec.evaluation.engine import CodedImage, Measured
from lightning_codec.evaluation.plots import draw_curves
from lightning_codec.evaluation.records import Record
from lightning_codec.evaluation.report import (
    DecodedPicture,
    PictureSet,
    ReportContent,
    SetRow,
    TableRow,
    write_report,
)
from lightning_codec.evaluation.results import Origin, Results, write_tables
from lightning_codec.files import replacing
from lightning_codec.metrics.suite import Value


def write_output(out: Path, measured: Measured, results: Results, origin: Origin) -> None:
    """Write every file of an evaluation.

    results.csv, summary.json, bd_rates.csv; pictures/<codec>_<setting>/<image>.png; rd_<set>_<metric>.png and .svg for
    every metric that has a curve; report.html.
    """
    write_tables(out, measured, results, origin)
    pictures = link_pictures(out, measured)
    codecs = list(codec_descriptions(measured))
    for fact in measured.metrics:
        drawn = [*results.curves.get(fact.name, []), *results.published[fact.name]]
        if drawn:
            draw_curves(drawn, fact.label, fact.higher_is_better, out, plot_stem(measured.dataset, fact.name), codecs)
    write_report(out / "report.html", report_content(measured, results, origin, pictures))


def report_content(measured: Measured, results: Results, origin: Origin, pictures: Sequence[Path]) -> ReportContent:
    """What the report says.

    Args:
        measured: what was measured.
        results: its means, curves and BD-rates.
        origin: what was asked for.
        pictures: of `measured.coded`, in that order.
    """
    complete = measured.complete_settings()
    set_rows = [
        SetRow(codec, setting, metric, *distance)
        for (codec, setting), distances in measured.distances.items()
        for metric, distance in distances.items()
    ]
    curves = [curve for fact in measured.metrics for curve in results.curves.get(fact.name, [])]
    published = [curve for fact in measured.metrics for curve in results.published[fact.name]]
    return ReportContent(
        title=f"Codecs on {measured.dataset}",
        dataset=measured.dataset,
        images=len(measured.images),
        command=origin.command,
        provenance=origin.provenance,
        threads=origin.threads,
        codecs=codec_descriptions(measured),
        metrics=measured.metrics,
        rows=[_table_row(row, (row.codec, row.setting) in complete, measured) for row in results.means],
        set_rows=set_rows,
        curves=[*curves, *published],
        bd_rates=results.bd_rates,
        absent={**origin.absent_codecs, **measured.absent},
        failures=measured.failures,
        pictures=_picture_sets(measured, pictures),
    )


def codec_descriptions(measured: Measured) -> dict[str, str]:
    """How each codec is used, by name."""
    return {setting.codec: setting.description for setting in measured.settings}


def _table_row(row: SettingMeans, is_complete: bool, measured: Measured) -> TableRow:
    distances = measured.distances.get((row.codec, row.setting), {})
    own = [coded for coded in measured.coded if coded.record[:2] == (row.codec, row.setting)]

    def value(metric: str) -> Value:
        mean = row.values[metric]
        if mean is not None:
            return Value(mean, None)
        reason = distances[metric].reason if metric in distances else _reason(own, metric)
        return Value(None, reason)

    return TableRow(
        row.codec,
        row.setting,
        row.images,
        is_complete,
        row.bpp,
        {metric: value(metric) for metric in row.values},
        row.counts,
        row.encode_seconds,
        row.decode_seconds,
    )


def _reason(coded: Sequence[CodedImage], metric: str) -> str:
    """Why no image has a value: of the images, the first reason."""
    return f"no image has a value: {coded[0].reasons[metric]}"


def _picture_sets(measured: Measured, pictures: Sequence[Path]) -> list[PictureSet]:
    decoded: dict[str, list[DecodedPicture]] = {name: [] for name in measured.originals}
    for coded, path in zip(measured.coded, pictures, strict=True):
        record = coded.record
        if record.image in decoded:
            picture = DecodedPicture(record.codec, record.setting, record.bpp, path, record.values)
            decoded[record.image].append(picture)
    return [PictureSet(name, measured.originals[name], found) for name, found in decoded.items() if found]


def picture_path(out: Path, record: Record) -> Path:
    """Where the decoded picture of a row of `results.csv` is."""
    name = record.image if PurePosixPath(record.image).suffix.lower() == ".png" else f"{record.image}.png"
    return out / "pictures" / f"{record.codec}_{record.setting}" / name


def link_pictures(out: Path, measured: Measured) -> list[Path]:
    """Give every decoded picture its name below pictures/; the file itself is that of the store.

    Returns:
        Their paths, in the order of `measured.coded`.
    """
    paths = []
    for coded in measured.coded:
        path = picture_path(out, coded.record)
        if not (path.exists() and path.samefile(coded.picture)):
            with replacing(path) as temporary:
                try:
                    os.link(coded.picture, temporary)
                except OSError:  # a file system without links
                    shutil.copyfile(coded.picture, temporary)
        paths.append(path)
    return paths


def plot_stem(dataset: str, metric: str) -> str:
    """Name of a plot's files, without their endings."""
    return f"rd_{re.sub(r'[^A-Za-z0-9._-]', '_', dataset)}_{metric}"
