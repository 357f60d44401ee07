"""Scores as shares of normal clips that lie as far out, so that those of all systems mean the same.

A score becomes -ln(1 - F), where F is the empirical distribution of the scores of normal clips of
its machine type and section: 2.3 where a tenth of them lie above, 4.6 where a hundredth does. F
itself would round to 1 far out, where anomalies still have to be told apart.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dcase_asd.scores.distances import Array
from dcase_asd.scores.standardize import Groups, SpreadError

TAIL = 0.1
"""Share of the normal clips' scores that each exponential tail is fitted to."""


def calibrated(scores: Array, groups: Groups, reference: NDArray[np.bool_]) -> Array:
    """Each score as -ln of the share of normal clips that score as high or higher.

    Of n reference scores, the one of rank r has F = r / (n + 1), the expectation of what lies below
    it (H. A. David and H. N. Nagaraja, Order Statistics, 2003, section 2.3), equal ones that of
    their mean rank; F is linear between two of them, so that no two scores become equal. Beyond the
    largest, the share that lies above decays from 1 / (n + 1) as an exponential whose mean is the
    mean excess of the upper `TAIL` of the scores, as of a peak over a threshold (J. Pickands,
    Annals of Statistics 3(1), 1975, 119-131, of shape 0); below the smallest F does alike. A
    reference score is calibrated by all others, as a new clip's is by all.

    Args:
        scores: Of each system, (systems, clips), finite.
        groups: Group of each clip, (clips,), from 0 on: its machine type and section.
        reference: Which clips are normal, (clips,): train clips with leave-one-out scores.

    Returns:
        Calibrated scores, (systems, clips), 0 or more; of a system and group in the order of
        the scores.

    Raises:
        SpreadError: Reference scores of a group are missing, or are equal but for one.
    """
    result = np.empty(scores.shape)
    for group in np.unique(groups):
        for system, of_system in enumerate(scores):
            normal, others = ((groups == group) & each for each in (reference, ~reference))
            try:
                result[system, normal] = _leave_one_out(of_system[normal])
                result[system, others] = _surprise(of_system[others], np.sort(of_system[normal]))
            except ValueError as error:
                raise SpreadError(system, int(group)) from error
    return result


def calibrated_union(scores: Array, groups: Groups, reference: NDArray[np.bool_]) -> Array:
    """One system of several: how far out a clip is by the system that finds it farthest out.

    The largest of several calibrated scores is large more often than each of them, by how much the
    systems agree; it is calibrated once more, so that again exp(-score) is the share of normal
    clips that score as high. Arguments are those of `calibrated`.

    Returns:
        Scores, (clips,), 0 or more.

    Raises:
        SpreadError: As `calibrated`.
    """
    largest = calibrated(scores, groups, reference).max(axis=0)
    union: Array = calibrated(largest[None], groups, reference)[0]
    return union


def _surprise(scores: Array, normal: Array) -> Array:
    """-ln(1 - F) of scores, (m,), by the sorted scores of normal clips, (n,).

    Raises:
        ValueError: The normal clips' scores are equal or none.
    """
    if not normal.size or normal[0] == normal[-1]:
        raise ValueError("equal scores of normal clips tell no scale")
    values, counts = np.unique(normal, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2
    share = ranks / (normal.size + 1)
    below, above = (np.maximum(each, 0) for each in (values[0] - scores, scores - values[-1]))
    inside = np.interp(scores, values, share) * np.exp(-below / _mean_excess(-normal[::-1]))
    # log1p keeps what is close to 0 apart; above adds to the logarithm, which never saturates.
    surprise: Array = -np.log1p(-inside) + above / _mean_excess(normal)
    return surprise


def _leave_one_out(normal: Array) -> Array:
    """`_surprise` of each normal clip's score, (n,), by those of all others.

    Raises:
        ValueError: The others' scores are equal or none.
    """
    values, place, counts = np.unique(normal, return_inverse=True, return_counts=True)
    if len(values) < 2:  # noqa: PLR2004 - others
        raise ValueError("equal scores of normal clips tell no scale")
    ranks = np.cumsum(counts) - (counts - 1) / 2
    of_values = -np.log1p(-(ranks - 0.5) / normal.size)  # of equal scores one goes
    lower, upper, middle = values[:-2], values[2:], values[1:-1]
    within = (middle - lower) / (upper - lower)
    between = ranks[:-2] + within * (ranks[2:] - 1 - ranks[:-2])
    once = counts == 1
    of_values[1:-1] = np.where(once[1:-1], -np.log1p(-between / normal.size), of_values[1:-1])
    for end in (0, -1):
        if once[end]:
            rest = np.sort(normal[normal != values[end]])
            of_values[end] = _surprise(values[[end]], rest)[0]
    result: Array = of_values[place]
    return result


def _mean_excess(normal: Array) -> float:
    """Mean of how far the upper `TAIL` of sorted scores, not all equal, exceed the next lower."""
    count = max(1, int(np.ceil(TAIL * normal.size)))
    threshold = normal[max(normal.size - 1 - count, 0)]
    if threshold == normal[-1]:
        threshold = normal[normal < normal[-1]][-1]
    return float((normal[normal > threshold] - threshold).mean())
