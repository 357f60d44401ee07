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
    Indices,
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
        self.scales = self.scaled(scales)
        own, of_nearest = self.scaled(self.near.distances[:, 0]), self.near.indices[:, 0]
        if self.form == "difference":
            self.coefficient = 1.0
        elif self.form != "ratio":
            moments = _moments(own - own.mean(), self.scales[of_nearest] - self.scales.mean())
            self.coefficient = float(_coefficient(moments.sum(axis=1), len(train)))

    def score(self, test: Vectors) -> Array:
        """Score clips, (q, d) -> (q,)."""
        seen = None if self.form == "none" else _Seen(self, self.scales, self.coefficient)
        return self._smallest(test, seen)

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
        seen = _SeenWithout(self, scales, coefficients, mended)
        return self._smallest(self.train, seen, left_out=True)

    def scaled(self, distances: Array) -> Array:
        """Distances as the form compares them with scales."""
        floored: Array = np.maximum(distances, self.floor)
        return np.log(floored) if self.form == "log" else floored

    def seen(
        self, distances: NDArray[np.floating], scales: Array, coefficient: Array | float
    ) -> None:
        """Change distances in place to how the form sees them, in their own precision."""
        kind = distances.dtype.type
        if self.form == "ratio":
            distances /= scales.astype(kind)
            return
        if self.form == "log":
            np.maximum(distances, kind(self.floor), out=distances)
            np.log(distances, out=distances)
        distances -= np.asarray(coefficient, kind) * scales.astype(kind)

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
        return self.scaled(sums / around), self.scaled(mended)

    def scale_without(
        self, clips: Indices, left_out: Indices, scales: Array, mended: Array
    ) -> Array:
        """Scale of each of some clips without another, (p,), of those of `_scales_without`."""
        among = self.near.indices[clips, : mended.shape[1]] == left_out[:, None]
        return np.where(among.any(axis=1), (mended[clips] * among).sum(axis=1), scales[clips])

    def _coefficients_without(self, scales: Array, mended: Array) -> Array:
        """The coefficient a without each train clip, (n,).

        Two things change beside the clip's own share in the sums: clips whose nearest other it is
        take their next one, and the scales of the nearest others of some are mended.
        """
        count, around = mended.shape
        nearest, second = self.near.indices[:, 0], self.near.indices[:, 1]
        own = self.scaled(self.near.distances)
        middles = own[:, 0].mean(), scales.mean()
        share = _moments(own[:, 0] - middles[0], scales[nearest] - middles[1])
        sums = share.sum(axis=1)[:, None] - share

        def replace(
            left_out: NDArray[np.intp], clips: NDArray[np.intp], own: Array, of: Array
        ) -> None:
            changes = _moments(own - middles[0], of - middles[1]) - share[:, clips]
            sums[...] += [np.bincount(left_out, change, count) for change in changes]

        replace(
            nearest,
            np.arange(count),
            own[:, 1],
            self.scale_without(second, nearest, scales, mended),
        )
        left_out = self.near.indices[nearest, :around]
        clips, places = np.nonzero(left_out != np.arange(count)[:, None])
        of_nearest = mended[nearest[clips], places]
        replace(left_out[clips, places], clips, own[clips, 0], of_nearest)
        return _coefficient(sums, count - 1)


class _Seen(Adjust):
    """Distances as a fitted detector sees them (`Adjust`).

    Args:
        detector: Which one.
        scales: Of the references, as `NearestClips.scaled`, (n,).
        coefficient: a; of each query, (q,), where it is left out.
    """

    def __init__(self, detector: NearestClips, scales: Array, coefficient: Array | float) -> None:
        self.detector, self.scales, self.coefficient = detector, scales, coefficient
        self.largest = float(np.abs(scales).max())

    def block(self, distances: NDArray[np.floating], rows: slice, columns: slice) -> None:
        """As `Adjust.block`."""
        self.detector.seen(distances, self.scales[columns], self._of(rows))

    def pairs(self, distances: Array, queries: Indices, clips: Indices) -> Array:
        """As `Adjust.pairs`."""
        changed = distances.copy()
        self.detector.seen(changed, self._scales_of(queries, clips), self._of_pairs(queries))
        return changed

    def taken(self, rows: slice) -> Array | float:
        """As `Adjust.taken`; a logarithm moves by as much as its argument, relatively."""
        if self.detector.form == "ratio":
            return 0.0
        taken: Array | float = np.abs(self._of(rows)) * self.largest
        return taken + (self.detector.form == "log")

    def _of(self, rows: slice) -> Array | float:
        of_rows = self._of_pairs(rows)
        return of_rows[:, None] if isinstance(of_rows, np.ndarray) else of_rows

    def _of_pairs(self, queries: Indices | slice) -> Array | float:
        if isinstance(self.coefficient, float):
            return self.coefficient
        of_each: Array = self.coefficient[queries]
        return of_each

    def _scales_of(self, queries: Indices, clips: Indices) -> Array:  # noqa: ARG002
        scales: Array = self.scales[clips]
        return scales


class _SeenWithout(_Seen):
    """Distances of train clips to the others, each seen without the clip itself.

    Args:
        detector: As `_Seen`.
        scales: As `_Seen`.
        coefficients: As `_Seen`, (n,).
        mended: As `NearestClips.scale_without`, (n, K).
    """

    def __init__(
        self, detector: NearestClips, scales: Array, coefficients: Array, mended: Array
    ) -> None:
        super().__init__(detector, scales, coefficients)
        self.mended, self.largest = mended, max(self.largest, float(np.abs(mended).max()))
        # Clips without which scales differ, in their order, whose and how.
        clips = detector.near.indices[:, : mended.shape[1]].ravel()
        order = np.argsort(clips, kind="stable")
        self.clips, self.references = clips[order], order // mended.shape[1]
        self.values = mended.ravel()[order]

    def block(self, distances: NDArray[np.floating], rows: slice, columns: slice) -> None:
        """As `Adjust.block`."""
        inside = slice(*np.searchsorted(self.clips, [rows.start, rows.stop]))
        references = self.references[inside]
        here = (references >= columns.start) & (references < columns.stop)
        row, column = self.clips[inside][here], references[here]
        changed = distances[row - rows.start, column - columns.start]
        super().block(distances, rows, columns)
        self.detector.seen(changed, self.values[inside][here], self._of_pairs(row))
        distances[row - rows.start, column - columns.start] = changed

    def _scales_of(self, queries: Indices, clips: Indices) -> Array:
        return self.detector.scale_without(clips, queries, self.scales, self.mended)


def _moments(own: Array, of_nearest: Array) -> Array:
    """Of each clip its share in the sums of x, y, x y and y y, (4, n)."""
    return np.stack([own, of_nearest, own * of_nearest, of_nearest**2])


def _coefficient(sums: Array, count: int) -> Array:
    """Cov(x, y) / Var(y) of the sums of `_moments`; 0 where y does not vary."""
    x, y, xy, yy = sums / count
    variance = yy - y**2
    known = variance > SMALLEST_VARIANCE
    return np.where(known, (xy - x * y) / np.where(known, variance, 1.0), 0.0)
