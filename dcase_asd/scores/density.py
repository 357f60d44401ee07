"""The nearest clips, each seen from how densely it is surrounded.

Sparse regions, such as ten target-domain clips, are then judged by their own spread.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dcase_asd.scores.detectors import FLOOR, AnomalyDetector, Vectors, check_range
from dcase_asd.scores.distances import Array, Metric
from dcase_asd.scores.neighbors import (
    Adjust,
    find_neighborhood,
    smallest_distances,
)

SMALLEST_VARIANCE = 1e-12
"""Variance of the scales at which they explain nothing (Matsumoto et al., DCASE Workshop 2025)."""

Form = Literal["none", "ratio", "difference", "variance", "log"]


class NearestClips(AnomalyDetector):
    """Distance to the nearest normal clips, each seen from how densely it is surrounded.

    With D(x, y) the distance of a clip to a reference and s(y) the mean distance of the reference
    to its K nearest other references, the score is the mean of the smallest `neighbors` over y of

    - ``none``: D(x, y);
    - ``ratio``: D(x, y) / s(y), and ``difference``: D(x, y) - s(y) (Wilkinghoff et al., "Local
      density-based anomaly score normalization", arXiv 2509.10951);
    - ``variance``: D(x, y) - a s(y), where a = Cov(D, s) / Var(s) over the train clips and their
      nearest others makes the variance of their scores least (Matsumoto et al., DCASE Workshop
      2025);
    - ``log``: log D(x, y) - a log s(y) with the same a of the logarithms (arXiv 2603.04605).

    Args:
        neighbors: Of how many references the mean is taken.
        form: As above.
        around: K; fewer where the bank holds no K others.
        metric: Of the distances.
        floor: Smallest s(y), and of ``log`` smallest distance, relative to the median of s.
        all_if_fewer: Whether a bank of fewer clips than `neighbors` is searched as a whole.
    """

    def __init__(
        self,
        neighbors: int = 1,
        form: Form = "none",
        around: int = 1,
        metric: Metric = "cosine",
        *,
        floor: float = FLOOR,
        all_if_fewer: bool = False,
    ) -> None:
        check_range(neighbors=(neighbors, 1), around=(around, 1), floor=(floor, 0))
        self.neighbors, self.form, self.around, self.metric = neighbors, form, around, metric
        self.relative_floor = floor
        self.fewest = max(1 if form == "none" else 2, 1 if all_if_fewer else neighbors)

    def learn(self, train: Vectors) -> None:
        """Find the neighbors of the references, their scales and the coefficient a."""
        self.coefficient = 0.0
        if self.form == "none":
            return
        reach = min(self.around + 1, len(train) - 1)
        self.near = (self.kept or find_neighborhood)(train, reach, self.metric)
        around = min(self.around, reach)
        scales = self.near.distances[:, :around].mean(axis=1)
        # Where most clips are copies of others there is nothing to compare a distance with, and
        # distances of less than 1 stay as they are.
        nothing = FLOOR if self.form == "log" else 1.0
        self.floor = self.relative_floor * float(np.median(scales)) or nothing
        self.scales = self._scale(scales)
        own, of_nearest = self._scale(self.near.distances[:, 0]), self.near.indices[:, 0]
        if self.form == "difference":
            self.coefficient = 1.0
        elif self.form != "ratio":
            moments = _moments(own - own.mean(), self.scales[of_nearest] - self.scales.mean())
            self.coefficient = float(_coefficient(moments.sum(axis=1), len(train)))

    def score(self, test: Vectors) -> Array:
        """Score clips, (q, d) -> (q,)."""

        def see(distances: Array, _: slice, columns: slice) -> None:
            self._see(distances, self.scales[columns], self.coefficient)

        return self._smallest(test, None if self.form == "none" else see)

    def leave_one_out(self) -> Array:
        """Score each train clip as if it had not been there: in no scale and no coefficient."""
        if len(self.train) <= self.fewest:
            return np.full(len(self.train), np.nan)
        if self.form == "none":
            return self._smallest(self.train, None, left_out=True)
        scales, mended = self._scales_without()
        coefficients = np.full(len(self.train), self.coefficient)
        if self.form in ("variance", "log"):
            coefficients = self._coefficients_without(scales, mended)
        # Scales that differ without a clip, in the order of the clips.
        clips = self.near.indices[:, : mended.shape[1]].ravel()
        order = np.argsort(clips, kind="stable")
        clips, references, values = clips[order], order // mended.shape[1], mended.ravel()[order]

        def see(distances: Array, rows: slice, columns: slice) -> None:
            first, last = np.searchsorted(clips, [rows.start, rows.stop])
            inside = slice(first, last)
            here = (references[inside] >= columns.start) & (references[inside] < columns.stop)
            row, column = clips[inside][here], references[inside][here]
            changed = distances[row - rows.start, column - columns.start]
            self._see(distances, scales[columns], coefficients[rows, None])
            self._see(changed, values[inside][here], coefficients[row])
            distances[row - rows.start, column - columns.start] = changed

        return self._smallest(self.train, see, left_out=True)

    def _scale(self, distances: Array) -> Array:
        floored = np.maximum(distances, self.floor)
        return np.log(floored) if self.form == "log" else floored

    def _see(self, distances: Array, scales: Array, coefficient: Array | float) -> None:
        """Change distances in place to how the form sees them."""
        if self.form == "ratio":
            distances /= scales
            return
        if self.form == "log":
            distances[...] = self._scale(distances)
        distances -= coefficient * scales

    def _smallest(
        self, queries: Vectors, adjust: Adjust | None, *, left_out: bool = False
    ) -> Array:
        count = min(self.neighbors, len(self.train) - left_out)
        found = smallest_distances(
            queries, self.train, count, metric=self.metric, among_themselves=left_out, adjust=adjust
        )
        scores: Array = found.mean(axis=1)
        return scores

    def _scales_without(self) -> tuple[Array, Array]:
        """Scales (n,), and (n, K) those without each of a reference's K neighbors.

        In the place of a neighbor that is left out the next one is taken.
        """
        near = self.near.distances
        around = min(self.around, near.shape[1] - 1)
        sums = near[:, :around].sum(axis=1)
        mended = (sums[:, None] - near[:, :around] + near[:, around, None]) / around
        return self._scale(sums / around), self._scale(mended)

    def _coefficients_without(self, scales: Array, mended: Array) -> Array:
        """The coefficient a without each train clip, (n,).

        Two things change beside the clip's own share in the sums: clips whose nearest other it is
        take their next one, and the scales of the nearest others of some are mended.
        """
        count, around = mended.shape
        nearest, second = self.near.indices[:, 0], self.near.indices[:, 1]
        own = self._scale(self.near.distances)
        middles = own[:, 0].mean(), scales.mean()
        share = _moments(own[:, 0] - middles[0], scales[nearest] - middles[1])
        sums = share.sum(axis=1)[:, None] - share

        def replace(
            left_out: NDArray[np.intp], clips: NDArray[np.intp], own: Array, of: Array
        ) -> None:
            changes = _moments(own - middles[0], of - middles[1]) - share[:, clips]
            sums[...] += [np.bincount(left_out, change, count) for change in changes]

        among = self.near.indices[second, :around] == nearest[:, None]
        of_second = np.where(
            among.any(axis=1), (mended[second] * among).sum(axis=1), scales[second]
        )
        replace(nearest, np.arange(count), own[:, 1], of_second)
        left_out = self.near.indices[nearest, :around]
        clips, places = np.nonzero(left_out != np.arange(count)[:, None])
        of_nearest = mended[nearest[clips], places]
        replace(left_out[clips, places], clips, own[clips, 0], of_nearest)
        return _coefficient(sums, count - 1)


def _moments(own: Array, of_nearest: Array) -> Array:
    """Of each clip its share in the sums of x, y, x y and y y, (4, n)."""
    return np.stack([own, of_nearest, own * of_nearest, of_nearest**2])


def _coefficient(sums: Array, count: int) -> Array:
    """Cov(x, y) / Var(y) of the sums of `_moments`; 0 where y does not vary."""
    x, y, xy, yy = sums / count
    variance = yy - y**2
    known = variance > SMALLEST_VARIANCE
    return np.where(known, (xy - x * y) / np.where(known, variance, 1.0), 0.0)
