"""How far fitted weights may be off by the choice of test clips: the search, on resamples."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from dcase_asd.fusion.search import Objective, coordinate_search, lattice_search, lattice_size
from dcase_asd.progress import Advance
from dcase_asd.scores.neighbors import Array

FEW_POINTS = 1001
"""Lattices up to this size are looked at as a whole for every resample: five systems at a step of
0.1. Of larger ones coordinates are refined."""

LEVEL = 0.95
"""Share of the resamples' weights that lie between `WeightSpread.lower` and `WeightSpread.upper`,
for each system by itself."""


@dataclass(frozen=True)
class WeightSpread:
    """The weights that were fitted to resamples of the test clips.

    Attributes:
        weights: Of each resample, (resamples, s).
        method: How they were searched for, in words.
    """

    weights: Array
    method: str

    @property
    def mean(self) -> Array:
        """Mean weight of each system, (s,)."""
        mean: Array = self.weights.mean(axis=0)
        return mean

    @property
    def deviation(self) -> Array:
        """Standard deviation of each system's weight, (s,)."""
        deviation: Array = self.weights.std(axis=0)
        return deviation

    @property
    def lower(self) -> Array:
        """Lower end of each system's percentile interval, (s,)."""
        lower: Array = np.quantile(self.weights, (1 - LEVEL) / 2, axis=0)
        return lower

    @property
    def upper(self) -> Array:
        """Upper end of each system's percentile interval, (s,)."""
        upper: Array = np.quantile(self.weights, (1 + LEVEL) / 2, axis=0)
        return upper


def weight_spread(
    resamples: Iterable[Objective],
    fitted: Array,
    step: float,
    advance: Advance | None = None,
) -> WeightSpread:
    """Fit weights to each resample.

    Args:
        resamples: The objective on test clips that were drawn again, at least one.
        fitted: The weights that were fitted to all clips, (s,): larger lattices are refined from
            there and from equal weights.
        step: Of the lattice, a fraction of one.
        advance: Told of each resample that is done.

    Raises:
        ValueError: The step does not divide one, or there is no resample.
    """
    systems = len(fitted)
    starts = [np.full(systems, 1 / systems), fitted]
    few = lattice_size(systems, step) <= FEW_POINTS
    weights = []
    for objective in resamples:
        found = (
            lattice_search(objective, systems, step)
            if few
            else coordinate_search(objective, systems, step, starts)
        )
        weights.append(found.weights)
        if advance:
            advance(1)
    if not weights:
        raise ValueError("the spread of weights needs at least one resample")
    method = (
        "exhaustive lattice" if few else "coordinate-wise refinement from equal and fitted weights"
    )
    return WeightSpread(np.array(weights), f"{method}, step {step:g}")
