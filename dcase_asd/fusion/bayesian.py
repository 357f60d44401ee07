"""Search for the weights of a fusion with a Gaussian process over the simplex.

The process (scikit-optimize's) lives on the weights themselves, not on a map of the simplex to a
cube: the distance of two candidates is that of their weights, no system comes before another as in
stick breaking, and the faces of the simplex, where some systems weigh nothing, are points like any
others. The next candidate is the one of the largest expected improvement among many draws: over
the whole simplex, over its faces, and close to the best so far.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from dcase_asd.fusion.objective import Best, Objective
from dcase_asd.metrics.ranking import Floats
from dcase_asd.progress import Advance

DRAWS = 300
"""Points that the expected improvement is looked at for each of the three kinds of draws."""

REFITTED_EVERY = 5
"""The kernel's amplitude, length and noise are fitted again after so many candidates; in between
only the candidates are added."""

REACH = (1e-3, 0.5)
"""Shortest and longest distance, as a share of the way to another point, that a draw lies from
the best candidate."""


def bayesian_search(
    objective: Objective,
    systems: int,
    budget: int = 200,
    seed: int = 0,
    patience: int = 60,
    advance: Advance | None = None,
) -> Best:
    """The best of the candidates that a Gaussian process proposes one after another.

    Equal weights and each system alone come first, then as many random ones, then proposals.

    Args:
        objective: Scores of candidates, which are evaluated exactly.
        systems: Number of weights, s >= 1.
        budget: The largest number of candidates, at least 1.
        seed: Seed of all random draws.
        patience: Stops after so many proposals without a better one, at least 1.
        advance: Told of candidates that are done; `budget` in all, with those that an early stop
            leaves out.

    Raises:
        ValueError: The budget or the patience is less than 1.
    """
    if budget < 1 or patience < 1:
        raise ValueError("a search needs a budget and a patience of at least 1")
    from threadpoolctl import threadpool_limits

    generator = np.random.default_rng(seed)
    tried = np.concatenate(
        [
            np.full((1, systems), 1 / systems),
            np.eye(systems),
            generator.dirichlet(np.ones(systems), size=systems + 1),
        ]
    )[:budget]
    scores = objective(tried)
    best = Best()
    best.add(tried, scores)
    if advance:
        advance(len(tried))
    process, waited = _Process(), 0
    # Matrices of a few hundred rows: a second thread would cost more than it gives.
    with threadpool_limits(limits=1, user_api="blas"):
        while systems > 1 and len(tried) < budget and waited < patience:
            proposed = process.propose(tried, scores, _draws(best.weights, generator))
            score = objective(proposed)
            waited = 0 if best.add(proposed, score) else waited + 1
            tried, scores = np.concatenate((tried, proposed)), np.concatenate((scores, score))
            if advance:
                advance(1)
    if advance:
        advance(budget - len(tried))
    stop = f", stopped early of {budget:,}" if len(tried) < budget else ""
    best.method = (
        f"Gaussian process over the simplex (scikit-optimize), {len(tried):,} candidates{stop}, "
        f"seed {seed}"
    )
    return best


class _Process:
    """The Gaussian process: a smooth function with noise, since ranks change in small steps."""

    def __init__(self) -> None:
        self._kernel: Any = None
        self._until = 0

    def propose(self, tried: Floats, scores: Floats, draws: Floats) -> Floats:
        """The draw with the largest expected improvement, (1, s)."""
        refit = len(tried) >= self._until
        spread = float(scores.std()) or 1.0
        costs = (scores.mean() - scores) / spread
        with warnings.catch_warnings():
            # That a fitted value lies at the end of its range is no concern of the user's.
            warnings.simplefilter("ignore")
            from skopt.acquisition import gaussian_ei
            from skopt.learning import GaussianProcessRegressor
            from skopt.learning.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

            if refit:
                smooth = ConstantKernel(1.0, (1e-3, 1e4)) * Matern(1.0, (1e-2, 1e2), nu=2.5)
                self._kernel = smooth + WhiteKernel(1e-3, (1e-6, 1.0))
            process = GaussianProcessRegressor(
                self._kernel, optimizer="fmin_l_bfgs_b" if refit else None, noise="gaussian"
            ).fit(tried, costs)
            if refit:
                self._until = len(tried) + REFITTED_EVERY
                self._kernel = process.kernel_.k1 + WhiteKernel(process.noise_)
            improvement = gaussian_ei(draws, process, y_opt=float(costs.min()))
        return draws[[int(np.argmax(improvement))]]


def _draws(best: Floats, generator: np.random.Generator) -> Floats:
    """Points of the simplex among which the next candidate is chosen, (3 * `DRAWS`, s)."""
    systems = len(best)
    whole = generator.dirichlet(np.ones(systems), size=DRAWS)
    # A face: every system takes part with a chance that is itself drawn; one of them always does.
    part = generator.random((DRAWS, systems)) < generator.random((DRAWS, 1))
    part[np.arange(DRAWS), generator.integers(systems, size=DRAWS)] = True
    faces = generator.standard_exponential((DRAWS, systems)) * part
    faces /= faces.sum(axis=1, keepdims=True)
    # Near the best: a step towards or away from a face's point, cut off where a weight ends.
    low, high = np.log(REACH)
    reach = np.exp(generator.uniform(low, high, size=(DRAWS, 1)))
    away = np.where(generator.random((DRAWS, 1)) < 0.5, -1.0, 1.0)  # noqa: PLR2004
    towards = faces[generator.permutation(DRAWS)]
    near = np.maximum(best + away * reach * (towards - best), 0.0)
    near /= near.sum(axis=1, keepdims=True)
    return np.concatenate((whole, faces, near))
