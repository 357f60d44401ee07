"""Area under the ROC curve, for many curves at once.

The official evaluators call scikit-learn's `roc_auc_score`. The same points are used here and the
same sums taken in the same order, so that results agree to the last bit, but the steps before the
last sum are done for all curves together.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Integers: TypeAlias = NDArray[np.intp]
Booleans: TypeAlias = NDArray[np.bool_]

MAXIMUM_FALSE_ALARM_RATE = 0.1
"""End of the range of false-alarm rates that the partial AUC is taken over, in every year."""

FLOOR = float(np.finfo(np.float64).eps)
"""Smallest value that enters a harmonic mean, as in the official evaluators."""


def auc_and_pauc(
    scores: Floats, anomalous: Booleans, curves: Integers | None = None
) -> tuple[Floats, Floats]:
    """AUC and standardized partial AUC of every curve.

    Args:
        scores: Anomaly scores, (n,), finite. A clip that counts for several curves stands several
            times.
        anomalous: Whether each clip is anomalous, (n,).
        curves: The curve that each entry belongs to, (n,): 0, 1, … without a gap; one curve for
            all where it is left out. Each curve needs a normal and an anomalous clip.

    Returns:
        AUC in [0, 1] and pAUC in [0, 1], (number of curves,) each. The pAUC covers false-alarm
        rates up to `MAXIMUM_FALSE_ALARM_RATE` and is standardized to 0.5 at chance (D. K. McClish,
        "Analyzing a portion of the ROC curve", Medical Decision Making 9(3), 1989).
    """
    false_rate, true_rate, starts = _corners(
        scores, anomalous, np.zeros(len(scores), dtype=np.intp) if curves is None else curves
    )
    ends = np.append(starts[1:], len(false_rate))
    before_false, before_true = _before(false_rate, starts), _before(true_rate, starts)
    trapezoids = (false_rate - before_false) * (true_rate + before_true) / 2.0
    # A sum over each slice, not `np.add.reduceat`: numpy sums long slices pairwise, and so does
    # the reference.
    auc = _sums(trapezoids, starts, ends)

    limit = MAXIMUM_FALSE_ALARM_RATE
    crossing = starts + np.add.reduceat(false_rate <= limit, starts, dtype=np.intp)
    x0, x1 = before_false[crossing], false_rate[crossing]
    y0, y1 = before_true[crossing], true_rate[crossing]
    at_limit = (y1 - y0) / (x1 - x0) * (limit - x0) + y0
    trapezoids[crossing] = (limit - x0) * (at_limit + y0) / 2.0
    return auc, mcclish(_sums(trapezoids, starts, crossing + 1))


def mcclish(partial_area: Floats) -> Floats:
    """McClish's standardization of the area up to `MAXIMUM_FALSE_ALARM_RATE`: 0.5 is chance."""
    smallest = 0.5 * MAXIMUM_FALSE_ALARM_RATE**2
    standard: Floats = 0.5 * (1 + (partial_area - smallest) / (MAXIMUM_FALSE_ALARM_RATE - smallest))
    return standard


def harmonic_mean(values: Floats | list[float]) -> float:
    """Harmonic mean of values in [0, 1], each raised to at least `FLOOR`."""
    return float(1.0 / (np.add.reduce(1.0 / np.maximum(values, FLOOR)) / len(values)))


def harmonic_means(table: Floats) -> Floats:
    """Harmonic mean of each column, as `harmonic_mean`; (rows, columns) -> (columns,)."""
    means: Floats = 1.0 / np.mean(1.0 / np.maximum(table, FLOOR), axis=0)
    return means


def _corners(
    scores: Floats, anomalous: Booleans, curves: Integers
) -> tuple[Floats, Floats, Integers]:
    """Corners of all ROC curves: false-alarm and detection rate, and where each curve starts.

    The origin of each curve is left out; equal scores share a point; points on a straight line
    between their neighbors are dropped, as the reference does.
    """
    order = np.lexsort((-scores, curves))
    curve, score = curves[order], scores[order]
    last = np.ones(len(order), dtype=np.bool_)
    last[:-1] = (score[1:] != score[:-1]) | (curve[1:] != curve[:-1])
    point = np.flatnonzero(last)
    curve = curve[point]
    detected = np.cumsum(anomalous[order])[point]
    alarms = point + 1 - detected

    starts = _starts(curve)
    ends = np.append(starts[1:], len(curve)) - 1
    totals = np.stack((detected[ends], alarms[ends]))
    offsets = np.zeros_like(totals)
    offsets[:, 1:] = totals[:, :-1]
    detected = detected - offsets[0, curve]
    alarms = alarms - offsets[1, curve]
    positives, negatives = totals - offsets

    corner = np.ones(len(curve), dtype=np.bool_)
    corner[1:-1] = (np.diff(alarms, 2) != 0) | (np.diff(detected, 2) != 0)
    corner[starts] = corner[ends] = True
    curve = curve[corner]
    return (alarms[corner] / negatives[curve], detected[corner] / positives[curve], _starts(curve))


def _starts(curve: Integers) -> Integers:
    """Where each run of equal numbers begins."""
    return np.flatnonzero(np.diff(curve, prepend=-1))


def _before(values: Floats, starts: Integers) -> Floats:
    """Each value's predecessor on its curve, 0 at the start."""
    before = np.empty_like(values)
    before[1:] = values[:-1]
    before[starts] = 0.0
    return before


def _sums(values: Floats, starts: Integers, ends: Integers) -> Floats:
    pairs = zip(starts.tolist(), ends.tolist(), strict=True)
    return np.array([np.add.reduce(values[start:end]) for start, end in pairs])
