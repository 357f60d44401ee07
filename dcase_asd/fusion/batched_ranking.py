"""AUC and partial AUC of many weighted sums of systems, over clips that are ranked together.

A fused score is a sum over systems, and the values depend on nothing but the order of normal and
anomalous clips. So the sums are first made by one matrix product, whose rounding is bounded, and a
row of them is sorted with each clip's stratum in the two lowest bits of its score: what is left of
a sorted row is a row of strata, and counts of them are the values. Where a normal and an anomalous
clip come closer than rounding could decide, ties among them, the row is done again with care.
"""

from __future__ import annotations

from math import floor

import numpy as np
from numpy.typing import NDArray

from dcase_asd.metrics.ranking import (
    MAXIMUM_FALSE_ALARM_RATE,
    Booleans,
    Floats,
    Integers,
    mcclish,
)

ANOMALY = 0
"""Stratum of an anomalous clip; normal clips are of the strata 1, 2 or 3."""

Numbers = NDArray[np.uint8]
"""Numbers of strata."""


def values_of_rows(scores: Floats, strata: Numbers, with_auc: tuple[int, ...]) -> Floats:
    """AUC of each named stratum of normal clips, and pAUC of all of them, of each row.

    The AUC is the share of pairs of a normal and an anomalous clip in which the anomalous one has
    the higher score, a tie counting half (J. A. Hanley and B. J. McNeil, Radiology 143(1), 1982);
    so each normal clip adds the mean of the detections just before and just after its group of
    equal scores. The pAUC adds up the same means as far as the group lies within
    `MAXIMUM_FALSE_ALARM_RATE`; where the limit cuts a group, the part of its slanted line that
    lies within.

    Args:
        scores: Anomaly scores, (m, n), finite.
        strata: Stratum of each clip, (n,): `ANOMALY`, or 1 to 3 of a normal clip. Both occur.
        with_auc: Strata of normal clips whose AUC against all anomalous clips is asked for.

    Returns:
        Values in [0, 1], (m, len(with_auc) + 1), the pAUC, rescaled, last.
    """
    rows, clips = scores.shape
    normals = int(np.count_nonzero(strata != ANOMALY))
    anomalies = clips - normals
    row = np.arange(rows)[:, None]
    order = np.argsort(scores, axis=1)
    ordered = scores.ravel()[order + row * clips]
    stratum = strata[order]
    first = np.ones(scores.shape, dtype=np.bool_)
    np.not_equal(ordered[:, 1:], ordered[:, :-1], out=first[:, 1:])

    # Groups of equal scores, and the anomalous clips below each group's edges, through all rows.
    edges = np.append(np.flatnonzero(first), scores.size)
    anomalies_below = np.append(0, np.cumsum(stratum == ANOMALY))[edges]
    normals_below = edges - anomalies_below
    places = np.flatnonzero(stratum != ANOMALY).reshape(rows, normals)
    group = (np.cumsum(first) - 1)[places]
    below, up_to = anomalies_below[group], anomalies_below[group + 1]

    values = np.empty((rows, len(with_auc) + 1))
    twice = below + up_to - 2 * anomalies * row
    stratum = stratum.ravel()[places]
    for column, number in enumerate(with_auc):
        pairs = 2 * anomalies * int(np.count_nonzero(strata == number))
        values[:, column] = 1.0 - np.einsum("mn,mn->m", twice, stratum == number) / pairs

    alarms_before = normals * (row + 1) - normals_below[group + 1]
    size = normals_below[group + 1] - normals_below[group]
    share = np.clip((MAXIMUM_FALSE_ALARM_RATE * normals - alarms_before) / size, 0.0, 1.0)
    detected_before = anomalies * (row + 1) - up_to
    area = (share * (detected_before + 0.5 * share * (up_to - below))).sum(axis=1)
    values[:, -1] = mcclish(area / (normals * anomalies))
    return values


SUMS_AT_ONCE = 32_768
"""Clips times candidates that are ranked at once: 256 KB of sums, so that all that is made of them
stays in a core's second-level cache."""

TIED_SUMS_AT_ONCE = 12_288
"""The same for sums that are ranked with care, which takes more memory."""

STRATUM_MASK = 0b11
"""The bits of a sum that hold its clip's stratum."""


def weighted_sums(weights: Floats, systems: Floats) -> Floats:
    """Fused scores of each candidate, (m, s) and (s, clips) -> (m, clips).

    Summed system by system and not by a matrix product, whose kernels may round one column
    differently from another: clips that are equal in all systems stay equal.
    """
    total = np.zeros((len(weights), systems.shape[1]))
    for weight, scores in zip(weights.T, systems, strict=True):
        total += weight[:, None] * scores
    return total


