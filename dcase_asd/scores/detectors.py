"""Detectors: what is learnt of a machine's normal clips, and how far another clip is from it.

Each class is one detector, each row of `DETECTORS` one name for it; a third party's comes by the
entry-point group `GROUP`. Train clips are scored by leave-one-out: a clip takes no part, in any
way, in what it is compared with, so that its score is one of a new normal clip.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Self

import numpy as np
from numpy.typing import NDArray

from dcase_asd.errors import TooFewClipsError
from dcase_asd.recipe.setting import refuse
from dcase_asd.scores.distances import Array, Metric, unit_vectors
from dcase_asd.scores.neighbors import Neighborhood, nearest

GROUP = "dcase_asd.detectors"
"""Entry-point group of third parties' detectors: name -> subclass of `AnomalyDetector`."""

LEFT_OUT_TIMES = 64
"""Most times that a model without a closed form is fitted anew for leave-one-out scores: up to so
many clips one by one, of more a group at a time."""
FLOOR = 1e-12
"""Smallest of numbers that others are divided by, relative to them or to their median."""

Vectors = NDArray[np.floating]
Find = Callable[[Vectors, int, Metric], Neighborhood]
"""Finds or looks up a bank's neighborhood, as `neighbors.find_neighborhood`."""


def check_range(**options: tuple[float, float]) -> None:
    """Refuse options, each with its smallest value, that are smaller.

    Raises:
        ValueError: One or several are.
    """
    refuse([
        f"{name} must be at least {least:g}, not {value:g}"
        for name, (value, least) in options.items()
        if not value >= least
    ])  # fmt: skip


class AnomalyDetector(ABC):
    """Learns from the embeddings of normal clips; scores clips, larger is more anomalous.

    A subclass keeps its options as attributes that `__init__` sets; `fit` adds what is learnt.
    """

    fewest = 1
    """Train clips that `fit` needs."""
    train: Vectors
    """What was learnt from, (n, d); (n, f, d) where a detector knows bands."""
    domains: NDArray[np.str_]
    """Domain of each of these clips, (n,)."""
    notes: list[str]
    """What had to be handled differently, in words."""

    def fit(
        self,
        train: Vectors,
        domains: NDArray[np.str_] | None = None,
        kept: Find | None = None,
    ) -> Self:
        """Learn from the normal clips of one machine and section.

        Args:
            train: Their embeddings, (n, d); they may be mapped from disk.
            domains: Their domains, (n,); without them all count as of one.
            kept: Looks up neighborhoods that were found before; without it they are found anew.

        Raises:
            TooFewClipsError: There are fewer than `fewest`.
        """
        if len(train) < self.fewest:
            raise TooFewClipsError(
                f"{len(train)} normal clip(s), and this detector needs {self.fewest}; "
                "add normal clips or take another detector, such as 'nearest'"
            )
        self.train = np.asarray(train)
        self.domains = np.full(len(train), "") if domains is None else domains
        self.notes, self.kept = [], kept
        self.learn(self.train)
        return self

    def fit_inner(
        self, make: Callable[[], AnomalyDetector], train: Vectors, domains: NDArray[np.str_]
    ) -> AnomalyDetector:
        """Make and fit a detector that this one is made of; its notes are this one's."""
        inner = make().fit(train, domains, self.kept)
        for sentence in inner.notes:
            self.note(sentence)
        return inner

    def note(self, sentence: str) -> None:
        """Keep what the user should know of, once."""
        if sentence not in self.notes:
            self.notes.append(sentence)

    @abstractmethod
    def learn(self, train: Vectors) -> None:
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


class Mahalanobis(AnomalyDetector):
    """Squared Mahalanobis distance to the mean, with a shrunk covariance (Ledoit and Wolf 2004).

    The covariance of n clips S becomes (1 - r) S + r m I with m the mean of its diagonal and the
    published r. It has an inverse wherever clips differ at all.
    """

    fewest = 2

    def learn(self, train: Vectors) -> None:
        """Find mean, principal axes and shrinkage."""
        train = np.asarray(train, dtype=np.float64)
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

    def whitening(self) -> Array:
        """The symmetric matrix W, (d, d), for which a score is the squared length of (x - mean) W.

        It is the square root of the inverse of the shrunk covariance.
        """
        shrunk = (1 - self.shrinkage) * self.variances + self.shrinkage * self.level
        floor = self.shrinkage * self.level
        beyond = 1 / np.sqrt(floor) if floor > 0 else 0.0
        gain = np.divide(1, np.sqrt(shrunk), out=np.zeros_like(shrunk), where=shrunk > 0) - beyond
        return np.asarray((self.axes.T * gain) @ self.axes + beyond * np.eye(len(self.mean)))

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
        refuse([] if 0 < explained < 1 else [f"explained must be in (0, 1), not {explained:g}"])
        self.explained = explained

    def learn(self, train: Vectors) -> None:
        """Find the mean and the fewest axes that span the share of the variance."""
        train = np.asarray(train, dtype=np.float64)
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
        check_range(clusters=(clusters, 1), seed=(seed, 0))
        self.clusters, self.seed = clusters, seed

    def learn(self, train: Vectors) -> None:
        """Find the means."""
        from sklearn.cluster import KMeans

        unit = unit_vectors(train)
        count = min(self.clusters, len(np.unique(unit, axis=0)))
        self.means = KMeans(count, random_state=self.seed, n_init=4).fit(unit).cluster_centers_

    def score(self, test: Vectors) -> Array:
        """Score clips, (q, d) -> (q,)."""
        return nearest(test, self.means)
