"""Which systems are fused, and the search for their weights.

Candidates are the points of a grid on the simplex, all of them or, where they are too many, those
of a refinement coordinate by coordinate; or what `bayesian` proposes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, combinations, islice
from math import comb

import numpy as np
from numpy.typing import NDArray

from dcase_asd.errors import ScoresError
from dcase_asd.fusion.batched_ranking import weighted_sums
from dcase_asd.fusion.bayesian import bayesian_search
from dcase_asd.fusion.members import Members
from dcase_asd.fusion.objective import Best, Objective
from dcase_asd.fusion.result import Robustness, Weights
from dcase_asd.metrics.ranking import Floats
from dcase_asd.progress import Advance, Progress
from dcase_asd.recipe.fusion import ROUNDING, SEARCHES, Fusion, Method, parts_of


@dataclass(frozen=True)
class Fit:
    """Which systems are fused, and how.

    Attributes:
        systems: Their numbers, ascending.
        weights: One for each of them; None takes the smallest score, or the calibrated union.
        searched: How the weights were found, in words.
        calibrated: Whether it is the union.
    """

    systems: tuple[int, ...]
    weights: Weights | None
    searched: str
    calibrated: bool = False

    def fuse(self, members: Members) -> Floats:
        """One system's scores of all systems', (clips,).

        Raises:
            ScoresError: A system's scores cannot be calibrated.
        """
        chosen = list(self.systems)
        if self.calibrated:
            return members.calibrated_union(chosen)
        standardized = members.standardized[chosen]
        fused: Floats = (
            standardized.min(axis=0)
            if self.weights is None
            else weighted_sums(np.array([self.weights]), standardized)[0]
        )
        return fused


def label_free_fit(systems: Sequence[int], method: Method) -> Fit:
    """The fusion of some systems by one of `LABEL_FREE`."""
    systems = tuple(systems)
    if method == "minimum":
        return Fit(systems, None, "smallest standardised score of each clip")
    if method == "calibrated":
        words = "smallest share of normal clips as far out as each clip, calibrated once more"
        return Fit(systems, None, words, calibrated=True)
    return Fit(systems, (1 / len(systems),) * len(systems), "equal weights")


def fit_all(
    members: Members, fusion: Fusion, robustness: Robustness | None, progress: Progress
) -> list[Fit]:
    """The fusion, and where labels decide on it, one that is fitted without each machine type.

    A selection by dev scores is made again for each machine type that is left out, so that its
    labels take no part in what is fused for it.

    Args:
        members: All systems, with labelled clips where labels decide.
        fusion: As the user asked for it.
        robustness: Of all systems; needed for a selection by it.
        progress: Where to tell how far it is.

    Returns:
        One fit for each fold of `objective.OfficialObjective`.

    Raises:
        ScoresError: There are no evaluation scores for a selection by robustness.
    """
    objective, selection = members.objective, fusion.selection
    systems = tuple(range(len(members.names)))
    if selection is not None and selection.rule == "robust":
        if robustness is None:
            raise ScoresError(
                f"select {fusion.select!r} compares evaluation scores with train scores, and there "
                "are no evaluation scores; score the evaluation set, or select best:N"
            )
        systems = select(robustness.mean, fusion.kept, selection.count)
    if objective is None or not fusion.uses_labels:
        return [_plain_fit(systems, fusion)]
    selected = [systems] * len(objective.folds)
    if selection is not None and selection.rule == "best":
        alone = objective.fold_scores(np.eye(len(systems)))
        selected = [select((-fold).tolist(), fusion.kept, selection.count) for fold in alone.T]
    fits: dict[int, Fit] = {}
    for chosen in dict.fromkeys(selected):
        wanted = [fold for fold, of in enumerate(selected) if of == chosen]
        if fusion.method in SEARCHES:
            of_chosen = objective.of(members.standardized[list(chosen)])
            scores = partial(_on_folds, of_chosen.fold_scores, wanted)
            best = search_weights(scores, len(wanted), len(chosen), fusion, progress)
            found = [Fit(chosen, tuple(each.weights.tolist()), each.method) for each in best]
        else:
            found = [_plain_fit(chosen, fusion)] * len(wanted)
        fits |= dict(zip(wanted, found, strict=True))
    return [fits[fold] for fold in range(len(selected))]


def select(values: Sequence[float], kept: Sequence[bool], count: int) -> tuple[int, ...]:
    """Systems that are kept in any case, and of the others those with the smallest values.

    Args:
        values: One for each system; of equal ones the first comes first.
        kept: Whether a system is kept in any case.
        count: How many of the others.

    Returns:
        Numbers of the systems, ascending.
    """
    always = [number for number, keep in enumerate(kept) if keep]
    others = [number for number, keep in enumerate(kept) if not keep]
    return tuple(sorted(always + sorted(others, key=values.__getitem__)[:count]))


def _plain_fit(systems: tuple[int, ...], fusion: Fusion) -> Fit:
    """The weights of a method that searches none."""
    if fusion.method == "weights":
        return Fit(systems, fusion.weights, "weights given by hand")
    return label_free_fit(systems, fusion.method)


def _on_folds(objective: Objective, wanted: int | list[int], weights: Floats) -> Floats:
    scores: Floats = objective(weights)[:, wanted]
    return scores


LARGEST_GRID = 1_000_000
"""Points that are all looked at: 13 systems at a step of 0.1 make 646,646, which take five seconds
for seven machine types of 200 clips. Coordinates of larger grids are refined."""


def search_weights(
    objective: Objective, folds: int, systems: int, fusion: Fusion, progress: Progress
) -> list[Best]:
    """The best weights on each fold.

    Args:
        objective: Scores of candidates, (m, systems) -> (m, folds).
        folds: How many folds there are.
        systems: How many systems.
        fusion: Which search, of which size.
        progress: Where to tell how far it is.
    """
    what, size = "Searching weights", grid_size(systems, fusion.step)
    if fusion.method == "grid" and size <= LARGEST_GRID:
        with progress.bar(what, size, "steps") as advance:
            return grid_search(objective, systems, fusion.step, advance)
    alone = [partial(_on_folds, objective, fold) for fold in range(folds)]
    if fusion.method == "grid":
        with progress.bar(what, folds * (systems + 1), "steps") as advance:
            return [coordinate_search(each, systems, fusion.step, None, advance) for each in alone]
    with progress.bar(what, folds * fusion.budget, "candidates") as advance:
        return [
            bayesian_search(each, systems, fusion.budget, fusion.seed, fusion.patience, advance)
            for each in alone
        ]


def grid_size(systems: int, step: float) -> int:
    """How many points the grid has.

    Raises:
        ValueError: The step does not divide one.
    """
    return comb(parts_of(step) + systems - 1, systems - 1)


def grid_points(systems: int, step: float, at_once: int = 8192) -> Iterator[Floats]:
    """Every vector of weights that are multiples of `step` and sum to one.

    Args:
        systems: Number of weights, s >= 1.
        step: Distance of the grid's points, a fraction of one.
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
    size = grid_size(systems, step)
    for start in range(0, size, at_once):
        count = min(at_once, size - start)
        chosen = np.fromiter(
            chain.from_iterable(islice(bars, count)), dtype=np.intp, count=count * (systems - 1)
        ).reshape(count, systems - 1)
        stars = np.diff(chosen, axis=1, prepend=-1, append=places) - 1
        yield stars[:, ::-1] / parts


