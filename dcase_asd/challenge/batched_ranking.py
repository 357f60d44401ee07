"""AUC and partial AUC of many weighted sums of systems, over clips that are ranked together.

A fused score is a sum over systems, and the values depend on nothing but the order of normal and
anomalous clips. So the sums are first made by one matrix product, whose rounding is bounded, and a
row of them is sorted with each clip's kind in the two lowest bits of its score: what is left of a
sorted row is a row of kinds, and counts of them are the values. Where a normal and an anomalous
clip come closer than rounding could decide, ties among them, the row is done again with care.
"""

from __future__ import annotations

from math import floor

import numpy as np

from dcase_asd.challenge.exact_ranking import ANOMALY, Kinds, values_of_rows
from dcase_asd.challenge.ranking import (
    MAXIMUM_FALSE_ALARM_RATE,
    Booleans,
    Floats,
    Integers,
    standardised,
)

SUMS_AT_ONCE = 32_768
"""Clips times candidates that are ranked at once: 256 KB of sums, so that all that is made of them
stays in a core's second-level cache."""

TIED_SUMS_AT_ONCE = 12_288
"""The same for sums that are ranked with care, which takes more memory."""

KIND_BITS = 3
"""The bits of a sum that hold its clip's kind."""


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
        kinds: Kind of each clip, (n,), as for `exact_ranking.values_of_rows`.
        counted: As for `exact_ranking.values_of_rows`.
    """

    def __init__(self, systems: Floats, kinds: Kinds, counted: tuple[int, ...]) -> None:
        self._systems = np.ascontiguousarray(systems)
        self._kinds = kinds
        self._counted = counted
        self._bits = kinds.astype(np.int64)
        self._normals = int(np.count_nonzero(kinds != ANOMALY))
        self._anomalies = len(kinds) - self._normals
        # A sum of s products is off by less than s / 2 roundings of the largest score, by a matrix
        # product as by `weighted_sums`, and its clip's kind changes it by less than four. What is
        # added is for scores of zero, whose kinds are their only bits.
        rounding = np.finfo(np.float64).eps * float(np.abs(systems).max())
        self._close = 4 * (len(systems) + 3) * rounding + np.finfo(np.float64).tiny

    def values(self, weights: Floats) -> Floats:
        """Values of each candidate, the pAUC last.

        Args:
            weights: Of each candidate, (m, s), on the simplex.

        Returns:
            Values in [0, 1], (m, len(counted) + 1), as those of `exact_ranking.values_of_rows` for
            `weighted_sums`.
        """
        values = np.empty((len(weights), len(self._counted) + 1))
        at_once = max(SUMS_AT_ONCE // len(self._kinds), 1)
        room = _Room(min(at_once, len(weights)), self._kinds)
        for start in range(0, len(weights), at_once):
            chunk = weights[start : start + at_once]
            if len(chunk) < len(room.sums):
                room = _Room(len(chunk), self._kinds)
            part = values[start : start + at_once]
            unsure = np.flatnonzero(self._rank(chunk, room))
            self._count(room, part)
            few = max(TIED_SUMS_AT_ONCE // len(self._kinds), 1)
            for first in range(0, len(unsure), few):
                again = unsure[first : first + few]
                exact = weighted_sums(chunk[again], self._systems)
                part[again] = values_of_rows(exact, self._kinds, self._counted)
        return values

    def _rank(self, weights: Floats, room: _Room) -> Booleans:
        """Put the kinds of each candidate's clips in the order of their scores.

        Returns:
            Which candidates' orders are not certain, (m,).
        """
        np.matmul(weights, self._systems, out=room.sums)
        bits = room.sums.view(np.int64)
        np.bitwise_and(bits, ~KIND_BITS, out=bits)
        np.bitwise_or(bits, self._bits, out=bits)
        room.sums.sort(axis=1)
        np.subtract(room.sums[:, 1:], room.sums[:, :-1], out=room.gaps)
        np.bitwise_and(bits, KIND_BITS, out=bits)
        np.copyto(room.kinds, bits, casting="unsafe")
        np.not_equal(room.kinds, ANOMALY, out=room.normal)
        np.less_equal(room.gaps, self._close, out=room.close)
        np.logical_and(room.close, room.normal[:, 1:] != room.normal[:, :-1], out=room.close)
        unsure: Booleans = np.logical_or.reduce(room.close, axis=1)
        return unsure

    def _count(self, room: _Room, values: Floats) -> None:
        """Values of rows of kinds, ordered from the lowest score to the highest."""
        normals, anomalies = self._normals, self._anomalies
        places = np.flatnonzero(room.normal).reshape(-1, normals)
        kinds = room.kinds.ravel()[places]
        # How many anomalous clips lie below each normal one, from the lowest to the highest.
        below = np.subtract(places, room.normals_before, out=places)
        for column, number in enumerate(self._counted):
            pairs = anomalies * int(np.count_nonzero(self._kinds == number))
            values[:, column] = 1.0 - np.einsum("mn,mn->m", below, kinds == number) / pairs
        limit = MAXIMUM_FALSE_ALARM_RATE * normals
        within = floor(limit)
        first = normals - within  # of the normal clips that lie within the limit as a whole
        missed = below[:, first:].sum(axis=1) + (limit - within) * below[:, first - 1]
        values[:, -1] = standardised((limit * anomalies - missed) / (normals * anomalies))


class _Room:
    """Memory for a chunk of m candidates; memory that is used again lies in the cache."""

    def __init__(self, candidates: int, kinds: Kinds) -> None:
        shape = (candidates, len(kinds))
        steps = (candidates, len(kinds) - 1)
        self.sums = np.empty(shape)
        self.kinds = np.empty(shape, dtype=np.uint8)
        self.normal = np.empty(shape, dtype=np.bool_)
        self.gaps = np.empty(steps)
        self.close = np.empty(steps, dtype=np.bool_)
        # Place of a normal clip, counted through all rows, if there were no anomalous clip below.
        starts = np.arange(candidates)[:, None] * len(kinds)
        self.normals_before: Integers = starts + np.arange(np.count_nonzero(kinds != ANOMALY))
