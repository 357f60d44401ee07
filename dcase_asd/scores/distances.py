"""Distances between clips: in float64, and in float32 where that tells which can be the smallest.

With p = x - m and c(x) = (1 - 2 x.m + m.m) / 2 the cosine distance of unit vectors is
c(x) + c(y) - p.q, whatever m is; with m near all of them these are small where clips are alike. With
m = 0 and c(x) = x.x / 2 it is half of the squared Euclidean distance. Both are a product of d + 2
values; as |p| |q| <= c(x) + c(y), its rounding in float32, in whatever order terms are summed, is
below 2 (d + 8) 2^-24 (c(x) + c(y)) (N. J. Higham, "Accuracy and stability of numerical algorithms",
2002, section 3.1).
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
"""Rows or pairs taken at once, so that what is done to their distances stays in the cache."""
FEW = 1 / 64
"""Share of a row's distances up to which they are measured one by one; each takes some fifty times
what it takes in a product of matrices."""
GROUPS = 64
"""Parts of a row of which the minima are taken before it is partitioned, which takes longer."""


@dataclass(frozen=True)
class Side:
    """The clips on one side of a block of distances.

    Attributes:
        exact: Unit vectors, or for the Euclidean metric embeddings less the bank's mean, (n, d).
        middle: m, (d,), for the Euclidean metric 0.
        metric: Of the distances.
    """

    exact: Array
    middle: Array
    metric: Metric

    @cached_property
    def constants(self) -> Array:
        """c(x) of each clip, (n,)."""
        if self.metric == "cosine":
            found: Array = (1.0 + self.middle @ self.middle) / 2 - self.exact @ self.middle
            return found
        return np.asarray(np.einsum("nd,nd->n", self.exact, self.exact) / 2)

    @cached_property
    def single(self) -> Singles:
        """p, 1 and c(x) of each clip in float32, (n, d + 2)."""
        found = np.ones((len(self.exact), self.exact.shape[1] + 2), dtype=np.float32)
        with np.errstate(over="ignore"):  # infinite distances are measured in float64
            np.subtract(self.exact, self.middle, out=found[:, :-2], casting="same_kind")
            found[:, -1] = self.constants
        return found

    def approximate(
        self, other: Side, rows: slice, start: int = 0, out: Singles | None = None
    ) -> Singles:
        """Distances in float32 of some rows to the clips from `start` on, (r, m - start).

        Of the Euclidean metric they are half of the squared distances.
        """
        turned = -self.single[rows]
        turned[:, -2:] = self.single[rows, :-3:-1]
        with np.errstate(over="ignore", invalid="ignore"):
            found: Singles = np.matmul(turned, other.single[start:].T, out=out)
        return found

    def approximate_within(self) -> Singles:
        """Those of all clips among themselves, of which one half is computed, (n, n)."""
        count = len(self.exact)
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
        bound: Array = (self.exact.shape[1] + 8) * (2.0**-23 * np.maximum(sums, 0.0) + least)
        return bound

    def bounded(self, bounds: Array) -> Array:
        """Bounds of what `approximate` gives as bounds of distances, in place."""
        np.maximum(bounds, 0.0, out=bounds)
        if self.metric == "euclidean":
            np.sqrt(np.multiply(bounds, 2.0, out=bounds), out=bounds)
        return bounds

    def measure(self, other: Side, rows: slice | NDArray[np.intp] = slice(None)) -> Array:
        """Distances in float64 of some rows to all clips, (r, m)."""
        products = self.exact[rows] @ other.exact.T
        if self.metric == "cosine":
            return _cosine(products)
        return _euclidean(products, self.constants[rows, None] + other.constants)

    def measure_pairs(self, other: Side, rows: slice, wanted: NDArray[np.bool_]) -> Array:
        """Those that are wanted of some rows, (r, m) -> (p,) in this order; of copies 0."""
        row, column = np.nonzero(wanted)
        often = np.bincount(row, minlength=len(wanted)) > FEW * wanted.shape[1]
        many, first = often[row], rows.start
        found = np.empty(len(row))
        if often.any():
            whole = self.measure(other, first + np.flatnonzero(often))
            found[many] = whole[wanted[often]]
        row, column = row[~many] + first, column[~many]
        found[~many] = self._measure_each(other, row, column)
        if self.metric == "cosine":
            found[found < COPY] = 0.0
        return found

    def _measure_each(
        self, other: Side, rows: NDArray[np.intp], columns: NDArray[np.intp]
    ) -> Array:
        products = np.empty(len(rows))
        for part in strips(len(rows)):
            own, others = self.exact[rows[part]], other.exact[columns[part]]
            np.einsum("pd,pd->p", own, others, out=products[part])
        if self.metric == "cosine":
            return _cosine(products)
        return _euclidean(products, self.constants[rows] + other.constants[columns])


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
    if count <= GROUPS // 2 and columns >= 2 * GROUPS:
        found = found[:, : columns - columns % GROUPS].reshape(rows, -1, GROUPS).min(axis=1)
    if count == 1:
        return np.asarray(found.min(axis=1, keepdims=True))
    return np.partition(found, count - 1, axis=1)[:, count - 1, None]


def _cosine(products: Array) -> Array:
    """Distances of scalar products, in place."""
    np.subtract(1.0, products, out=products)
    # Rounding may leave -1e-16 between equal clips; a distance is never negative.
    return np.maximum(products, 0.0, out=products)


def _euclidean(products: Array, halves: Array) -> Array:
    """Distances of scalar products and halves of the sums of squared lengths, in place."""
    np.subtract(halves, products, out=products)
    products[products < COPY * halves] = 0.0
    np.multiply(products, 2.0, out=products)
    return np.sqrt(products, out=products)
