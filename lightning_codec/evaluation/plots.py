"""Rate-distortion and rate-perception plots as PNG and SVG."""

import io
import textwrap
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lightning_codec.errors import UserError
from lightning_codec.evaluation.curves import Curve
from lightning_codec.files import write_atomically
from lightning_codec.metrics.protocol import require_same_protocol

MEASURED_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Told apart by colour-blind readers: M. Okabe and K. Ito, Color Universal Design (2008), without its yellow."""
PUBLISHED_COLOURS = ("#332288", "#AA4499", "#117733", "#882255", "#999933", "#44AA99", "#CC6677", "#4477AA")
"""P. Tol, Colour Schemes (2021): "muted" without its two light colours, and the blue of "bright"."""
MARKERS = "os^Dv<>p"
NAMED_PUBLISHED = len(PUBLISHED_COLOURS)
"""Published curves beyond so many are thin grey lines without a name."""

METADATA = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}
"""By ending: what matplotlib would write of itself and of the time."""

_WIDTH, _PLOT_HEIGHT, _LEGEND_ROW, _NOTE_ROW = 8.4, 4.6, 0.215, 0.16  # inches
_LEGEND_CHARACTERS, _NOTE_CHARACTERS, _LABEL_CHARACTERS = 110, 138, 50  # that fit in a row


class _Window(NamedTuple):
    """What the axes show."""

    left: float
    right: float
    bottom: float
    top: float

    def has_points_of(self, curve: Curve) -> bool:
        return any(self.left <= p.bpp <= self.right and self.bottom <= p.value <= self.top for p in curve.points)


def draw_curves(
    curves: Sequence[Curve],
    metric_label: str,
    higher_is_better: bool,
    folder: Path,
    stem: str,
    codecs: Sequence[str] | None = None,
) -> None:
    """Draw curves of one set by one metric to `folder/stem.png` and `folder/stem.svg`.

    The same curves give the same bytes.

    Args:
        curves: as the other arguments that are not named here, and the errors, those of `curves_figure`.
        folder: made if needed.
        stem: file name without its ending.
    """
    figure = curves_figure(curves, metric_label, higher_is_better, codecs)
    for ending in METADATA:
        save_figure(figure, folder / f"{stem}.{ending}")


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure to a .png or .svg file; the same one gives the same bytes.

    Raises:
        UserError: another ending.
        OSError: it cannot be written.
    """
    ending = path.suffix.removeprefix(".")
    if ending not in METADATA:
        raise UserError(f"{path}: a picture is written as {' or '.join(f'.{known}' for known in METADATA)}")
    data = io.BytesIO()
    with plot_style():
        figure.savefig(data, format=ending, dpi=150, metadata=METADATA[ending])
    write_atomically(path, data.getvalue())


def curves_figure(
    curves: Sequence[Curve], metric_label: str, higher_is_better: bool, codecs: Sequence[str] | None = None
) -> Figure:
    """Curves of one set by one metric over the rate, with legend and sources below.

    Measured curves are solid and decide on the axes; published ones are dashed, and those that have no point within
    the axes are left out.

    Args:
        curves: measured and published ones.
        metric_label: its name for people, with its unit.
        higher_is_better: direction of the metric.
        codecs: all codecs of the evaluation: each keeps its colour where a plot lacks some of them.

    Raises:
        ValueError: no curves, or curves of several sets or metrics.
        UserError: measured curves of unlike protocols.
    """
    if len({(curve.dataset, curve.metric) for curve in curves}) != 1:
        raise ValueError("a plot needs curves of one set and one metric")
    measured = [curve for curve in curves if not curve.source]
    for curve in measured[1:]:
        require_same_protocol(curve.metric, measured[0].protocol, curve.protocol)
    window = _window(measured or curves)
    published = [curve for curve in curves if curve.source and window.has_points_of(curve)]
    sources = list(dict.fromkeys(curve.source for curve in published[:NAMED_PUBLISHED]))
    with plot_style():
        figure = Figure()
        axes = figure.subplots()
        handles = _draw_measured(axes, measured, codecs or [curve.codec for curve in measured])
        handles += _draw_published(axes, published, sources)
        axes.set_xlim(window.left, window.right)
        axes.set_ylim(window.bottom, window.top)
        axes.set_xlabel("rate (bits per pixel)")
        better = f"{metric_label}, {'higher' if higher_is_better else 'lower'} is better"
        axes.set_ylabel(textwrap.fill(better, _LABEL_CHARACTERS))
        axes.set_title(curves[0].dataset, fontsize=11)
        _lay_out(figure, axes, handles, _notes(sources))
    return figure


