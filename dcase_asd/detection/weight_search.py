"""Search for the weights of a fusion on a lattice: exhaustive, or coordinate by coordinate."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dcase_asd.detection.candidates import Best, Found, Objective, Objectives, evaluate_column
from dcase_asd.detection.lattice import (
    Steps,
    lattice_points,
    lattice_size,
    nearest_point,
    parts_of,
)
from dcase_asd.detection.neighbors import Array
from dcase_asd.progress import Advance

LARGEST_LATTICE = 1_000_000
"""Points that are all looked at: 13 systems at a step of 0.1 make 646,646, which take five seconds
for seven machine types of 200 clips. `grid_searches` refines coordinates of larger lattices."""


def grid_searches(
    objectives: Objectives, columns: int, systems: int, step: float, advance: Advance | None = None
) -> list[Found]:
    """The best weights of each objective: of all lattice points where they are few enough.

    Args:
        objectives: Scores of candidates, (m, s) -> (m, columns).
        columns: How many objectives there are.
        systems: Number of weights.
        step: Of the lattice, a fraction of one.
        advance: Told of the share of the work that is done: `grid_work` items in all.

    Returns:
        One result for each objective; `Found.method` says what was done.

    Raises:
        ValueError: The step does not divide one.
    """
    if lattice_size(systems, step) <= LARGEST_LATTICE:
        return lattice_searches(objectives, systems, step, advance)
    return [
        coordinate_search(evaluate_column(objectives, column), systems, step, advance=advance)
        for column in range(columns)
    ]


def grid_work(columns: int, systems: int, step: float) -> int:
    """How many items `grid_searches` advances by: points of the lattice, or starts."""
    size = lattice_size(systems, step)
    return size if size <= LARGEST_LATTICE else columns * (systems + 1)


def lattice_search(
    objective: Objective, systems: int, step: float, advance: Advance | None = None
) -> Found:
    """The best of all lattice points, however many; see `lattice_searches`."""
    (found,) = lattice_searches(lambda weights: objective(weights)[:, None], systems, step, advance)
    return found


def lattice_searches(
    objectives: Objectives, systems: int, step: float, advance: Advance | None = None
) -> list[Found]:
    """The best lattice point by each of several objectives, in one pass over the lattice.

    Args:
        objectives: Scores of candidates, (m, s) -> (m, k).
        systems: Number of weights.
        step: Of the lattice, a fraction of one.
        advance: Told of points that are done, `lattice.lattice_size` in all.

    Raises:
        ValueError: The step does not divide one.
    """
    best: list[Best] = []
    for points in lattice_points(systems, step):
        scores = objectives(points)
        best = best or [Best() for _ in range(scores.shape[1])]
        for one, column in zip(best, scores.T, strict=True):
            one.add(points, column)
        if advance:
            advance(len(points))
    method = f"exhaustive lattice, step {step:g}, {lattice_size(systems, step):,} points"
    return [one.found(method) for one in best]


def coordinate_search(
    objective: Objective,
    systems: int,
    step: float,
    starts: Sequence[Array] | None = None,
    advance: Advance | None = None,
) -> Found:
    """A lattice point that no exchange of weight between two systems improves.

    From each start all exchanges of 1, 2, 4, ... steps between two systems are looked at, and
    the best is made as long as one improves. The result is the best of all starts: perhaps not
    that of the whole lattice, but the same each time.

    Args:
        objective: Scores of candidates.
        systems: Number of weights.
        step: Of the lattice, a fraction of one.
        starts: Weights to start from, (s,) each, moved to the nearest lattice point; None takes
            equal weights and each system alone.
        advance: Told of each start that is done.

    Raises:
        ValueError: The step does not divide one.
    """
    parts = parts_of(step)
    if starts is None:
        starts = [np.full(systems, 1 / systems), *np.eye(systems)]
    best = Best()
    for start in starts:
        climber = Best()
        points = nearest_point(start, parts)[None]
        while climber.add(points / parts, objective(points / parts)):
            points = _exchanges(np.rint(climber.weights * parts).astype(np.intp))
        best.add(climber.weights[None], np.array([climber.score]))
        best.evaluated += climber.evaluated - 1
        if advance:
            advance(1)
    return best.found(
        f"coordinate-wise refinement, step {step:g}, from {len(starts)} start(s), "
        f"{best.evaluated:,} candidates"
    )


def _exchanges(point: Steps) -> Steps:
    """All points that differ by 1, 2, 4, ... steps taken from one system and given to another."""
    moves = []
    identity = np.eye(len(point), dtype=np.intp)
    amount = 1
    while amount <= point.max():
        for giver in np.flatnonzero(point >= amount):
            moved = point + amount * (identity - identity[giver])
            moves.append(np.delete(moved, giver, axis=0))
        amount *= 2
    return np.concatenate(moves)
