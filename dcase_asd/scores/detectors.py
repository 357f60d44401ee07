"""Detectors: what is learnt of a machine's normal clips, and how far another clip is from it.

Each class is one detector, each row of `DETECTORS` one name for it; a third party's comes by the
entry-point group `GROUP`. Train clips are scored by leave-one-out: a clip takes no part, in any
way, in what it is compared with, so that its score is one of a new normal clip.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from dcase_asd.errors import TooFewClipsError
from dcase_asd.scores.neighbors import (
    Array,
    Metric,
    Neighborhood,
    distance_blocks,
    find_neighborhood,
)

GROUP = "dcase_asd.detectors"
"""Entry-point group of third parties' detectors: name -> subclass of `AnomalyDetector`."""

LEFT_OUT_TIMES = 64
"""Most times that a model without a closed form is fitted anew for leave-one-out scores: up to so
many clips one by one, of more a group at a time."""
SMALLEST_VARIANCE = 1e-12
"""Variance of the scales at which they explain nothing (Matsumoto et al., DCASE Workshop 2025)."""
FLOOR = 1e-12
"""Smallest distance and smallest scale, relative to the median: exact copies have none."""

Vectors = NDArray[np.floating]


class AnomalyDetector(ABC):
    """Learns from the embeddings of normal clips; scores clips, larger is more anomalous.

    A subclass keeps its options as attributes that `__init__` sets; `fit` adds what is learnt.
    """

    fewest = 1
    """Train clips that `fit` needs."""
    train: Array
    """What was learnt from, (n, d); (n, f, d) where a detector knows bands."""
    domains: NDArray[np.str_]
    """Domain of each of these clips, (n,)."""
    notes: list[str]
    """What had to be handled differently, in words."""

    def fit(self, train: Vectors, domains: NDArray[np.str_] | None = None) -> Self:
        """Learn from the normal clips of one machine and section.

        Args:
            train: Their embeddings, (n, d).
            domains: Their domains, (n,); without them all count as of one.

        Raises:
            TooFewClipsError: There are fewer than `fewest`.
        """
        if len(train) < self.fewest:
            raise TooFewClipsError(
                f"{len(train)} normal clip(s), and this detector needs {self.fewest}; "
                "add normal clips or take another detector, such as 'nearest'"
            )
        self.train = np.asarray(train, dtype=np.float64)
        self.domains = np.full(len(train), "") if domains is None else domains
        self.notes = []
        self.learn(self.train)
        return self

    def note(self, sentence: str) -> None:
        """Keep what the user should know of."""
        self.notes.append(sentence)

    @abstractmethod
    def learn(self, train: Array) -> None:
        """Learn from embeddings (n, d), n >= `fewest`."""

    @abstractmethod
    def score(self, test: Vectors) -> Array:
        """Score clips, (q, d) -> (q,)."""

    def leave_one_out(self) -> Array:
        """Score each train clip by what is learnt without it, (n,); NaN where that is too little.

        A model without a closed form is fitted `LEFT_OUT_TIMES` times at most.
        """
        count = len(self.train)
        scores = np.full(count, np.nan)
        groups = np.arange(count) % LEFT_OUT_TIMES
        for group in np.unique(groups):
            left_out = groups == group
            if (~left_out).sum() >= self.fewest:
                scores[left_out] = self._without(left_out).score(self.train[left_out])
        return scores

    def _without(self, left_out: NDArray[np.bool_]) -> Self:
        other = type(self).__new__(type(self))
        other.__dict__.update(self.__dict__)
        return other.fit(self.train[~left_out], self.domains[~left_out])


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
    """

    def __init__(
        self,
        neighbors: int = 1,
        form: Form = "none",
        around: int = 1,
        metric: Metric = "cosine",
    ) -> None:
        self.neighbors, self.form, self.around, self.metric = neighbors, form, around, metric
        self.fewest = neighbors if form == "none" else max(2, neighbors)
        self.known: Neighborhood | None = None
        """The bank's `neighborhood`, where it was computed before."""

    @property
    def reach(self) -> int:
        """How many nearest others of each reference leave-one-out scores ask for."""
        return 1 if self.form == "none" else self.around + 1

    def learn(self, train: Array) -> None:
        """Find the neighbors of the references, their scales and the coefficient a."""
        self.scales, self.floor = np.ones(len(train)), 0.0
        self.coefficient: Array | float = 0.0
        if self.form == "none":
            return
        reach = min(self.reach, len(train) - 1)
        if self.known is None or self.known.distances.shape != (len(train), reach):
            self.known = find_neighborhood(train, reach, self.metric)
        around = min(self.around, reach)
        self.floor = FLOOR * float(np.median(self.known.distances[:, 0])) or FLOOR
        self.scales = self._scale(self.known.distances[:, :around].mean(axis=1))
        own = self._scale(self.known.distances[:, 0])
        self.coefficient = _coefficient(own, self.scales[self.known.indices[:, 0]], self.form)

    def score(self, test: Vectors) -> Array:
        """Score clips, (q, d) -> (q,)."""
        scores = np.empty(len(test))
        for rows, distances in distance_blocks(test, self.train, self.metric):
            scores[rows] = self._smallest(self._seen(distances, self.scales, self.coefficient))
        return scores

    def leave_one_out(self) -> Array:
        """Score each train clip as if it had not been there: in no scale and no coefficient."""
        scores = np.full(len(self.train), np.nan)
        if len(self.train) <= self.fewest:
            return scores
        for rows, distances in distance_blocks(self.train, self.train, self.metric):
            left_out = np.arange(rows.start, rows.stop)
            scales, coefficient = self._learnt_without(left_out)
            seen = self._seen(distances, scales, coefficient)
            seen[np.arange(len(left_out)), left_out] = np.inf
            scores[rows] = self._smallest(seen)
        return scores

    def _scale(self, distances: Array) -> Array:
        floored = np.maximum(distances, self.floor)
        return np.log(floored) if self.form == "log" else floored

    def _seen(self, distances: Array, scales: Array, coefficient: Array | float) -> Array:
        """Distances (q, n) as the form sees them; in place where that is possible."""
        if self.form == "none":
            return distances
        if self.form == "ratio":
            return np.divide(distances, scales, out=distances)
        if self.form == "log":
            distances = self._scale(distances)
        return np.subtract(distances, coefficient * scales, out=distances)

    def _smallest(self, seen: Array) -> Array:
        if self.neighbors == 1:
            return np.asarray(seen.min(axis=1))
        seen.partition(self.neighbors - 1, axis=1)
        return np.asarray(seen[:, : self.neighbors].mean(axis=1))

    def _learnt_without(self, left_out: NDArray[np.intp]) -> tuple[Array, Array | float]:
        """Scales (b, n) and coefficient (b, 1) as without each of b clips.

        A reference whose K neighbors hold the clip takes its next one in its place: a few entries
        of each row, the others stay. So does the nearest other of a clip.
        """
        if self.known is None:
            return self.scales, self.coefficient
        near, others = self.known.distances, self.known.indices
        around = min(self.around, near.shape[1] - 1) or 1
        last = near[:, around] if near.shape[1] > around else np.full(len(near), np.nan)
        row_of = np.full(len(near), -1)
        row_of[left_out] = np.arange(len(left_out))
        sums = near[:, :around].sum(axis=1)
        scales = np.tile(self._scale(sums / around), (len(left_out), 1))
        references, places = np.nonzero(row_of[others[:, :around]] >= 0)
        rows = row_of[others[references, places]]
        mended = sums[references] - near[references, places] + last[references]
        scales[rows, references] = self._scale(mended / around)
        if self.form in ("ratio", "difference"):
            return scales, 1.0
        nearest = np.tile(others[:, 0], (len(left_out), 1))
        own = np.tile(self._scale(near[:, 0]), (len(left_out), 1))
        concerned = np.flatnonzero(row_of[others[:, 0]] >= 0)
        rows = row_of[others[concerned, 0]]
        nearest[rows, concerned] = others[concerned, 1]
        own[rows, concerned] = self._scale(near[concerned, 1])
        counted = np.ones(own.shape, dtype=bool)
        counted[np.arange(len(left_out)), left_out] = False
        of_nearest = np.take_along_axis(scales, nearest, axis=1)
        return scales, _coefficient(own, of_nearest, self.form, counted)[:, None]