def grid_search(
    objective: Objective, systems: int, step: float, advance: Advance | None = None
) -> list[Best]:
    """The best of all grid points on each fold, in one pass over the grid.

    Args:
        objective: Scores of candidates, (m, s) -> (m, folds), or (m,) of a single fold.
        systems: Number of weights.
        step: Distance of the grid's points, a fraction of one.
        advance: Told of points that are done, `grid_size` in all.

    Raises:
        ValueError: The step does not divide one.
    """
    best: list[Best] = []
    # Stored results say lattice for the grid as a whole.
    method = f"exhaustive lattice, step {step:g}, {grid_size(systems, step):,} points"
    for points in grid_points(systems, step):
        scores = objective(points).reshape(len(points), -1)
        best = best or [Best(method=method) for _ in scores.T]
        for each, fold in zip(best, scores.T, strict=True):
            each.add(points, fold)
        if advance:
            advance(len(points))
    return best


def coordinate_search(
    objective: Objective,
    systems: int,
    step: float,
    starts: Sequence[Floats] | None = None,
    advance: Advance | None = None,
) -> Best:
    """A grid point that no exchange of weight between two systems improves.

    From each start all exchanges of 1, 2, 4, ... steps between two systems are looked at, and
    the best is made as long as one improves. The result is the best of all starts: perhaps not
    that of the whole grid, but the same each time.

    Args:
        objective: Scores of candidates, (m, s) -> (m,).
        systems: Number of weights.
        step: Distance of the grid's points, a fraction of one.
        starts: Weights to start from, (s,) each, moved to the nearest grid point; None takes
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
    best.method = (
        f"coordinate-wise refinement, step {step:g}, from {len(starts)} start(s), "
        f"{best.evaluated:,} candidates"
    )
    return best


Steps = NDArray[np.intp]
"""A point of the grid as whole numbers of steps, (s,)."""


def nearest_point(weights: Floats, parts: int) -> Steps:
    """The grid point nearest to weights on the simplex, (s,), in steps that sum to `parts`.

    Rounded down first; the steps that are left go to the largest remainders, then to the first.
    """
    exact = weights * parts
    steps = np.floor(exact + ROUNDING).astype(np.intp)
    left = parts - int(steps.sum())
    steps[np.argsort(steps - exact, kind="stable")[:left]] += 1
    return steps


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
