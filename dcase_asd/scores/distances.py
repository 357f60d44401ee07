"""Distances between clips: in float64, and in float32 where that tells which can be the smallest.

With p = x - m and c(x) = (1 - 2 x.m + m.m) / 2 the cosine distance of unit vectors is
c(x) + c(y) - p.q, whatever m is; with m near them all terms are small where clips are alike. With
p = x - m and c(x) = p.p / 2 it is half of the squared Euclidean distance. Both are a product of
d + 2 values; as |p| |q| <= c(x) + c(y), its rounding in float32, in whatever order terms are
summed, is below 2 (d + 8) 2^-24 (c(x) + c(y)) (N. J. Higham, "Accuracy and stability of numerical
algorithms", 2002, section 3.1). So it is for m = 0 and c(x) = 1/2 where the lengths that
embeddings are divided by are sums in float32 as well, off by (d / 2 + 1) 2^-24.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Singles = NDArray[np.float32]

Metric = Literal["cosine", "euclidean"]
"""``cosine`` is 1 - cos, in [0, 2]; ``euclidean`` is of embeddings as they are."""
COPY = 1e-14
"""Squared Euclidean distances below this share of the squared lengths are rounding: copies. So are
cosine distances below it where they are compared with others."""
STRIP = 256
"""Rows taken at once, so that what is done to their distances stays in the cache."""
PAIRS = 64
"""Pairs taken at once, alike: of 768 values in float64 they are 768 KiB."""
FEW = 1 / 64
"""Share of a row's distances up to which they are measured one by one; each takes some fifty times
what it takes in a product of matrices."""
SMALL = 1e-20
"""From this squared length to its inverse the rounding of products in float32 is relative."""
GROUPS = 64
"""Parts of a row of which the minima are taken before it is partitioned, which takes longer."""


@dataclass(frozen=True)
class Side:
    """The clips on one side of a block of distances.

    Attributes:
        vectors: Embeddings, (n, d).
        middle: m, (d,), for the Euclidean metric the mean of the bank.
        metric: Of the distances.
    """

    vectors: NDArray[np.floating]
    middle: Array
    metric: Metric

    @cached_property
    def exact(self) -> Array:
        """Unit vectors, or for the Euclidean metric embeddings less the bank's mean, (n, d)."""
        return self._prepared(self.vectors)

    @cached_property
    def single(self) -> Singles:
        """p, 1 and c(x) of each clip in float32, (n, d + 2); unit vectors, (n, d), if m is 0."""
        if self._about_zero:
            with np.errstate(over="ignore", invalid="ignore"):
                return np.multiply(self._plain, self._factors[:, None])
        count, dimension = self.vectors.shape
        single = np.empty((count, dimension + 2), dtype=np.float32)
        for rows in strips(count):
            exact = self._prepared(self.vectors[rows])
            if self.metric == "cosine":
                self.constants[rows] = (1.0 + self.middle @ self.middle) / 2 - exact @ self.middle
                exact -= self.middle
            else:
                self.constants[rows] = np.einsum("nd,nd->n", exact, exact) / 2
            with np.errstate(over="ignore"):
                single[rows, :-2], single[rows, -1] = exact, self.constants[rows]
        single[:, -2] = 1.0
        single[~(self.constants < 1 / SMALL)] = np.nan  # is measured in float64
        return single

    @cached_property
    def constants(self) -> Array:
        """c(x) of each clip, (n,), which `single` sets; 1/2 if m is 0."""
        return np.full(len(self.vectors), 0.5)

    @cached_property
    def _about_zero(self) -> bool:
        return self.metric == "cosine" and not self.middle.any()

    @cached_property
    def _plain(self) -> Singles:
        """Embeddings in float32, (n, d): themselves where they are."""
        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray(self.vectors, dtype=np.float32)

    @cached_property
    def _factors(self) -> Singles:
        """What makes them unit vectors, (n,): 0 of none, no number where float32 does not reach."""
        with np.errstate(over="ignore", invalid="ignore"):
            factors: Singles = np.einsum("nd,nd->n", self._plain, self._plain)
            unknown = ~((factors > SMALL) & (factors < 1 / SMALL))
            factors[unknown] = 1
            np.divide(1, np.sqrt(factors), out=factors)
        factors[unknown] = np.where(self.vectors[unknown].any(axis=1), np.nan, 0)
        return factors

    def _prepared(self, vectors: NDArray[np.floating]) -> Array:
        if self.metric == "cosine":
            return unit_vectors(vectors)
        return np.asarray(vectors, dtype=np.float64) - self.middle

    def approximate(
        self, other: Side, rows: slice, start: int = 0, out: Singles | None = None
    ) -> Singles:
        """Distances in float32 of some rows to the clips from `start` on, (r, m - start).

        Of the Euclidean metric they are half of the squared distances.
        """
        found: Singles
        with np.errstate(over="ignore", invalid="ignore"):
            if self._about_zero:
                # The products of the other clips as they are, so that these need no copy.
                found = np.matmul(self.single[rows], other._plain[start:].T, out=out)
                np.multiply(found, -other._factors[start:], out=found)
                np.add(found, 1, out=found)
            else:
                turned = -self.single[rows]
                turned[:, -2:] = self.single[rows, :-3:-1]
                found = np.matmul(turned, other.single[start:].T, out=out)
        return found

    def approximate_within(self) -> Singles:
        """Those of all clips among themselves, of which one half is computed, (n, n)."""
        count = len(self.vectors)
        found = np.empty((count, count), dtype=np.float32)
        for rows in strips(count):
            self.approximate(self, rows, rows.start, found[rows, rows.start :])
            found[rows.stop :, rows] = found[rows, rows.stop :].T
        return found

    def error(self, other: Side, rows: slice) -> Array:
        """How far `approximate` can be off in each of some rows, (r, 1)."""
        sums = self.constants[rows, None] + other.constants.max()
        # Unit vectors are rounded themselves, and the smallest numbers vanish.
        least = (2.0**-50 if self.metric == "cosine" else 0.0) + float(np.finfo(np.float32).tiny)
        bound: Array = (self.vectors.shape[1] + 8) * (2.0**-23 * np.maximum(sums, 0.0) + least)
        return bound

    def measure(self, other: Side, rows: slice | NDArray[np.intp] = slice(None)) -> Array:
        """Distances in float64 of some rows to all clips, (r, m)."""
        products = self.exact[rows] @ other.exact.T
        if self.metric == "cosine":
            return _cosine(products)
        lengths = [np.einsum("nd,nd->n", each, each) for each in (self.exact[rows], other.exact)]
        return _euclidean(products, lengths[0][:, None] + lengths[1])

    def measure_pairs(
        self, other: Side, rows: slice, wanted: NDArray[np.bool_]
    ) -> tuple[NDArray[np.intp], NDArray[np.intp], Array]:
        """Those that are wanted of some rows, (r, m).

        Returns:
            Rows of `wanted`, columns and distances, (p,) each, row by row; those of copies are 0.
        """
        row, column = np.divmod(np.flatnonzero(wanted), wanted.shape[1])
        often = np.bincount(row, minlength=len(wanted)) > FEW * wanted.shape[1]
        found = np.empty(len(row))
        if often.any():
            many = often[row]
            found[many] = self.measure(other, rows.start + np.flatnonzero(often))[wanted[often]]
            found[~many] = self._measure_each(other, row[~many] + rows.start, column[~many])
        else:
            found = self._measure_each(other, row + rows.start, column)
        if self.metric == "cosine":
            found[found < COPY] = 0.0
        return row, column, found

    def _measure_each(
        self, other: Side, rows: NDArray[np.intp], columns: NDArray[np.intp]
    ) -> Array:
        found = np.empty(len(rows))
        for first in range(0, len(rows), PAIRS):
            part = slice(first, first + PAIRS)
            own, others = self._pick(rows[part]), other._pick(columns[part])
            products, squares = np.vecdot(own, others), np.vecdot(own, own)
            of_others = np.vecdot(others, others)
            if self.metric == "cosine":
                lengths = np.sqrt(squares) * np.sqrt(of_others)
                found[part] = _cosine(products / np.where(lengths > 0, lengths, 1.0))
            else:
                found[part] = _euclidean(products, squares + of_others)
        return found

    def _pick(self, rows: NDArray[np.intp]) -> Array:
        """Some embeddings in float64, (p, d), for the Euclidean metric less the bank's mean."""
        picked = self.vectors[rows].astype(np.float64)
        return picked - self.middle if self.metric == "euclidean" else picked


