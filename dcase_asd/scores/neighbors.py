"""Distances to the nearest reference clips, in blocks of bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dcase_asd.errors import TooFewClipsError

Array = NDArray[np.float64]

QUERY_BLOCK = 1024
BANK_BLOCK = 2048
"""Rows taken at once; a block of distances is 16 MiB, of embeddings (768 values) 12 MiB."""


Metric = Literal["cosine", "euclidean"]
"""``cosine`` is 1 - cos, in [0, 2]; ``euclidean`` is of embeddings as they are."""
COPY = 1e-14
"""Squared Euclidean distances below this share of the squared lengths are rounding: copies."""

Adjust = Callable[[Array, slice, slice], None]
"""Changes a block of distances in place, given its queries (rows) and clips (columns)."""


@dataclass(frozen=True)
class Neighborhood:
    """The nearest other clips of each clip of a bank, nearest first; of equal ones the first.

    Attributes:
        distances: (n, k).
        indices: Which clips these are, (n, k).
    """

    distances: Array
    indices: NDArray[np.intp]


def nearest(
    queries: NDArray[np.floating],
    bank: NDArray[np.floating],
    neighbors: int = 1,
) -> Array:
    """Mean cosine distance to the nearest reference clips.

    Computed in float64: the distances between clips of one machine are small differences of
    numbers near 1.

    Args:
        queries: Embeddings to score, (q, d).
        bank: Embeddings of normal clips of one machine, (n, d).
        neighbors: How many nearest clips to average, 1 <= neighbors <= n.

    Returns:
        Anomaly scores, (q,), in [0, 2]; larger is more anomalous.

    Raises:
        TooFewClipsError: The bank holds fewer than `neighbors` clips.
    """
    scores: Array = smallest_distances(queries, bank, neighbors).mean(axis=1)
    return scores


def leave_one_out(bank: NDArray[np.floating], neighbors: int = 1) -> Array:
    """Mean cosine distance from each clip of a bank to the nearest others.

    Args:
        bank: Embeddings, (n, d).
        neighbors: How many nearest clips to average, 1 <= neighbors <= n - 1.

    Returns:
        Scores, (n,), in [0, 2]; no clip counts as its own neighbor.

    Raises:
        TooFewClipsError: The bank holds fewer than `neighbors` other clips.
    """
    scores: Array = smallest_distances(bank, bank, neighbors, among_themselves=True).mean(axis=1)
    return scores


def smallest_distances(
    queries: NDArray[np.floating],
    bank: NDArray[np.floating],
    count: int,
    *,
    metric: Metric = "cosine",
    among_themselves: bool = False,
    adjust: Adjust | None = None,
) -> Array:
    """The smallest distances from each query to the bank, ascending.

    Memory is that of two blocks, whatever the size of the bank, which may be mapped from disk.

    Args:
        queries: Embeddings, (q, d).
        bank: Embeddings, (n, d).
        count: How many distances to return, 1 <= count <= n (n - 1 among themselves).
        metric: Of the distances.
        among_themselves: The queries are the bank: none is its own neighbor.
        adjust: Changes each block of distances before the smallest are chosen.

    Returns:
        Distances, (q, count).

    Raises:
        TooFewClipsError: The bank holds too few clips.
    """
    check_bank(count, len(bank) - among_themselves)
    best = np.full((len(queries), count), np.inf)
    for rows, columns, distances in _blocks(queries, bank, metric, among_themselves):
        if adjust is not None:
            adjust(distances, rows, columns)
        best[rows] = _smallest_columns(best[rows], distances, count)
    return best


def check_bank(count: int, available: int) -> None:
    """Refuse to look for more nearest clips than there are.

    Raises:
        TooFewClipsError: There are too few.
    """
    if not 1 <= count <= available:
        raise TooFewClipsError(
            f"{count} nearest clips were asked for, but only {available} normal clip(s) are there; "
            "lower the number of neighbors or add normal clips"
        )


def find_neighborhood(
    bank: NDArray[np.floating], count: int, metric: Metric = "cosine"
) -> Neighborhood:
    """The `count` nearest others of each clip of a bank, 1 <= count <= n - 1."""
    distances = np.full((len(bank), count), np.inf)
    indices = np.zeros((len(bank), count), dtype=np.intp)
    for rows, columns, block in _blocks(bank, bank, metric, True, halves=True):
        # Candidates in the order of their index, so that a stable sort keeps the first of equals.
        width = min(count, block.shape[1])
        near = np.sort(np.argpartition(block, width - 1, axis=1)[:, :width], axis=1)
        values = np.hstack([distances[rows], np.take_along_axis(block, near, axis=1)])
        places = np.hstack([indices[rows], near + columns.start])
        order = np.argsort(values, axis=1, kind="stable")[:, :count]
        distances[rows] = np.take_along_axis(values, order, axis=1)
        indices[rows] = np.take_along_axis(places, order, axis=1)
    return Neighborhood(distances, indices)


def unit_vectors(embeddings: NDArray[np.floating]) -> Array:
    """Embeddings (n, d) scaled to length 1; a zero embedding stays zero (distance 1 to all)."""
    vectors = np.array(embeddings, dtype=np.float64)
    norms = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))[:, None]
    vectors /= np.where(norms > 0, norms, 1.0)
    return vectors


def _blocks(
    queries: NDArray[np.floating],
    bank: NDArray[np.floating],
    metric: Metric,
    among_themselves: bool,
    *,
    halves: bool = False,
) -> Iterator[tuple[slice, slice, Array]]:
    """Distances in blocks: which queries, which clips of the bank, (rows, columns).

    With `halves` a block among themselves is the product of one array with itself, of which BLAS
    computes one half; it rounds otherwise than the product of two arrays.
    """
    measure = _cosine_distances if metric == "cosine" else _euclidean_distances
    # Centered by the bank's mean, so that small distances are not differences of large numbers.
    middle = 0.0 if metric == "cosine" else np.mean(bank, axis=0, dtype=np.float64)

    def prepare(vectors: NDArray[np.floating]) -> Array:
        if metric == "cosine":
            return unit_vectors(vectors)
        return np.asarray(vectors, dtype=np.float64) - middle

    for first in range(0, len(queries), QUERY_BLOCK):
        rows = slice(first, min(first + QUERY_BLOCK, len(queries)))
        own = prepare(queries[rows])
        for start in range(0, len(bank), BANK_BLOCK):
            columns = slice(start, min(start + BANK_BLOCK, len(bank)))
            distances = measure(own, own if halves and rows == columns else prepare(bank[columns]))
            if among_themselves:
                _forget_diagonal(distances, first - start)
            yield rows, columns, distances


def _cosine_distances(queries: Array, bank: Array) -> Array:
    distances = queries @ bank.T
    np.subtract(1.0, distances, out=distances)
    # Rounding may leave -1e-16 between equal clips; a distance is never negative.
    return np.maximum(distances, 0.0, out=distances)


def _euclidean_distances(queries: Array, bank: Array) -> Array:
    lengths = [np.einsum("nd,nd->n", each, each) for each in (queries, bank)]
    sums = lengths[0][:, None] + lengths[1]
    squares = sums - 2 * (queries @ bank.T)
    squares[squares < COPY * sums] = 0.0
    distances: Array = np.sqrt(squares, out=squares)
    return distances


def _forget_diagonal(distances: Array, offset: int) -> None:
    rows = np.arange(len(distances))
    columns = rows + offset
    inside = (columns >= 0) & (columns < distances.shape[1])
    distances[rows[inside], columns[inside]] = np.inf


def _smallest_columns(smallest: Array, distances: Array, count: int) -> Array:
    best: Array
    if count == 1:
        best = np.minimum(smallest, distances.min(axis=1, keepdims=True))
    else:
        together = np.concatenate([smallest, distances], axis=1)
        together.partition(count - 1, axis=1)
        best = np.sort(together[:, :count], axis=1)
    return best
