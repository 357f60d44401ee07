"""Scores in the order of a log, above where those of the normal recordings lie."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from dcase_asd.metrics.ranking import Floats
from dcase_asd.reports.figures.style import ANOMALY, INK, NORMAL, TRAIN, light_grid, new_figure

MEDIAN_OF = 25
"""Recordings that the line of medians goes over."""
HIGHEST = 2.0
"""Scores above so many times the largest normal one and the largest median are at the edge."""


def drift_figure(
    scores: Floats, anomalous: Floats, normal: Floats, threshold: float, recent: int
) -> Figure:
    """Draw each recording, the running median, and the middle half of the normal scores.

    Args:
        scores: In the order of the log, (n,).
        anomalous: Which of them were called anomalous, (n,).
        normal: Leave-one-out scores of the normal recordings.
        threshold: Of the model.
        recent: How many at the end were compared.
    """
    figure = new_figure(2.8, left=0.56, top=0.62, bottom=0.46)
    axes = figure.subplots()
    light_grid(axes)
    at, odd = np.arange(1, len(scores) + 1), anomalous > 0
    size = min(MEDIAN_OF, len(scores))
    medians = np.median(np.lib.stride_tricks.sliding_window_view(scores, size), axis=1)
    top = HIGHEST * max(float(normal.max()), float(medians.max()), threshold)
    shown = np.minimum(scores, top)
    low, middle, high = np.quantile(normal, [0.25, 0.5, 0.75])
    axes.axhspan(low, high, color=TRAIN, alpha=0.3, linewidth=0, label="normal, middle half")
    axes.axhline(middle, color=TRAIN, linewidth=1.0)
    axes.plot(at[~odd], shown[~odd], ".", color=NORMAL, markersize=2.5, label="recording")
    axes.plot(at[odd], shown[odd], "x", color=ANOMALY, markersize=4, label="anomalous")
    axes.plot(at[size - 1 :], medians, color=INK, label=f"median of {size}")
    axes.axhline(threshold, color=INK, linestyle=(0, (4, 2)), linewidth=1.0)
    axes.axvline(len(scores) - recent + 0.5, color=INK, linewidth=0.8, linestyle=":")
    axes.set_ylim(top=1.03 * top)
    axes.set_xlim(0.5, len(scores) + 0.5)
    axes.set_xlabel(f"recording (compared: the last {recent})")
    axes.set_ylabel("anomaly score")
    figure.legend(
        loc="upper left", bbox_to_anchor=(0.0, 1.0), ncols=2, borderaxespad=0.2, columnspacing=0.9,
        handlelength=1.3, handletextpad=0.4, markerscale=1.5,
    )  # fmt: skip
    return figure