class BatchedRanking:
    """Clips that are ranked against each other, such as those of a section.

    Args:
        systems: Scores of each system, (s, n), finite.
        strata: Stratum of each clip, (n,), as for `values_of_rows`.
        with_auc: As for `values_of_rows`.
    """

    def __init__(self, systems: Floats, strata: Numbers, with_auc: tuple[int, ...]) -> None:
        self._systems = np.ascontiguousarray(systems)
        self._strata = strata
        self._with_auc = with_auc
        self._bits = strata.astype(np.int64)
        self._normals = int(np.count_nonzero(strata != ANOMALY))
        self._anomalies = len(strata) - self._normals
        # A sum of s products is off by less than s / 2 roundings of the largest score, by a matrix
        # product as by `weighted_sums`, and its clip's stratum changes it by less than four. What
        # is added is for scores of zero, whose strata are their only bits.
        rounding = np.finfo(np.float64).eps * float(np.abs(systems).max())
        self._close = 4 * (len(systems) + 3) * rounding + np.finfo(np.float64).tiny

    def values(self, weights: Floats) -> Floats:
        """Values of each candidate, the pAUC last.

        Args:
            weights: Of each candidate, (m, s), on the simplex.

        Returns:
            Values in [0, 1], (m, len(with_auc) + 1), those of `values_of_rows` for `weighted_sums`.
        """
        values = np.empty((len(weights), len(self._with_auc) + 1))
        at_once = max(SUMS_AT_ONCE // len(self._strata), 1)
        room = _Room(min(at_once, len(weights)), self._strata)
        for start in range(0, len(weights), at_once):
            chunk = weights[start : start + at_once]
            if len(chunk) < len(room.sums):
                room = _Room(len(chunk), self._strata)
            part = values[start : start + at_once]
            unsure = np.flatnonzero(self._rank(chunk, room))
            self._count(room, part)
            few = max(TIED_SUMS_AT_ONCE // len(self._strata), 1)
            for first in range(0, len(unsure), few):
                again = unsure[first : first + few]
                exact = weighted_sums(chunk[again], self._systems)
                part[again] = values_of_rows(exact, self._strata, self._with_auc)
        return values

    def _rank(self, weights: Floats, room: _Room) -> Booleans:
        """Put the strata of each candidate's clips in the order of their scores.

        Returns:
            Which candidates' orders are not certain, (m,).
        """
        np.matmul(weights, self._systems, out=room.sums)
        bits = room.sums.view(np.int64)
        np.bitwise_and(bits, ~STRATUM_MASK, out=bits)
        np.bitwise_or(bits, self._bits, out=bits)
        room.sums.sort(axis=1)
        np.subtract(room.sums[:, 1:], room.sums[:, :-1], out=room.gaps)
        np.bitwise_and(bits, STRATUM_MASK, out=bits)
        np.copyto(room.strata, bits, casting="unsafe")
        np.not_equal(room.strata, ANOMALY, out=room.normal)
        np.less_equal(room.gaps, self._close, out=room.close)
        np.logical_and(room.close, room.normal[:, 1:] != room.normal[:, :-1], out=room.close)
        unsure: Booleans = np.logical_or.reduce(room.close, axis=1)
        return unsure

    def _count(self, room: _Room, values: Floats) -> None:
        """Values of rows of strata, ordered from the lowest score to the highest."""
        normals, anomalies = self._normals, self._anomalies
        places = np.flatnonzero(room.normal).reshape(-1, normals)
        strata = room.strata.ravel()[places]
        # How many anomalous clips lie below each normal one, from the lowest to the highest.
        below = np.subtract(places, room.normals_before, out=places)
        for column, number in enumerate(self._with_auc):
            pairs = anomalies * int(np.count_nonzero(self._strata == number))
            values[:, column] = 1.0 - np.einsum("mn,mn->m", below, strata == number) / pairs
        limit = MAXIMUM_FALSE_ALARM_RATE * normals
        within = floor(limit)
        first = normals - within  # of the normal clips that lie within the limit as a whole
        missed = below[:, first:].sum(axis=1) + (limit - within) * below[:, first - 1]
        values[:, -1] = mcclish((limit * anomalies - missed) / (normals * anomalies))


class _Room:
    """Memory for a chunk of m candidates; memory that is used again lies in the cache."""

    def __init__(self, candidates: int, strata: Numbers) -> None:
        shape = (candidates, len(strata))
        steps = (candidates, len(strata) - 1)
        self.sums = np.empty(shape)
        self.strata = np.empty(shape, dtype=np.uint8)
        self.normal = np.empty(shape, dtype=np.bool_)
        self.gaps = np.empty(steps)
        self.close = np.empty(steps, dtype=np.bool_)
        # Place of a normal clip, counted through all rows, if there were no anomalous clip below.
        starts = np.arange(candidates)[:, None] * len(strata)
        self.normals_before: Integers = starts + np.arange(np.count_nonzero(strata != ANOMALY))
