"""How far the attention of an entropy model looks: its Laplacian position biases, as a table and as a picture."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

from lightning_codec.entropy.position_bias import EPSILON, LaplacianBias
from lightning_codec.errors import UserError
from lightning_codec.evaluation.plots import MARKERS, MEASURED_COLOURS, plot_style
from lightning_codec.model import CompressionModel


class Field(NamedTuple):
    """The position bias A^2 exp(-d / (2 B^2)) of one head, d the Manhattan distance in latent sites."""

    group: int
    """of channels, from 1, in coding order"""
    channels: int
    """of the group"""
    layer: int
    """of the group's attention, from 1; odd ones have plain windows, even ones shifted windows"""
    head: int
    """from 1"""
    amplitude: float
    """A^2, in units of a logit: a site of no distance has exp(A^2) times the weight of one far away"""
    squared_width: float
    """B^2, in latent sites"""

    @property
    def half_distance(self) -> float:
        """Where half of the bias is left, 2 ln 2 B^2, in latent sites of 16 pixels."""
        return 2.0 * math.log(2.0) * self.squared_width


def learned_fields(model: CompressionModel) -> list[Field]:
    """The position biases of all heads, in coding order.

    Raises:
        UserError: the network has no Laplacian position bias.
    """
    fields = []
    for index, (group, channels) in enumerate(zip(model.entropy.groups, model.entropy.widths, strict=True)):
        # A shared one is met again in every layer.
        modules = group.named_modules(remove_duplicate=False)
        biases = [module for _, module in modules if isinstance(module, LaplacianBias)]
        for layer, bias in enumerate(biases):
            squares = zip((bias.amplitude**2).tolist(), (bias.width**2 + EPSILON).tolist(), strict=True)
            fields += [Field(index + 1, channels, layer + 1, head + 1, *pair) for head, pair in enumerate(squares)]
    if not fields:
        bias_kind = model.config.entropy.position_bias if model.config.entropy.global_context else "no global context"
        raise UserError(f"this model has no Laplacian position bias ({bias_kind}): there are no fields to show")
    return fields


def fields_figure(fields: Sequence[Field], window: int) -> Figure:
    """Left: half distance and amplitude of every head, by group. Right: bias over distance, mean of a group's heads.

    Args:
        fields: of all groups.
        window: P, the side of an attention window in sites: nothing further than 2 (P - 1) is seen.
    """
    groups = sorted({field.group for field in fields})
    distance = np.linspace(0.0, 2.0 * (window - 1), 200)
    with plot_style():
        figure = Figure(figsize=(11.0, 4.4), layout="constrained")
        heads, curves = figure.subplots(1, 2)
        for group in groups:
            mine = [field for field in fields if field.group == group]
            colour, marker = MEASURED_COLOURS[(group - 1) % len(MEASURED_COLOURS)], MARKERS[(group - 1) % len(MARKERS)]
            places = group + np.linspace(-0.3, 0.3, len(mine)) if len(mine) > 1 else [group]
            sizes = [25.0 + 60.0 * field.amplitude for field in mine]
            halves = [field.half_distance for field in mine]
            heads.scatter(places, halves, s=sizes, color=colour, marker=marker, alpha=0.75)
            bias = [field.amplitude * np.exp(-0.5 * distance / field.squared_width) for field in mine]
            label = f"group {group}: {mine[0].channels} channels, {len(mine)} heads"
            curves.plot(distance, np.mean(bias, axis=0), color=colour, label=label)
        heads.set_yscale("log")
        for set_formatter in (heads.yaxis.set_major_formatter, heads.yaxis.set_minor_formatter):
            set_formatter(StrMethodFormatter("{x:g}"))  # not powers of ten in mathematical type
        heads.set_axisbelow(True)
        heads.set_xticks(groups)
        heads.set_xlabel("channel group, in coding order")
        heads.set_ylabel("half of the bias is left at (sites)")
        heads.set_title("every head; larger marks have the larger A²", fontsize=11)
        curves.set_xlabel("Manhattan distance (sites of 16 pixels)")
        curves.set_ylabel("position bias (logits)")
        curves.set_title("mean over the heads of a group", fontsize=11)
        curves.set_ylim(bottom=0.0)
        curves.legend(frameon=False, fontsize=9)
    return figure
