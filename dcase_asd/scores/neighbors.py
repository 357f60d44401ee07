"""Distances to the nearest reference clips, in blocks of bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dcase_asd.errors import TooFewClipsError
from dcase_asd.progress import Computation
from dcase_asd.scores.distances import (
    Array,
    Metric,
    Side,
    Singles,
    bound_smallest,
    strips,
    unit_vectors,
)

QUERY_BLOCK = 1024
BANK_BLOCK = 2048
"""Rows taken at once; a block of distances is 16 MiB, of embeddings (768 values) 12 MiB."""
SAMPLE = 64
"""Clips whose mean is taken for the middle of a bank of unit vectors."""
LONG = 256
"""Values of an embedding from which on float32 saves more than adjusting bounds takes."""
ALIKE = 0.95
"""Squared length of their mean from which on unit vectors are centered."""

ROUNDING = 2.0**-19
"""More than how far what `Adjust` makes of a distance in float32 is off, relative to the result and
to what was taken from the distance: a few roundings of 2^-24 each, of a logarithm 2^-21."""
Indices = NDArray[np.intp]


class Adjust(Protocol):
    """Changes distances, and keeps their order for each clip of the bank."""

    def block(self, distances: NDArray[np.floating], rows: slice, columns: slice) -> None:
        """Change those of some queries (rows) to some clips (columns), (r, m), in place."""

    def pairs(self, distances: Array, queries: Indices, clips: Indices) -> Array:
        """What is made of those of pairs, (p,) each."""

    def taken(self, rows: slice) -> Array | float:
        """How much is taken from distances of some queries at most, (r, 1)."""


class Unchanged:
    """Leaves distances as they are."""

    def block(self, distances: NDArray[np.floating], rows: slice, columns: slice) -> None:
        """As `Adjust.block`."""

    def pairs(self, distances: Array, queries: Indices, clips: Indices) -> Array:  # noqa: ARG002
        """As `Adjust.pairs`."""
        return distances

    def taken(self, rows: slice) -> float:  # noqa: ARG002
        """As `Adjust.taken`."""
        return 0.0


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
    best, middle = np.full((len(queries), count), np.inf), _middle(bank, metric)
    adjust = adjust or Unchanged()
    whole = Computation(f"comparing with {len(bank):,} clips", len(queries) * len(bank))
    for rows, own in _sides(queries, QUERY_BLOCK, middle, metric):
        for columns, other in _sides(bank, BANK_BLOCK, middle, metric):
            if metric == "cosine" and bank.shape[1] >= LONG:
                _screen(best, own, other, rows, columns, adjust, among_themselves)
            else:
                distances = own.measure(other)
                if among_themselves:
                    distances[_diagonal(rows, columns)] = np.inf
                adjust.block(distances, rows, columns)
                best[rows] = _smallest_columns(best[rows], distances, count)
            whole.advance(len(own.vectors) * len(other.vectors))
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
    found = Neighborhood(np.full((len(bank), count), np.inf), np.zeros((len(bank), count), np.intp))
    middle = _middle(bank, metric)
    whole = Computation(f"neighborhoods of {len(bank):,} clips", len(bank) ** 2)
    for rows, own in _sides(bank, BANK_BLOCK, middle, metric):
        _merge(found, own, own, rows, rows, own.approximate_within())
        whole.advance(len(own.vectors) ** 2)
        for columns, other in _sides(bank, BANK_BLOCK, middle, metric, rows.stop):
            single = own.approximate(other, slice(None))
            _merge(found, own, other, rows, columns, single)
            _merge(found, other, own, columns, rows, single.T)
            whole.advance(2 * len(own.vectors) * len(other.vectors))
    return found


def _middle(bank: NDArray[np.floating], metric: Metric) -> Array:
    """What embeddings are centered by, (d,), so that small distances are no small differences.

    For the cosine metric any point near the unit vectors is as good as their mean; where they are
    far from each other nothing is gained by it, and 0 is the cheapest.
    """
    if metric == "euclidean":
        return np.asarray(np.mean(bank, axis=0, dtype=np.float64))
    middle: Array = unit_vectors(bank[:: max(1, len(bank) // SAMPLE)]).mean(axis=0)
    return middle if middle @ middle > ALIKE else np.zeros_like(middle)


def _sides(
    vectors: NDArray[np.floating], block: int, middle: Array, metric: Metric, start: int = 0
) -> Iterator[tuple[slice, Side]]:
    """Clips from `start` on in blocks: which they are, and what distances are measured of."""
    for first in range(start, len(vectors), block):
        rows = slice(first, min(first + block, len(vectors)))
        yield rows, Side(vectors[rows], middle, metric)


def _screen(
    best: Array, own: Side, other: Side, rows: slice, columns: slice, adjust: Adjust,
    among_themselves: bool,
) -> None:  # fmt: skip
    """Bring adjusted cosine distances of a block that are smaller into those found before.

    Adjusting keeps their order for each clip of the bank, so that it carries over to bounds. These
    are found in float32; what can be among the smallest is measured.
    """
    count = best.shape[1]
    for strip in strips(len(own.vectors)):
        part = slice(rows.start + strip.start, rows.start + strip.stop)
        single = own.approximate(other, strip)
        error = np.nextafter(own.error(other, strip).astype(np.float32), np.float32(np.inf))
        itself, taken = _diagonal(part, columns), adjust.taken(part)
        found = single + error
        if among_themselves:
            found[itself] = np.inf
        adjust.block(found, part, columns)
        limit = np.minimum(_with_rounding(bound_smallest(found, count), taken), best[part, -1:])
        np.subtract(single, error, out=found)
        adjust.block(found, part, columns)
        # What is no number may be anything: it is measured.
        possible = ~(found > np.nextafter(_with_rounding(limit, taken), np.inf, dtype=np.float32))
        if among_themselves:
            possible[itself] = False
        row, column, distances = own.measure_pairs(other, strip, possible)
        values = adjust.pairs(distances, row + part.start, column + columns.start)
        row = np.concatenate([np.repeat(np.arange(len(single)), count), row])
        values = np.concatenate([best[part].ravel(), values])
        best[part] = values[_first_of_rows(row, values, count)]
        best[part][row[np.isnan(values)]] = np.nan


def _with_rounding(values: NDArray[np.floating], taken: Array | float) -> Array:
    """What adjusted distances, (r, 1), are at most that were rounded, or are rounded to at most."""
    wide = values.astype(np.float64)
    wide += ROUNDING * (np.abs(wide) + taken)
    return wide


def _merge(
    found: Neighborhood, own: Side, other: Side, rows: slice, columns: slice, single: Singles
) -> None:
    """Bring clips of a block that are nearer than those found before into a neighborhood.

    Args:
        found: Is changed.
        own: Clips of the rows.
        other: Clips of the columns.
        rows: Which clips they are.
        columns: Which these are, none before those of blocks that were brought in before.
        single: `Side.approximate` distances of the block.
    """
    count = found.distances.shape[1]
    for strip in strips(len(single)):
        part = slice(rows.start + strip.start, rows.start + strip.stop)
        near, places, block = found.distances[part], found.indices[part], single[strip]
        itself = _diagonal(part, columns)
        block[itself] = np.inf
        error, known = own.error(other, strip), near[:, -1:]
        if own.metric == "euclidean":
            known = known**2 / 2
        with np.errstate(over="ignore"):
            limit = (np.minimum(bound_smallest(block, count) + error, known) + error).astype("f4")
        possible = ~(block > np.nextafter(limit, np.float32(np.inf)))
        possible[itself] = False
        row, column, distances = own.measure_pairs(other, strip, possible)
        # A row's clips are in the order of their index: the first of equals is kept.
        row = np.concatenate([np.repeat(np.arange(len(block)), count), row])
        values = np.concatenate([near.ravel(), distances])
        clips = np.concatenate([places.ravel(), column + columns.start])
        chosen = _first_of_rows(row, values, count)
        found.distances[part], found.indices[part] = values[chosen], clips[chosen]


def _first_of_rows(row: Indices, values: Array, count: int) -> Indices:
    """Where the smallest values of each row are, (r, count), of equal ones the first."""
    order = np.lexsort((values, row))
    first = np.cumsum(np.bincount(row)) - np.bincount(row)
    chosen: Indices = order[first[:, None] + np.arange(count)]
    return chosen


def _diagonal(rows: slice, columns: slice) -> tuple[Indices, Indices]:
    """Where a block has the distances of clips to themselves: rows and columns of the block."""
    clips = np.arange(max(rows.start, columns.start), min(rows.stop, columns.stop))
    return clips - rows.start, clips - columns.start


def _smallest_columns(smallest: Array, distances: Array, count: int) -> Array:
    best: Array
    if count == 1:
        best = np.minimum(smallest, distances.min(axis=1, keepdims=True))
    else:
        together = np.concatenate([smallest, distances], axis=1)
        together.partition(count - 1, axis=1)
        best = np.sort(together[:, :count], axis=1)
    return best
