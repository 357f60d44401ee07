"""Pictures with one line for each name: weights of a fusion, official scores, shifts of scores."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dcase_asd.metrics.ranking import Floats
from dcase_asd.reports.figures.style import (
    ANOMALY,
    INK,
    MUTED,
    NORMAL,
    SOURCE,
    TARGET,
    TEST,
    TRAIN,
    light_grid,
    new_figure,
    room_for,
    shortened,
)

LINE = 0.24
"""Inches from one name to the next."""
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
FARTHEST = 12.0
"""Standard deviations that the picture of shifts shows at most."""


@dataclass(frozen=True)
class Standing:
    """One line of a comparison.

    Attributes:
        name: Whose score.
        score: In [0, 1].
        kind: How it is marked, one of `MARKS`.
        interval: Both ends of the score's interval; None where it is not known.
    """

    name: str
    score: float
    kind: str = "single"
    interval: tuple[float, float] | None = None


MARKS = {"single": ("o", MUTED), "mean": ("D", NORMAL), "fitted": ("s", ANOMALY), "out": ("v", INK)}
"""Kind of a standing -> marker and color."""


def weights_figure(
    systems: Sequence[str], weights: Floats, spread: tuple[Floats, Floats] | None
) -> Figure:
    """Bars for the weights of a fusion, (systems,), with their intervals as thin lines.

    The spread is the lower and the upper end of each interval, (systems,) each.
    """
    figure, axes = _lines(systems)
    y = np.arange(len(systems))
    axes.barh(y, 100 * weights, height=0.6, color=NORMAL, alpha=0.75)
    reach = weights
    if spread is not None:
        lower, upper = spread
        axes.hlines(y, 100 * lower, 100 * upper, color=INK, linewidth=1.2)
        for ends in spread:
            axes.plot(100 * ends, y, "|", color=INK, markersize=6)
        reach = np.maximum(weights, upper)
    axes.set_xlim(0, max(5.0, 104 * float(reach.max())))
    axes.set_xlabel("weight, %")
    return figure


def standings_figure(
    standings: Sequence[Standing], word: str = "official score", begin: float | None = None
) -> Figure:
    """Points for scores, called by a word, of single systems and of what they make together.

    The score is written beside each point and its interval; the axis begins as `axis_begin` says.
    """
    figure, axes = _lines([each.name for each in standings])
    reach = [each.interval or (each.score, each.score) for each in standings]
    _score_axis(axes, axis_begin(min(map(min, reach))) if begin is None else begin)
    middle = sum(axes.get_xlim()) / 2
    for number, (each, ends) in enumerate(zip(standings, reach, strict=True)):
        marker, color = MARKS[each.kind]
        if each.interval is not None:
            axes.plot([100 * end for end in ends], [number] * 2, color=INK, linewidth=1.2)
        axes.plot(100 * each.score, number, marker, color=color, markersize=6)
        left = 100 * each.score > middle
        beside, at = ("right", 100 * ends[0]) if left else ("left", 100 * ends[1])
        axes.annotate(
            f"{100 * each.score:.1f}", (at, number), xytext=(-6 if left else 6, 0), ha=beside,
            textcoords="offset points", va="center_baseline",
        )  # fmt: skip
    axes.set_xlabel(f"{word}, %")
    return figure


def axis_begin(lowest: float) -> float:
    """Where axes of scores begin, in percent, so that pictures of a page can be compared.

    At chance, or at the full ten below the lowest value in [0, 1]; all of them end at 100.
    """
    return min(50.0, 10.0 * math.floor(10.0 * lowest))


def _score_axis(axes: Axes, begin: float) -> None:
    """A horizontal axis of percent, with a line at chance."""
    axes.set_xlim(begin - 1, 101)
    axes.axvline(50, color=MUTED, linewidth=0.9, linestyle=":")


def results_figure(
    machines: Sequence[str], results: Mapping[str, Floats], begin: float | None = None
) -> Figure:
    """Points for the official values of machine types.

    Args:
        machines: Machine types.
        results: Name of a metric as the table calls it -> values in [0, 1], (machines,); NaN where
            one is not defined.
        begin: Where the axis begins, in percent; None leaves that to `axis_begin`.
    """
    figure, axes = _lines(machines, line=0.3, top=0.32)
    if begin is None:
        begin = axis_begin(min(float(np.nanmin(values)) for values in results.values()))
    _score_axis(axes, begin)
    for metric, values in results.items():
        marker, color, size = METRIC_MARKS[metric]
        axes.plot(
            100 * values, range(len(machines)), marker, color=color, markersize=size, alpha=0.9,
            markeredgewidth=2.2 if marker == "|" else 0.0, linestyle="", label=metric,
        )  # fmt: skip
    axes.set_xlabel("percent")
    figure.legend(
        loc="upper left", ncols=5, borderaxespad=0.2, handlelength=0.8, handletextpad=0.3,
        columnspacing=0.9,
    )  # fmt: skip
    return figure


METRIC_MARKS = {
    "AUC": ("o", SOURCE, 6),
    "AUC_s": ("o", SOURCE, 6),
    "AUC_t": ("D", TARGET, 5.5),
    "pAUC": ("^", NORMAL, 6.5),
    "pAUC_s": ("^", SOURCE, 6.5),
    "pAUC_t": ("v", TARGET, 6.5),
    "mean": ("|", INK, 13),
    "hmean": ("|", INK, 13),
}
"""Metric -> marker, color and size in points."""


def shift_figure(names: Sequence[str], train: Sequence[Floats], test: Sequence[Floats]) -> Figure:
    """Where test scores lie beside leave-one-out train scores, standardized by the train scores.

    Args:
        names: Of machines, perhaps with their sections.
        train: Standardized scores of each one's train clips.
        test: Standardized scores of each one's test clips.
    """
    figure, axes = _lines(names, line=0.36, top=0.3)
    reach = [0.0]
    for number, pair in enumerate(zip(train, test, strict=True)):
        for offset, scores, color in zip((-0.16, 0.16), pair, (TRAIN, TEST), strict=True):
            at = np.clip(np.quantile(scores, QUANTILES), -FARTHEST, FARTHEST)
            y = number + offset
            axes.hlines(y, at[0], at[-1], color=color, linewidth=1.1)
            axes.hlines(y, at[1], at[-2], color=color, linewidth=5.5, alpha=0.6)
            axes.plot(at[2], y, "|", color=INK, markersize=7, markeredgewidth=1.6)
            reach.extend(at.tolist())
    axes.axvline(0, color=MUTED, linewidth=0.8, zorder=0)
    # Few different ranges, so that pictures of several stages and systems can be compared.
    low, high = (
        next(end for end in (FARTHEST / 4, FARTHEST / 2, FARTHEST) if end >= far)
        for far in (-min(reach), max(reach))
    )
    axes.set_xlim(-low - 0.3, high + 0.3)
    axes.set_xlabel("score, standard deviations of train clips", loc="right")
    figure.legend(
        handles=[
            Line2D([], [], color=TRAIN, linewidth=5.5, alpha=0.6, label="train, leave-one-out"),
            Line2D([], [], color=TEST, linewidth=5.5, alpha=0.6, label="test"),
        ],
        loc="upper left",
        ncols=2,
        borderaxespad=0.2,
        handlelength=1.3,
    )
    return figure


def _lines(names: Sequence[str], line: float = LINE, top: float = 0.1) -> tuple[Figure, Axes]:
    """A figure with a line for each name, the first on top."""
    labels = [shortened(name, 20) for name in names]
    figure = new_figure(
        top + 0.48 + line * len(labels), left=room_for(labels), top=top, bottom=0.48
    )
    axes = figure.subplots()
    light_grid(axes, "x")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.locator_params(axis="x", nbins=5)
    return figure, axes
