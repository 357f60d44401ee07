"""Tables of numbers as colored squares: how alike systems are, and how far scores have moved."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from dcase_asd.metrics.ranking import Floats
from dcase_asd.reports.figures.style import (
    INK,
    MUTED,
    NORMAL,
    WIDTH,
    new_figure,
    room_for,
    shortened,
)

SQUARE, LARGEST_SQUARE = 0.33, 0.6
"""Smallest width of a square in inches, in which four digits have room, and the largest."""
LARGEST_ROW = 0.36
MARGIN = 0.12
NONE = "\N{EN DASH}"
"""Stands where there is no value."""
FAINTEST, STRONGEST = 0.05, 0.5
"""Opacity of squares: ink keeps a contrast of 4.5 to all of them, on light paper and on dark."""


def heat_map(
    rows: Sequence[str],
    columns: Sequence[str],
    values: Floats,
    text: Callable[[float], str],
    span: tuple[float, float],
) -> Figure:
    """Draw a square for each value, with the value in it.

    Columns have numbers and are told in the rows' labels where both are the same; otherwise their
    names stand upright. Many columns make the figure wider than a telephone.

    Args:
        rows: Labels of the rows.
        columns: Labels of the columns.
        values: (rows, columns); NaN where there is none.
        text: How a value is written, in at most four letters.
        span: Values without color and in full color.
    """
    same = list(rows) == list(columns)
    numbers = [str(number) for number in range(1, len(columns) + 1)]
    labels = [shortened(name, 16) for name in rows]
    if same:
        labels = [f"{name}  {number}" for name, number in zip(labels, numbers, strict=True)]
    heads = numbers if same else [shortened(name, 16) for name in columns]
    left = room_for(labels)
    top = 0.3 if same else room_for(heads)
    square = float(np.clip((WIDTH - left - MARGIN) / len(columns), SQUARE, LARGEST_SQUARE))
    used = left + square * len(columns)
    width = max(WIDTH, used + MARGIN)
    height = top + MARGIN + min(square, LARGEST_ROW) * len(rows)
    figure = new_figure(height, width=width, left=left, top=top, bottom=MARGIN)
    figure.subplots_adjust(right=used / width)
    axes = figure.subplots()
    axes.set(xlim=(0, len(columns)), ylim=(len(rows), 0))
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(length=0)
    axes.xaxis.tick_top()
    axes.set_xticks(np.arange(len(columns)) + 0.5, heads, rotation=0 if same else 90)
    axes.set_yticks(np.arange(len(rows)) + 0.5, labels)
    for (y, x), value in np.ndenumerate(values):
        if np.isnan(value):
            axes.text(x + 0.5, y + 0.5, NONE, ha="center", va="center", color=MUTED)
            continue
        share = float(np.clip((value - span[0]) / (span[1] - span[0]), 0.0, 1.0))
        opacity = FAINTEST + (STRONGEST - FAINTEST) * share
        fill = Rectangle((x + 0.03, y + 0.03), 0.94, 0.94, facecolor=(NORMAL, opacity), linewidth=0)
        axes.add_patch(fill)
        axes.text(x + 0.5, y + 0.5, text(value), ha="center", va="center", color=INK)
    return figure
