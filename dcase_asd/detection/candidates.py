"""The best of the candidate weights that a search has looked at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dcase_asd.detection.neighbors import Array

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
