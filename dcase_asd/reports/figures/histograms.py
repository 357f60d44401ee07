"""Histograms of anomaly scores, test clips against train clips and threshold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from dcase_asd.metrics.ranking import Floats
from dcase_asd.reports.figures.style import (
    ANOMALY,
    INK,
    NORMAL,
    TEST,
    TRAIN,
    light_grid,
    new_figure,
)

BARS = 28
REACH = 0.75
"""Scores further out than this, in widths of the middle 96 %, are gathered in the last bar."""
LEGEND_COLUMNS = 4
"""Entries of the legend that have room in a line."""
SMALLEST_SPAN = 1e-9
"""Of an axis, as a share of its values."""
KINDS = {
    "normal": ("normal", NORMAL, ""),
    "anomaly": ("anomaly", ANOMALY, "////"),
    "": ("unlabelled", TEST, "\\\\\\\\"),
}
"""Condition of test clips -> word, color and hatching."""


@dataclass(frozen=True)
class Panel:
    """Test scores that are drawn into one pair of axes: condition -> scores; "" is unknown."""

    title: str
    scores: Mapping[str, Floats]


def score_histogram(panels: Sequence[Panel], train: Floats, threshold: float | None) -> Figure:
    """Draw panels one above the other, each with the train clips behind the test clips.

    Args:
        panels: At least one, with at least one score in all.
        train: Leave-one-out scores of the section's train clips, (n,); empty where there are none.
        threshold: Above which a clip is decided to be anomalous; None where there is none.
    """
    values = np.concatenate([train, *(part for panel in panels for part in panel.scores.values())])
    low, high = limits(values, threshold)
    beyond = int(((values < low) | (values > high)).sum())
    edges = np.linspace(low, high, BARS + 1)
    handles = _handles(panels, train, threshold)
    lines = 1 if len(handles) <= LEGEND_COLUMNS else 2
    top = 0.3 + 0.2 * lines
    height = top + 0.45 + 1.12 * len(panels)
    figure = new_figure(height, left=0.56, top=top, bottom=0.46)
    figure.subplots_adjust(hspace=0.32)
    grid = figure.subplots(len(panels), 1, sharex=True, sharey=True, squeeze=False)
    for axes, panel in zip(grid[:, 0], panels, strict=True):
        _draw(axes, panel, train, edges)
        if threshold is not None:
            axes.axvline(threshold, color=INK, linestyle=(0, (4, 2)), linewidth=1.3)
    ends = f" ({beyond} beyond the ends)" if beyond else ""
    bottom = grid[-1, 0]
    bottom.set_xlim(low, high)
    bottom.set_xlabel(f"anomaly score{ends}")
    bottom.locator_params(axis="x", nbins=5)
    figure.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(0.0, 1.0),
        ncols=-(-len(handles) // lines), borderaxespad=0.2, columnspacing=0.9, handlelength=1.3,
        handletextpad=0.4,
    )  # fmt: skip
    return figure


def limits(values: Floats, threshold: float | None) -> tuple[float, float]:
    """The ends of the axis: all scores, but for a few that lie far out."""
    low, high = float(values.min()), float(values.max())
    inner, outer = (float(each) for each in np.quantile(values, [0.02, 0.98]))
    if outer > inner:
        low = max(low, inner - REACH * (outer - inner))
        high = min(high, outer + REACH * (outer - inner))
    if threshold is not None:
        low, high = min(low, threshold), max(high, threshold)
    size = max(abs(low), abs(high))
    if high - low <= SMALLEST_SPAN * size:  # equal scores, but for rounding
        low, high = low - (size or 0.5) / 2, high + (size or 0.5) / 2
    return low, high


def _draw(axes: Axes, panel: Panel, train: Floats, edges: Floats) -> None:
    light_grid(axes)
    axes.set_title(panel.title)
    axes.set_ylabel("clips, %")
    if len(train):
        axes.stairs(_percent(train, edges), edges, color=TRAIN, fill=True, alpha=0.3)
        axes.stairs(_percent(train, edges), edges, color=TRAIN, linewidth=0.8)
    for condition, scores in panel.scores.items():
        if not len(scores):
            continue
        _, color, hatch = KINDS[condition]
        heights = _percent(scores, edges)
        axes.stairs(heights, edges, color=color, fill=True, alpha=0.3)
        axes.stairs(
            heights, edges, edgecolor=color, fill=bool(hatch), facecolor="none",
            hatch=hatch or None, linewidth=1.3,
        )  # fmt: skip
    axes.set_ylim(bottom=0)
    axes.locator_params(axis="y", nbins=4)


def _percent(scores: Floats, edges: Floats) -> Floats:
    counts, _ = np.histogram(np.clip(scores, edges[0], edges[-1]), edges)
    shares: Floats = 100.0 * counts / len(scores)
    return shares


def _handles(
    panels: Sequence[Panel], train: Floats, threshold: float | None
) -> list[Patch | Line2D]:
    handles: list[Patch | Line2D] = []
    shown = {kind for panel in panels for kind, part in panel.scores.items() if len(part)}
    for kind, (word, color, hatch) in KINDS.items():
        if kind in shown:
            handles.append(
                Patch(facecolor=(color, 0.3), edgecolor=color, hatch=hatch or None, label=word)
            )
    if len(train):
        handles.append(Patch(facecolor=(TRAIN, 0.3), edgecolor=TRAIN, label="train"))
    if threshold is not None:
        dashes = (0, (3, 1.5))
        handles.append(Line2D([], [], color=INK, linestyle=dashes, label="threshold"))
    return handles
