"""Local-density normalization: a distance counts by how densely its reference is surrounded.

A(x) = min over references y of D(x, y) / (mean distance from y to its K nearest other references),
after Wilkinghoff et al., "Keeping the Balance: Anomaly Score Calculation for Domain
Generalization", ICASSP 2025. Sparse regions, such as ten target-domain clips, are then judged by
their own spread.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dcase_asd.scores.neighbors import Array, smallest_distances

SMALLEST_SCALE = 1e-3
"""Floor of a reference's scale, relative to the median: where all K neighbors are copies of it,
the mean distance is 0 and would make every other distance infinite."""

SMALLEST_BANK = 3
"""Clips needed: leave-one-out asks for the neighbor of a neighbor."""


def density_scores(
    train: NDArray[np.floating],
    test: NDArray[np.floating],
    neighbors: int,
    density_neighbors: int,
) -> tuple[Array, Array]:
    """Score clips by distances that are normalized by local density.

    Args:
        train: Embeddings of normal clips, (n, d), n >= `SMALLEST_BANK`.
        test: Embeddings to score, (q, d).
        neighbors: How many of the smallest normalized distances are averaged.
        density_neighbors: K, 1 <= K <= n - 2.

    Returns:
        Leave-one-out scores of the train clips, (n,), for which a clip's own presence counts
        neither as a neighbor nor in any density; and scores of the test clips, (q,).
    """
    around = smallest_distances(train, train, density_neighbors + 1, among_themselves=True)
    total, farthest, beyond = around[:, :-1].sum(axis=1), around[:, -2], around[:, -1]
    floor = SMALLEST_SCALE * float(np.median(total)) / density_neighbors
    if floor == 0:  # most clips are copies of others: there is nothing to normalize by
        floor = 1.0

    def by_density(distances: Array, _: slice, columns: slice) -> None:
        distances /= np.maximum(total[columns] / density_neighbors, floor)

    def by_density_without(distances: Array, _: slice, columns: slice) -> None:
        # Where the query is one of a reference's K neighbors, the next one takes its place.
        among = distances <= farthest[columns]
        sums = np.where(among, total[columns] - distances + beyond[columns], total[columns])
        distances /= np.maximum(sums / density_neighbors, floor)

    left_out = smallest_distances(
        train, train, neighbors, among_themselves=True, adjust=by_density_without
    )
    scores = smallest_distances(test, train, neighbors, adjust=by_density)
    return left_out.mean(axis=1), scores.mean(axis=1)