def _coefficient(
    own: Array, of_nearest: Array, form: Form, counted: NDArray[np.bool_] | bool = True
) -> Array:
    """Cov(own, of_nearest) / Var(of_nearest) over the last axis; 1 for a plain difference."""
    if form == "difference":
        return np.ones(own.shape[:-1])
    own = own - own.mean(axis=-1, where=counted, keepdims=True)
    of_nearest = of_nearest - of_nearest.mean(axis=-1, where=counted, keepdims=True)
    variance = (of_nearest**2).mean(axis=-1, where=counted)
    covariance = (own * of_nearest).mean(axis=-1, where=counted)
    known = variance > SMALLEST_VARIANCE
    return np.where(known, covariance / np.where(known, variance, 1.0), 0.0)


class Mahalanobis(AnomalyDetector):
    """Squared Mahalanobis distance to the mean, with a shrunk covariance (Ledoit and Wolf 2004).

    The covariance of n clips S becomes (1 - r) S + r m I with m the mean of its diagonal and the
    published r. It has an inverse wherever clips differ at all.
    """

    fewest = 2

    def learn(self, train: Array) -> None:
        """Find mean, principal axes and shrinkage."""
        self.mean = train.mean(axis=0)
        self.left, self.sizes, self.axes = np.linalg.svd(train - self.mean, full_matrices=False)
        self.variances = self.sizes**2 / len(train)
        # Lengths of the centered clips, which are all that the shrinkage asks for beside S.
        lengths = np.einsum("nk,k->n", self.left**2, self.sizes**2)
        self.shrinkage, self.level = _shrinkage(
            len(train), train.shape[1], (lengths**2).sum(), self.variances.sum(),
            (self.variances**2).sum(),
        )  # fmt: skip

    def score(self, test: Vectors) -> Array:
        """Score clips, (q, d) -> (q,)."""
        centered = np.asarray(test, dtype=np.float64) - self.mean
        along = centered @ self.axes.T
        shrunk = (1 - self.shrinkage) * self.variances + self.shrinkage * self.level
        # What the axes do not span has the variance that the shrinkage gives to every direction.
        beyond = np.einsum("qd,qd->q", centered, centered) - np.einsum("qk,qk->q", along, along)
        floor = self.shrinkage * self.level
        inside = np.divide(along**2, shrunk, out=np.zeros_like(along), where=shrunk > 0).sum(axis=1)
        outside = np.maximum(beyond, 0.0) / floor if floor > 0 else np.zeros(len(centered))
        return np.asarray(inside + outside)

    def leave_one_out(self) -> Array:
        """Score each train clip by the mean and covariance of the others, in closed form.

        Without the centered clip c the covariance is (n S - n / (n - 1) c c') / (n - 1), and c's
        distance to the others' mean is n / (n - 1) c: the Sherman-Morrison formula gives the
        distance, sums over products of clips the shrinkage.
        """
        count, dimension = self.train.shape
        if count <= self.fewest:
            return np.full(count, np.nan)
        along = self.left * self.sizes  # centered clips on the axes, (n, k)
        products = along @ along.T
        lengths = np.diagonal(products)
        more = 1 / (count - 1)
        # |c_k + c_i / (n - 1)|^4 summed over k other than i: lengths about the mean without i
        moved = lengths[:, None] + 2 * more * products + more**2 * lengths
        np.fill_diagonal(moved, 0.0)
        part = count * more  # of c c' that leaves the sum of squares
        traces = (count * self.variances.sum() - part * lengths) * more
        quadratic = np.einsum("nk,k->n", along**2, self.variances)
        squares = count**2 * (self.variances**2).sum() - 2 * count * part * quadratic
        squares = (squares + part**2 * lengths**2) * more**2
        shrinkage, level = _shrinkage(count - 1, dimension, (moved**2).sum(axis=0), traces, squares)
        axis = (1 - shrinkage)[:, None] * part * self.variances + (shrinkage * level)[:, None]
        inverse = np.divide(along**2, axis, out=np.zeros_like(along), where=axis > 0).sum(axis=1)
        removed = (1 - shrinkage) * part * more
        return np.asarray(part**2 * inverse / np.maximum(1 - removed * inverse, FLOOR))


