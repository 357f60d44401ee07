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


Adjust = Callable[[Array, slice, slice], None]
"""Changes a block of distances in place, given its queries (rows) and clips (columns)."""


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
    among_themselves: bool = False,
    adjust: Adjust | None = None,
) -> Array:
    """The smallest cosine distances from each query to the bank, ascending.

    Memory is that of two blocks, whatever the size of the bank, which may be mapped from disk.

    Args:
        queries: Embeddings, (q, d).
        bank: Embeddings, (n, d).
        count: How many distances to return, 1 <= count <= n (n - 1 among themselves).
        among_themselves: The queries are the bank: none is its own neighbor.
        adjust: Changes each block of distances before the smallest are chosen.

    Returns:
        Distances, (q, count).

    Raises:
        TooFewClipsError: The bank holds too few clips.
    """
    available = len(bank) - among_themselves
    if not 1 <= count <= available:
        raise TooFewClipsError(
            f"{count} nearest clips were asked for, but only {available} normal clip(s) are there; "
            "lower the number of neighbors or add normal clips"
        )
    best = np.full((len(queries), count), np.inf)
    for first in range(0, len(queries), QUERY_BLOCK):
        rows = slice(first, min(first + QUERY_BLOCK, len(queries)))
        unit = unit_vectors(queries[rows])
        for start in range(0, len(bank), BANK_BLOCK):
            columns = slice(start, min(start + BANK_BLOCK, len(bank)))
            distances = _cosine_distances(unit, unit_vectors(bank[columns]))
            if adjust is not None:
                adjust(distances, rows, columns)
            if among_themselves:
                _forget_diagonal(distances, first - start)
            best[rows] = _smallest_columns(best[rows], distances, count)
    return best


def unit_vectors(embeddings: NDArray[np.floating]) -> Array:
    """Embeddings (n, d) scaled to length 1; a zero embedding stays zero (distance 1 to all)."""
    vectors = np.asarray(embeddings, dtype=np.float64)
    norms = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))[:, None]
    return vectors / np.where(norms > 0, norms, 1.0)


def _cosine_distances(queries: Array, bank: Array) -> Array:
    distances = queries @ bank.T
    np.subtract(1.0, distances, out=distances)
    # Rounding may leave -1e-16 between equal clips; a distance is never negative.
    return np.maximum(distances, 0.0, out=distances)


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


Metric = Literal["cosine", "euclidean"]
"""``cosine`` is 1 - cos, in [0, 2]; ``euclidean`` is of embeddings as they are."""

BLOCK = 1 << 21
"""Distances computed at once by `distance_blocks`: 16 MiB."""
COPY = 1e-14
"""Squared Euclidean distances below this share of the squared lengths are rounding: copies."""


@dataclass(frozen=True)
class Neighborhood:
    """The nearest other clips of each clip of a bank, nearest first; of equal ones the first.

    Attributes:
        distances: (n, k).
        indices: Which clips these are, (n, k).
    """

    distances: Array
    indices: NDArray[np.intp]


def distance_blocks(
    queries: NDArray[np.floating], bank: NDArray[np.floating], metric: Metric = "cosine"
) -> Iterator[tuple[slice, Array]]:
    """Distances of all queries (q, d) to all of a bank (n, d), some queries at a time.

    Yields:
        Which queries, and their distances (rows, n); about `BLOCK` numbers each time.
    """
    middle = 0.0 if metric == "cosine" else np.mean(bank, axis=0, dtype=np.float64)
    # Centered by the bank's mean, so that small distances are not differences of large numbers.
    own = np.asarray(bank, dtype=np.float64)
    prepared: Array = unit_vectors(own) if metric == "cosine" else own - middle
    lengths = np.einsum("nd,nd->n", prepared, prepared)
    rows = max(1, BLOCK // max(1, len(bank)))
    for first in range(0, len(queries), rows):
        chosen = slice(first, min(first + rows, len(queries)))
        if metric == "cosine":
            yield chosen, _cosine_distances(unit_vectors(queries[chosen]), prepared)
            continue
        block = queries[chosen] - middle
        sums = np.einsum("nd,nd->n", block, block)[:, None] + lengths
        squares = sums - 2 * (block @ prepared.T)
        squares[squares < COPY * sums] = 0.0
        yield chosen, np.sqrt(squares)


def find_neighborhood(
    bank: NDArray[np.floating], count: int, metric: Metric = "cosine"
) -> Neighborhood:
    """The `count` nearest others of each clip of a bank, 1 <= count <= n - 1."""
    distances = np.empty((len(bank), count))
    indices = np.empty((len(bank), count), dtype=np.intp)
    for rows, block in distance_blocks(bank, bank, metric):
        block[np.arange(len(block)), np.arange(rows.start, rows.stop)] = np.inf
        # Candidates in the order of their index, so that a stable sort keeps the first of equals.
        near = np.sort(np.argpartition(block, count - 1, axis=1)[:, :count], axis=1)
        values = np.take_along_axis(block, near, axis=1)
        order = np.argsort(values, axis=1, kind="stable")
        distances[rows] = np.take_along_axis(values, order, axis=1)
        indices[rows] = np.take_along_axis(near, order, axis=1)
    return Neighborhood(distances, indices)
