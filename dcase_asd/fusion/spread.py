"""How far fitted weights may be off by the choice of test clips: the search, on resamples."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from dcase_asd.fusion.objective import Objective
from dcase_asd.fusion.result import WeightSpread
from dcase_asd.fusion.search import coordinate_search, grid_search, grid_size
from dcase_asd.metrics.ranking import Floats
from dcase_asd.progress import Advance

FEW_POINTS = 1001
"""Grids up to this size are looked at as a whole for every resample: five systems at a step of
0.1. Of larger ones coordinates are refined."""

LEVEL = 0.95
"""Share of the resamples' weights between `WeightSpread.lower` and `WeightSpread.upper`, for each
system by itself."""


def weight_spread(
    resamples: Iterable[Objective], fitted: Floats, step: float, advance: Advance | None = None
) -> WeightSpread:
    """Fit weights to each resample.

    Args:
        resamples: The objective on test clips that were drawn again, at least one.
        fitted: The weights that were fitted to all clips, (s,): larger grids are refined from
            there and from equal weights.
        step: Distance of the grid's points, a fraction of one.
        advance: Told of each resample that is done.

    Raises:
        ValueError: The step does not divide one, or there is no resample.
    """
    systems = len(fitted)
    starts = [np.full(systems, 1 / systems), fitted]
    few = grid_size(systems, step) <= FEW_POINTS
    found = []
    for objective in resamples:
        best = (
            grid_search(objective, systems, step)[0]
            if few
            else coordinate_search(objective, systems, step, starts)
        )
        found.append(best.weights)
        if advance:
            advance(1)
    if not found:
        raise ValueError("the spread of weights needs at least one resample")
    weights = np.array(found)
    lower, upper = np.quantile(weights, ((1 - LEVEL) / 2, (1 + LEVEL) / 2), axis=0).tolist()
    return WeightSpread(
        resamples=len(found),
        # Stored results say lattice for the grid as a whole.
        searched=("exhaustive lattice" if few else "coordinate-wise refinement from equal and "
                  "fitted weights") + f", step {step:g}",
        mean=tuple(weights.mean(axis=0).tolist()),
        std=tuple(weights.std(axis=0).tolist()),
        lower=tuple(lower),
        upper=tuple(upper),
    )  # fmt: skip
