"""ROC curves with the region that the partial area is taken over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from dcase_asd.metrics.ranking import MAXIMUM_FALSE_ALARM_RATE
from dcase_asd.metrics.roc import RocCurve
from dcase_asd.reports.figures.style import GRID, INK, MUTED, SOURCE, TARGET, light_grid, new_figure

LINES = {"source": (SOURCE, "-", 1.5), "target": (TARGET, (0, (5, 1.5)), 1.5), "": (INK, "-", 1.1)}
"""Domain of a curve -> color, dashes and width; a curve of all clips has no domain."""


def roc_figure(
    curves: Sequence[RocCurve], labels: Mapping[str, str], partial: frozenset[str]
) -> Figure:
    """Draw the curves of one section.

    Args:
        curves: Of one machine and section.
        labels: Domain -> what the legend says of its curve.
        partial: Domains whose curves the partial AUC is taken of; shaded below.
    """
    limit = 100 * MAXIMUM_FALSE_ALARM_RATE
    figure = new_figure(3.19, left=0.56, top=0.12, bottom=0.46)
    axes = figure.subplots()
    light_grid(axes, "both")
    axes.axvspan(0, limit, color=GRID, alpha=0.7, linewidth=0)
    axes.plot([0, 100], [0, 100], color=MUTED, linewidth=0.9, linestyle=":")
    for curve in sorted(curves, key=lambda each: list(LINES).index(each.domain)):
        color, dashes, width = LINES[curve.domain]
        x, y = 100 * curve.false_alarm_rate, 100 * curve.detection_rate
        if curve.domain in partial:
            inside = x <= limit
            at_limit = np.interp(limit, x, y)
            axes.fill_between(
                [*x[inside], limit], [*y[inside], at_limit], color=color, alpha=0.25, linewidth=0
            )
        axes.plot(x, y, color=color, linestyle=dashes, linewidth=width, label=labels[curve.domain])
    axes.set(xlim=(-1, 101), ylim=(-1, 101))
    axes.set_xlabel("false-alarm rate, %")
    axes.set_ylabel("detection rate, %")
    ticks = [0, limit, 25, 50, 75, 100]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_yticks([0, 25, 50, 75, 100])
    axes.legend(loc="lower right", borderaxespad=0.3, handlelength=1.9, handletextpad=0.5)
    return figure
