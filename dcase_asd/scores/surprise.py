"""Scores as surprises: how rarely a new normal clip scores as high, by leave-one-out scores."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dcase_asd.scores.neighbors import Array
from dcase_asd.scores.standardize import Groups

TAIL = 10
"""One in so many of the normal clips, the highest, tell how fast scores beyond all become rare."""


def surprise(scores: Array, normal: Array) -> Array:
    """The negative logarithm of the share of new normal clips that score as high.

    The k-th highest of n normal clips is reached by k of n + 1 new ones (conformal prediction:
    Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World", 2005); between two of them
    the logarithm is linear. Beyond the highest, where shares would tie all anomalies, scores become
    rare as in an exponential tail whose scale is the mean excess of the highest tenth; below the
    lowest the line goes on.

    Args:
        scores: Anomaly scores, (q,).
        normal: Scores of normal clips, (n,), n >= 1, such as leave-one-out scores.

    Returns:
        Surprises in natural logarithms, (q,): 2.3 for one normal clip in ten.
    """
    ordered = np.sort(normal)
    places, below = np.unique(ordered, return_index=True)
    known = np.log((len(ordered) + 1) / (len(ordered) - below))
    tail = max(1, len(ordered) // TAIL)
    excess = ordered[-tail:] - ordered[max(len(ordered) - tail - 1, 0)]
    scale = excess.mean() or ordered.std() or 1.0
    beyond = np.maximum(scores - places[-1], 0.0) + np.minimum(scores - places[0], 0.0)
    found: Array = np.interp(scores, places, known) + beyond / scale
    return found


def union(scores: Array, groups: Groups, normal: NDArray[np.bool_]) -> Array:
    """The largest surprise of several systems, itself as a surprise: alike for every group.

    A clip is anomalous where any system finds it so. The largest of several surprises is larger
    than one for normal clips as well, so that it is calibrated once more, by its own leave-one-out
    values.

    Args:
        scores: Anomaly scores, (systems, clips).
        groups: Group of each clip, (clips,): its machine type and section.
        normal: Which clips' scores are leave-one-out scores of normal clips, (clips,).

    Returns:
        Surprises, (clips,); those of normal clips by the others of their group.
    """
    found = np.empty(scores.shape[1])
    for group in range(int(groups.max(initial=-1)) + 1):
        of_group = groups == group
        train, test = np.flatnonzero(of_group & normal), np.flatnonzero(of_group & ~normal)
        alone = [_by_others(each[train]) for each in scores]
        largest = np.max(alone, axis=0)
        found[train] = _by_others(largest)
        of_test = [surprise(each[test], each[train]) for each in scores]
        found[test] = surprise(np.max(of_test, axis=0), largest)
    return found


def _by_others(normal: Array) -> Array:
    """Surprise of each normal clip by all others; 0 for a single one, (n,) -> (n,)."""
    if len(normal) == 1:
        return np.zeros(1)
    return np.concatenate(
        [surprise(normal[[place]], np.delete(normal, place)) for place in range(len(normal))]
    )
