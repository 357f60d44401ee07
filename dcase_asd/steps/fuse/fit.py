"""Weights of systems: given, equal, or those with the best official score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dcase_asd.artifacts.fusion import WeightSpread
from dcase_asd.challenge.batched_ranking import weighted_sums
from dcase_asd.challenge.official_objective import OfficialObjective
from dcase_asd.detection.bayesian_search import bayesian_search
from dcase_asd.detection.candidates import Objectives, evaluate_column
from dcase_asd.detection.weight_search import grid_searches, grid_work
from dcase_asd.detection.weight_spread import weight_spread
from dcase_asd.fused_system import SEARCHES, Fusion
from dcase_asd.progress import Progress
from dcase_asd.steps.fuse.members import Floats

SPREAD_STEP = 0.05
"""Step of the lattice that resamples are searched on where the weights are not on one."""


@dataclass(frozen=True)
class Fit:
    """Which systems are fused, and how.

    Attributes:
        systems: Their numbers, ascending.
        weights: One for each of them; None takes the smallest score.
        searched: How the weights were found, in words.
    """

    systems: tuple[int, ...]
    weights: Floats | None
    searched: str

    def fuse(self, scores: Floats) -> Floats:
        """One system's scores of several's, (systems, clips) -> (clips,)."""
        chosen = scores[list(self.systems)]
        if self.weights is None:
            smallest: Floats = chosen.min(axis=0)
            return smallest
        total: Floats = weighted_sums(self.weights[None], chosen)[0]
        return total


def plain_fit(systems: Sequence[int], fusion: Fusion) -> Fit:
    """The weights of a method that searches none."""
    chosen = tuple(systems)
    if fusion.method == "minimum":
        return Fit(chosen, None, "smallest standardised score of each clip")
    if fusion.method == "weights":
        return Fit(chosen, np.array(fusion.weights), "weights given by hand")
    return equal_fit(chosen)


def equal_fit(systems: Sequence[int]) -> Fit:
    """All systems alike."""
    return Fit(tuple(systems), np.full(len(systems), 1 / len(systems)), "equal weights")


def fit_columns(
    objectives: Objectives,
    columns: int,
    systems: Sequence[int],
    fusion: Fusion,
    progress: Progress,
) -> list[Fit]:
    """The best weights by each of several objectives.

    Args:
        objectives: Scores of candidates, (m, systems) -> (m, columns).
        columns: How many objectives there are.
        systems: Numbers of the systems.
        fusion: Which search, of which size.
        progress: Where to tell how far it is.
    """
    if fusion.method not in SEARCHES:
        return [plain_fit(systems, fusion)] * columns
    count = len(systems)
    if fusion.method == "grid":
        with progress.bar(
            "Searching weights", grid_work(columns, count, fusion.step), "steps"
        ) as advance:
            found = grid_searches(objectives, columns, count, fusion.step, advance)
    else:
        with progress.bar("Searching weights", columns * fusion.budget, "candidates") as advance:
            found = [
                bayesian_search(
                    evaluate_column(objectives, column),
                    count,
                    fusion.budget,
                    fusion.seed,
                    fusion.patience,
                    advance,
                )
                for column in range(columns)
            ]
    return [Fit(tuple(systems), each.weights, each.method) for each in found]


def spread_of_weights(
    objective: OfficialObjective, weights: Floats, fusion: Fusion, progress: Progress
) -> WeightSpread:
    """How fitted weights vary over bootstrap samples of the labelled clips.

    Clips are drawn again within each machine type, section, domain and condition.

    Args:
        objective: Of the fused systems.
        weights: As they were found.
        fusion: Of which lattice, how many samples, which seed.
        progress: Where to tell how far it is.
    """
    generator = np.random.default_rng(fusion.seed)
    resampled = (objective.resampled(generator).scores for _ in range(fusion.resamples))
    step = fusion.step if fusion.method == "grid" else SPREAD_STEP
    with progress.bar("Resampling", fusion.resamples, "samples") as advance:
        found = weight_spread(resampled, weights, step, advance)
    mean, std, lower, upper = (
        tuple(values.tolist()) for values in (found.mean, found.deviation, found.lower, found.upper)
    )
    return WeightSpread(fusion.resamples, found.method, mean, std, lower, upper)
