"""The history of a fine-tuning, one picture for each quantity."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from dcase_asd.metrics.ranking import Floats
from dcase_asd.reports.figures.style import ANOMALY, NORMAL, light_grid, new_figure

POINTS = 400
"""Points of a line at most; more cannot be told apart."""
WINDOW = 25
"""Points that the smooth line averages over."""


def history_figure(steps: Floats, values: Floats, label: str, *, smooth: bool = True) -> Figure:
    """A quantity over the steps, with a smooth line where it is noisy.

    Args:
        steps: Of the entries, (n,), ascending.
        values: (n,).
        label: What is on the vertical axis, with its unit.
        smooth: Whether to draw the noisy values faintly and their mean over a window boldly.
    """
    figure = _framed(label)
    axes = figure.axes[0]
    x, y = thinned(steps), thinned(values)
    if smooth and len(x) > WINDOW:
        axes.plot(x, y, color=NORMAL, linewidth=0.8, alpha=0.35)
        axes.plot(x, smoothed(y), color=NORMAL)
    else:
        axes.plot(x, y, color=NORMAL, marker="o" if len(x) == 1 else "")
    return figure


def checkpoints_figure(steps: Floats, scores: Floats, chosen: set[int]) -> Figure:
    """Official dev scores, (n,) in [0, 1], of checkpoints; those that are scored are ringed."""
    figure = _framed("dev score, %")
    axes = figure.axes[0]
    axes.plot(steps, 100 * scores, color=NORMAL, marker="o", markersize=4)
    ringed = np.isin(steps, list(chosen))
    axes.plot(
        steps[ringed], 100 * scores[ringed], "o", markersize=9, markerfacecolor="none",
        markeredgecolor=ANOMALY, markeredgewidth=1.6, label="scored checkpoints",
    )  # fmt: skip
    if ringed.any():
        axes.legend(loc="best", borderaxespad=0.3, handletextpad=0.2)
    axes.margins(y=0.15)
    return figure


def thinned(values: Floats) -> Floats:
    """At most `POINTS` values: each the mean of as many neighbors as there are too many."""
    each = -(-len(values) // POINTS)
    starts = np.arange(0, len(values), each)
    means: Floats = np.add.reduceat(values, starts) / np.diff(np.append(starts, len(values)))
    return means


def smoothed(values: Floats) -> Floats:
    """Mean over a window around each value; shorter at the ends."""
    total = np.concatenate(([0.0], np.cumsum(values)))
    middle = np.arange(len(values))
    first = np.maximum(middle - WINDOW // 2, 0)
    last = np.minimum(middle + WINDOW // 2 + 1, len(values))
    means: Floats = (total[last] - total[first]) / (last - first)
    return means


def _framed(label: str) -> Figure:
    figure = new_figure(2.2, left=0.74, top=0.28, bottom=0.46)
    axes = figure.subplots()
    light_grid(axes)
    axes.set_xlabel("step")
    # Above, not beside the axis: small learning rates have long numbers there.
    axes.set_title(label)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
    axes.locator_params(axis="x", nbins=5, integer=True)
    axes.locator_params(axis="y", nbins=5)
    return figure