def _shrinkage(
    count: int, dimension: int, fourth: Array | float, trace: Array | float, squares: Array | float
) -> tuple[Array, Array]:
    """The shrinkage of Ledoit and Wolf (2004, lemma 3.3) and the level that it shrinks to.

    Args:
        count: Number of clips n.
        dimension: Of an embedding, d.
        fourth: Sum of the clips' lengths about the mean to the fourth power.
        trace: Of the covariance S.
        squares: Sum of the squared entries of S.
    """
    level = np.asarray(trace) / dimension
    apart = np.asarray(squares) / dimension - level**2
    noise = (np.asarray(fourth) / count - squares) / (count * dimension)
    known = apart > 0
    share = np.where(known, np.minimum(noise, apart) / np.where(known, apart, 1.0), 0.0)
    return np.maximum(share, 0.0), level


class Subspace(AnomalyDetector):
    """Squared length of what the principal axes of the normal clips leave over.

    Args:
        explained: Share of the variance that the axes must span, in (0, 1).
    """

    fewest = 2

    def __init__(self, explained: float = 0.95) -> None:
        self.explained = explained

    def learn(self, train: Array) -> None:
        """Find the mean and the fewest axes that span the share of the variance."""
        self.mean = train.mean(axis=0)
        _, sizes, axes = np.linalg.svd(train - self.mean, full_matrices=False)
        spanned = np.cumsum(sizes**2)
        count = int(np.searchsorted(spanned, self.explained * spanned[-1])) + 1
        self.axes = axes[:count] if spanned[-1] > 0 else axes[:0]

    def score(self, test: Vectors) -> Array:
        """Score clips, (q, d) -> (q,)."""
        centered = np.asarray(test, dtype=np.float64) - self.mean
        rest = centered - (centered @ self.axes.T) @ self.axes
        lengths: Array = np.einsum("qd,qd->q", rest, rest)
        return lengths


class ClusterMeans(AnomalyDetector):
    """Cosine distance to the nearest of the k means of the normal clips, scaled to length 1.

    Args:
        clusters: k; as many as there are clips where these are fewer.
        seed: Of the first means.
    """

    def __init__(self, clusters: int = 16, seed: int = 0) -> None:
        self.clusters, self.seed = clusters, seed

    def learn(self, train: Array) -> None:
        """Find the means."""
        from sklearn.cluster import KMeans

        from dcase_asd.scores.neighbors import unit_vectors

        unit = unit_vectors(train)
        count = min(self.clusters, len(np.unique(unit, axis=0)))
        self.means = KMeans(count, random_state=self.seed, n_init=4).fit(unit).cluster_centers_

    def score(self, test: Vectors) -> Array:
        """Score clips, (q, d) -> (q,)."""
        scores = np.empty(len(test))
        for rows, distances in distance_blocks(test, self.means):
            scores[rows] = distances.min(axis=1)
        return scores
