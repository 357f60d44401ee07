"""Search for the weights of a fusion on a lattice: exhaustive, or coordinate by coordinate."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, combinations, islice
from math import comb

import numpy as np
from numpy.typing import NDArray

from dcase_asd.progress import Advance
from dcase_asd.recipe.fusion import ROUNDING, parts_of
from dcase_asd.scores.neighbors import Array

Steps = NDArray[np.intp]
"""A point of the lattice as whole numbers of steps, (s,)."""


def lattice_size(systems: int, step: float) -> int:
    """How many points the lattice has.

    Raises:
        ValueError: The step does not divide one.
    """
    return comb(parts_of(step) + systems - 1, systems - 1)


def lattice_points(systems: int, step: float, at_once: int = 8192) -> Iterator[Array]:
    """Every vector of weights that are multiples of `step` and sum to one.

    Args:
        systems: Number of weights, s >= 1.
        step: Distance of the lattice's points, a fraction of one.
        at_once: Bounds memory: at most this many points are yielded at once.

    Yields:
        Weights, (at most `at_once`, s); the first point is all the first system, and each point
        comes once.

    Raises:
        ValueError: The step does not divide one.
    """
    parts = parts_of(step)
    # A point is a row of `parts` stars with bars between the systems.
    places = parts + systems - 1
    bars = combinations(range(places), systems - 1)
    size = lattice_size(systems, step)
    for start in range(0, size, at_once):
        count = min(at_once, size - start)
        chosen = np.fromiter(
            chain.from_iterable(islice(bars, count)), dtype=np.intp, count=count * (systems - 1)
        ).reshape(count, systems - 1)
        stars = np.diff(chosen, axis=1, prepend=-1, append=places) - 1
        yield stars[:, ::-1] / parts


def nearest_point(weights: Array, parts: int) -> Steps:
    """The lattice point nearest to weights on the simplex, (s,), in steps that sum to `parts`.

    Rounded down first; the steps that are left go to the largest remainders, then to the first.
    """
    exact = weights * parts
    steps = np.floor(exact + ROUNDING).astype(np.intp)
    left = parts - int(steps.sum())
    steps[np.argsort(steps - exact, kind="stable")[:left]] += 1
    return steps


Objective = Callable[[Array], Array]
"""Scores of candidate weights, (m, s) -> (m,); higher is better."""

Objectives = Callable[[Array], Array]
"""Several objectives at once, (m, s) -> (m, k): on all machine types and with each left out."""


@dataclass(frozen=True)
class Found:
    """What a search found.

    Attributes:
        weights: The best candidate, (s,), on the simplex.
        score: Its score.
        evaluated: How many candidates were looked at.
        method: What was done, in words.
    """

    weights: Array
    score: float
    evaluated: int
    method: str


class Best:
    """The best candidate so far.

    Of equal scores the more equal weights are taken (the smallest sum of squares: fewest
    assumptions), then the first.
    """

    def __init__(self) -> None:
        self.weights: Array = np.empty(0)
        self.score = -np.inf
        self.squares = np.inf
        self.evaluated = 0

    def add(self, weights: Array, scores: Array) -> bool:
        """Look at more candidates, (m, s) with scores (m,); whether one is better than before.

        Raises:
            ValueError: A score is not a number.
        """
        self.evaluated += len(weights)
        if not len(weights):
            return False
        score = float(scores.max())
        if np.isnan(score):
            raise ValueError("the objective gave a score that is not a number")
        if score < self.score:
            return False
        equal = np.flatnonzero(scores == score)
        squares = sum_of_squares(weights[equal])
        first = int(np.argmin(squares))
        if (score, -squares[first]) <= (self.score, -self.squares):
            return False
        self.score, self.squares = score, float(squares[first])
        self.weights = weights[equal[first]].copy()
        return True

    def found(self, method: str) -> Found:
        """The result of a search that is over."""
        return Found(self.weights, self.score, self.evaluated, method)


def sum_of_squares(weights: Array) -> Array:
    """How unequal weights are, (m, s) -> (m,), from 1 / s to 1.

    Rounded to nine digits and summed in order of size, so that the same weights in another order
    are exactly as unequal.
    """
    squares: Array = np.square(np.sort(weights, axis=1)).sum(axis=1).round(9)
    return squares


def evaluate_column(objectives: Objectives, column: int) -> Objective:
    """One of several objectives by itself."""
    return lambda weights: objectives(weights)[:, column]


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