def plot_style() -> AbstractContextManager[None]:
    """A context in which all plots of the package are made: the same look, and the same bytes for the same content."""
    return rc_context(
        {
            "svg.hashsalt": "lightning_codec",  # else the ids in an SVG are random
            "text.parse_math": False,  # names of codecs may have a dollar sign
            "font.size": 11,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.color": "#dddddd",
            "grid.linewidth": 0.7,
        }
    )


def _window(curves: Sequence[Curve]) -> _Window:
    """The axes from zero rate that hold all points of these curves."""
    points = [point for curve in curves for point in curve.points]
    low, high = min(point.value for point in points), max(point.value for point in points)
    margin = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    return _Window(0.0, 1.05 * max(point.bpp for point in points), low - margin, high + margin)


def _draw_measured(axes: Axes, curves: Sequence[Curve], codecs: Sequence[str]) -> list[Line2D]:
    order = list(dict.fromkeys([*codecs, *(curve.codec for curve in curves)]))
    handles = []
    for curve in curves:
        index = order.index(curve.codec)
        handles += axes.plot(
            [point.bpp for point in curve.points],
            [point.value for point in curve.points],
            # 7 colours and 8 markers: no two of 56 codecs look alike.
            color=MEASURED_COLOURS[index % len(MEASURED_COLOURS)],
            marker=MARKERS[index % len(MARKERS)],
            markersize=6,
            linewidth=2,
            zorder=3,
            label=curve.codec,
        )
    return handles


def _draw_published(axes: Axes, curves: Sequence[Curve], sources: Sequence[str]) -> list[Line2D]:
    """Draw published curves under the measured ones; returns the entries of the legend."""
    handles = []
    for index, curve in enumerate(curves):
        is_named = index < NAMED_PUBLISHED
        lines = axes.plot(
            [point.bpp for point in curve.points],
            [point.value for point in curve.points],
            color=PUBLISHED_COLOURS[index] if is_named else "#bbbbbb",
            marker=MARKERS[index % len(MARKERS)] if is_named else None,
            markersize=4,
            markerfacecolor="white",
            linewidth=1.3 if is_named else 0.7,
            linestyle="--",
            zorder=2.5 if is_named else 2.1,
            label=f"{curve.codec} [{sources.index(curve.source) + 1}]" if is_named else "",
        )
        handles += lines if is_named else []
    if len(curves) > NAMED_PUBLISHED:
        label = f"{len(curves) - NAMED_PUBLISHED} more published"
        handles.append(Line2D([], [], color="#bbbbbb", linewidth=0.7, linestyle="--", label=label))
    return handles


def _notes(sources: Sequence[str]) -> list[str]:
    if not sources:
        return []
    notes = ["Dashed: published figures, which may follow other protocols."]
    notes += [f"[{number}] {source}" for number, source in enumerate(sources, 1)]
    return [line for note in notes for line in textwrap.wrap(note, _NOTE_CHARACTERS, subsequent_indent="      ")]


def _lay_out(figure: Figure, axes: Axes, handles: Sequence[Line2D], notes: Sequence[str]) -> None:
    """Legend and notes below the axes, in a figure as high as they need."""
    labels = [str(handle.get_label()) for handle in handles]
    columns = max(1, min(4, len(labels), _LEGEND_CHARACTERS // (max(map(len, labels)) + 8)))
    rows = -(-len(labels) // columns)
    below = 0.7 + rows * _LEGEND_ROW + len(notes) * _NOTE_ROW
    height = _PLOT_HEIGHT + below
    figure.set_size_inches(_WIDTH, height)
    bottom, share = below / height, (_PLOT_HEIGHT - 0.35) / height
    axes.set_position((0.1, bottom, 0.88, share))
    left = 0.115 - figure.get_tightbbox().x0 / _WIDTH  # beside the label and the numbers of the axis
    axes.set_position((left, bottom, 0.98 - left, share))
    notes_height = len(notes) * _NOTE_ROW / height
    figure.legend(
        handles,
        labels,
        loc="lower center",
        bbox_to_anchor=(0.5, notes_height),
        ncols=columns,
        frameon=False,
        fontsize=9.5,
    )
    figure.text(0.02, 0.06 / height, "\n".join(notes), fontsize=7.5, color="#444444", va="bottom", linespacing=1.3)
