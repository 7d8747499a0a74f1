"""The tables of a report, as cells with what they show and what they are sorted by."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from lightning_codec.evaluation.report_content import ReportContent, SetRow, TableRow
from lightning_codec.metrics.rows import BPP_PROTOCOL
from lightning_codec.metrics.suite import Value

ABSENT = "–"


class Column(NamedTuple):
    """The head of a column."""

    label: str
    is_number: bool = False
    title: str = ""
    """What a pointer over it shows."""


class Cell(NamedTuple):
    """A cell of a table."""

    text: str
    key: float | str | None
    """What it is sorted by; None of an absent value, which is sorted last."""
    title: str = ""
    """What a pointer over it shows."""
    note: str = ""
    """Shown small beside the text."""


class Table(NamedTuple):
    """A table that the reader can sort."""

    id: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]


def results_table(content: ReportContent) -> Table:
    """The means of every setting: one row each, one column for each metric."""
    columns = [
        Column("codec"),
        Column("setting"),
        Column("images", True, "how many images of the set were coded"),
        Column("bpp", True, BPP_PROTOCOL.description),
    ]
    numbers = [_decimal_cells([(row.bpp, "") for row in content.rows])]
    for fact in content.metrics:
        arrow = "↑" if fact.higher_is_better else "↓"
        better = "higher" if fact.higher_is_better else "lower"
        columns.append(Column(f"{fact.label} {arrow}", True, f"{better} is better; {fact.protocol.description}"))
        values = [row.values.get(fact.name, Value(None, "not measured")) for row in content.rows]
        cells = _decimal_cells(values)
        numbers.append(
            [_with_count(cell, row, fact.name) for cell, row in zip(cells, content.rows, strict=True)]
            if not fact.of_sets
            else cells
        )
    columns += [Column("encode (s)", True, "mean wall time"), Column("decode (s)", True, "mean wall time")]
    numbers.append(_decimal_cells([(row.encode_seconds, "") for row in content.rows], digits=3))
    numbers.append(_decimal_cells([(row.decode_seconds, "") for row in content.rows], digits=3))
    rows = [
        [_text(row.codec), _text(row.setting), _images_cell(row, content.images), *cells]
        for row, cells in zip(content.rows, zip(*numbers, strict=True), strict=True)
    ]
    return Table("results", f"Means over the images of {content.dataset}", columns, rows)


def _images_cell(row: TableRow, images: int) -> Cell:
    if row.is_complete:
        return Cell(str(row.images), row.images)
    reason = "not all images were coded: the means are not those of the set, and the setting is no point of a curve"
    return Cell(str(row.images), row.images, reason, f"of {images}")


def _with_count(cell: Cell, row: TableRow, metric: str) -> Cell:
    """Say so where a mean is not over all images that were coded."""
    count = row.counts.get(metric, row.images)
    if cell.key is None or count == row.images:
        return cell
    return cell._replace(
        title=f"{cell.title}; the mean of {count} of {row.images} images, the others have no value", note=f"n={count}"
    )


def sets_table(content: ReportContent) -> Table:
    """The distances between sets, with the numbers of samples and the protocol."""
    facts = {fact.name: fact for fact in content.metrics}
    columns = [
        Column("metric"),
        Column("codec"),
        Column("setting"),
        Column("value ↓", True, "lower is better"),
        Column("± std", True, "spread over the subsets of a kernel distance"),
        Column("n originals", True, "patches of the originals"),
        Column("n decoded", True, "patches of the decoded pictures"),
        Column("protocol"),
    ]
    rows = []
    for metric in dict.fromkeys(row.metric for row in content.set_rows):
        of_metric = [row for row in content.set_rows if row.metric == metric]
        values = _decimal_cells([(row.value, row.reason) for row in of_metric])
        stds = _decimal_cells([(row.std, row.reason or "this distance has no spread") for row in of_metric])
        label, protocol = facts[metric].label, facts[metric].protocol
        for row, value, std in zip(of_metric, values, stds, strict=True):
            counts = (Cell(str(count), count) for count in (row.n_real, row.n_fake))
            tail = Cell(protocol.key, protocol.key, protocol.description)
            rows.append([_text(label), _text(row.codec), _text(row.setting), value, std, *counts, tail])
    return Table("set-metrics", "Distances between the decoded pictures and the originals, as sets", columns, rows)


def bd_table(content: ReportContent) -> Table:
    """The BD-rates with anchor, method and interval, or why there is none."""
    labels = {fact.name: fact.label for fact in content.metrics}
    columns = [
        Column("metric"),
        Column("codec"),
        Column("anchor"),
        Column("BD-rate (%)", True, "bytes for the same quality against the anchor; negative: fewer"),
        Column("from", True, "interval of the metric that the average runs over; MS-SSIM in dB"),
        Column("to", True, "interval of the metric that the average runs over; MS-SSIM in dB"),
        Column("method", title="interpolation of log rate over the metric"),
        Column("why there is none"),
    ]
    rows = []
    for row in content.bd_rates:
        reason = row.reason or ""
        percent = Cell(ABSENT, None, reason) if row.percent is None else _percent(row.percent)
        interval = (
            Cell(ABSENT, None, reason) if end is None else Cell(f"{end:.4g}", end) for end in (row.low, row.high)
        )
        names = (_text(labels.get(row.metric, row.metric)), _text(row.codec), _text(row.anchor))
        rows.append([*names, percent, *interval, _text(row.method), _text(reason)])
    if not any(row.reason for row in content.bd_rates):
        columns, rows = columns[:-1], [cells[:-1] for cells in rows]
    return Table("bd-rates", f"Bjøntegaard delta rates on {content.dataset}", columns, rows)


def _percent(value: float) -> Cell:
    return Cell(f"{value:+.1f}".replace("-", "−"), value, repr(value))


def protocols_table(content: ReportContent) -> Table:
    """How every number came about."""
    rows = [[_text("bpp"), _text("lower"), _text(BPP_PROTOCOL.key), _text(BPP_PROTOCOL.description)]]
    for fact in content.metrics:
        better = "higher" if fact.higher_is_better else "lower"
        rows.append([_text(text) for text in (fact.label, better, fact.protocol.key, fact.protocol.description)])
    columns = [Column("metric"), Column("better"), Column("protocol"), Column("how it is measured")]
    return Table("protocols", "Numbers are comparable only where their protocols are the same", columns, rows)


class AbsentNumbers(NamedTuple):
    """Cells of the tables that share a reason for having no number."""

    metric: str
    reason: str
    settings: int


def absent_numbers(rows: Sequence[TableRow], set_rows: Sequence[SetRow], labels: dict[str, str]) -> list[AbsentNumbers]:
    """Why cells of the tables have no number, for readers without a pointer to hold over them."""
    found = {(row.codec, row.setting, metric, value.reason) for row in rows for metric, value in row.values.items()}
    found |= {(row.codec, row.setting, row.metric, row.reason) for row in set_rows}
    counts = Counter((metric, reason) for _, _, metric, reason in found if reason is not None)
    return [
        AbsentNumbers(labels.get(metric, metric), reason, count) for (metric, reason), count in sorted(counts.items())
    ]


def _text(text: str) -> Cell:
    return Cell(text, text)


def _decimal_cells(values: Iterable[tuple[float | None, str | None]], digits: int = 4) -> list[Cell]:
    """Numbers of one column, or why they are absent.

    All have as many decimals as leave the largest of them so many digits; the titles have all digits.
    """
    pairs = list(values)
    largest = max((abs(value) for value, _ in pairs if value is not None), default=0.0)
    decimals = min(6, max(0, digits - 1 - math.floor(math.log10(largest)))) if largest > 0 else 0
    return [
        Cell(ABSENT, None, reason or "") if value is None else Cell(f"{value:.{decimals}f}", value, repr(value))
        for value, reason in pairs
    ]