def unit_vectors(embeddings: NDArray[np.floating]) -> Array:
    """Embeddings (n, d) scaled to length 1; a zero embedding stays zero (distance 1 to all)."""
    vectors = np.array(embeddings, dtype=np.float64)
    norms = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))[:, None]
    vectors /= np.where(norms > 0, norms, 1.0)
    return vectors


def strips(count: int) -> list[slice]:
    """Slices of `STRIP` rows that cover so many."""
    return [slice(first, min(first + STRIP, count)) for first in range(0, count, STRIP)]


def bound_smallest(found: NDArray[np.floating], count: int) -> NDArray[np.floating]:
    """What at least `count` values of each row (r, m) do not exceed, (r, 1); infinity if m < count.

    It is near their `count`-th smallest, or equal to it.
    """
    rows, columns = found.shape
    if columns < count:
        return np.full((rows, 1), np.inf, dtype=found.dtype)
    if 1 < count <= GROUPS // 2 and columns >= 2 * GROUPS:
        found = found[:, : columns - columns % GROUPS].reshape(rows, -1, GROUPS).min(axis=1)
    if count == 1:
        return np.asarray(found.min(axis=1, keepdims=True))
    return np.partition(found, count - 1, axis=1)[:, count - 1, None]


def _cosine(products: Array) -> Array:
    """Distances of scalar products, in place."""
    np.subtract(1.0, products, out=products)
    # Rounding may leave -1e-16 between equal clips; a distance is never negative.
    return np.maximum(products, 0.0, out=products)


def _euclidean(products: Array, sums: Array) -> Array:
    """Distances of scalar products and sums of squared lengths, in place."""
    np.subtract(sums, np.multiply(products, 2.0, out=products), out=products)
    products[products < COPY * sums] = 0.0
    return np.sqrt(products, out=products)
