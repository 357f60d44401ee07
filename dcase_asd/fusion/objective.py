"""The official score of many candidate fusions at once, and the best of them.

`metrics.evaluate` gives everything about one system. A search asks for one number of each of a
million candidates: here a section's clips are ranked once for all values of the section, and
thousands of candidates together.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pandas as pd

from dcase_asd.clips.name import DOMAINS
from dcase_asd.editions.edition import Metric
from dcase_asd.fusion.batched_ranking import ANOMALY, BatchedRanking, Numbers
from dcase_asd.metrics.bootstrap import draw_weights
from dcase_asd.metrics.ranking import FLOOR, Floats, Integers
from dcase_asd.metrics.strata import Curve, Strata, build_curves, find_strata

ALL = 1
"""Stratum of every normal clip where domains have no values of their own."""

NUMBERS = {domain: number for number, domain in enumerate(DOMAINS, start=1)}
"""Stratum of each domain's normal clips; those of no domain are of the next one, which has no AUC
to itself."""


class RankingSet(NamedTuple):
    """Clips that are ranked against each other: of a section, or of one of its domains.

    Attributes:
        machine: Their machine type.
        rows: Rows of the table.
        strata: Stratum of each, as for `batched_ranking.values_of_rows`.
        with_auc: Strata whose AUC counts for the official score, beside the pAUC of all clips.
    """

    machine: str
    rows: Integers
    strata: Numbers
    with_auc: tuple[int, ...]


def build_ranking_sets(curves: Sequence[Curve], strata: Strata, metric: Metric) -> list[RankingSet]:
    """The clips of all curves of an evaluation.

    Args:
        curves: In the order of `strata.build_curves`: from 2022 on a section's curve of all clips
            before those of its domains, which have their anomalous clips in common.
        strata: Of the labelled clips.
        metric: The year's recipe.
    """
    sections: dict[tuple[str, ...], list[Curve]] = {}
    for curve in curves:
        key = (curve.machine, curve.section, "" if metric == "2022" else curve.domain)
        sections.setdefault(key, []).append(curve)
    sets = []
    for whole, *of_domains in sections.values():
        rows = [strata.rows[number] for number in whole.strata]
        numbers = [
            ANOMALY if name.condition == "anomaly"
            else NUMBERS.get(name.domain, len(NUMBERS) + 1) if metric == "2022" else ALL
            for name in (strata.names[number] for number in whole.strata)
        ]  # fmt: skip
        of_clips = np.repeat(np.array(numbers, dtype=np.uint8), [len(part) for part in rows])
        domains = tuple(NUMBERS[curve.domain] for curve in of_domains)
        with_auc = domains if metric == "2022" else (ALL,)
        sets.append(RankingSet(whole.machine, np.concatenate(rows), of_clips, with_auc))
    return sets


LARGEST_SCORE = 1e300
"""Differences of such scores do not overflow yet."""

TOLERANCE = 1e-9
"""How far the sum of a candidate's weights may be off one by rounding."""


class OfficialObjective:
    """The official development score of weighted sums of systems; of 2020 ``means["mean"]``.

    Args:
        labelled: As for `metrics.evaluate`, without ``score``.
        systems: Scores of each system, (s, clips), finite.
        metric: The recipe of the edition.
        strict: As for `metrics.evaluate`.
        clips: Which of the clips the rows are, (n,); None: they are the rows.

    Attributes:
        machines: The machine types, in ASCII order.
        folds: Numbers of the machine types of each fold: all and, where there are several, all but
            the first, all but the second, ...
        left_out: Sentences about values that are not defined.

    Raises:
        GroundTruthError: As `metrics.evaluate`.
        ValueError: The scores are not finite, or not one of each row.
    """

    def __init__(
        self,
        labelled: pd.DataFrame,
        systems: Floats,
        metric: Metric,
        *,
        strict: bool = True,
        clips: Integers | None = None,
    ) -> None:
        self._clips = slice(None) if clips is None else clips
        systems = np.asarray(systems, dtype=np.float64)[..., self._clips]
        if systems.ndim != 2 or not len(systems) or systems.shape[1] != len(labelled):  # noqa: PLR2004
            raise ValueError(f"scores of {len(labelled)} clips cannot be {systems.shape}")
        strata = find_strata(labelled)
        if not (np.abs(systems) <= LARGEST_SCORE).all():
            raise ValueError(f"the scores of the systems must be finite, up to {LARGEST_SCORE:g}")
        curves = build_curves(strata, metric, strict=strict)
        self.left_out = curves.left_out
        self._metric = metric
        self._strata = strata.rows
        self._sets = build_ranking_sets(curves.curves, strata, metric)
        self.machines: tuple[str, ...] = tuple(sorted({each.machine for each in self._sets}))
        every = range(len(self.machines))
        without = [[kept for kept in every if kept != out] for out in every]
        self.folds = [list(every), *(without if len(every) > 1 else [])]
        self._owners = [self.machines.index(each.machine) for each in self._sets]
        values = [1 if metric == "2020" else len(each.with_auc) + 1 for each in self._sets]
        self._counts = np.bincount(self._owners, values)
        self._take(systems)

    def _take(self, systems: Floats) -> OfficialObjective:
        """Rank the rows by these scores, (s, n)."""
        self._systems = systems
        self._rankings = [
            BatchedRanking(systems[:, each.rows], each.strata, each.with_auc) for each in self._sets
        ]
        return self

    def of(self, systems: Floats) -> OfficialObjective:
        """The objective of other systems on the same clips, (s, clips), finite."""
        return copy.copy(self)._take(systems[:, self._clips])  # noqa: SLF001

    def resampled(self, generator: np.random.Generator) -> OfficialObjective:
        """The objective on test clips that are drawn again, as those of `bootstrap`.

        Args:
            generator: Of the draws, with replacement within each machine type, section, domain and
                condition.
        """
        drawn = np.empty(self._systems.shape[1], dtype=np.intp)
        for rows in self._strata:
            drawn[rows] = np.repeat(rows, draw_weights(len(rows), 1, generator)[0])
        return copy.copy(self)._take(self._systems[:, drawn])  # noqa: SLF001

    def scores(self, weights: Floats) -> Floats:
        """The official score of each candidate.

        Args:
            weights: Weights of the systems, (m, s), each row on the simplex.

        Returns:
            Scores, (m,), those of `metrics.evaluate` for the weighted sums of the systems, each
            added up by `batched_ranking.weighted_sums`.

        Raises:
            ValueError: Weights are negative, do not sum to one or are not as many as systems.
        """
        return self._combine(self._machine_terms(weights), self.folds[0])

    def fold_scores(self, weights: Floats) -> Floats:
        """Scores of each candidate on each of `folds`, (m, s) -> (m, folds).

        Raises:
            ValueError: As `scores`.
        """
        terms = self._machine_terms(weights)
        return np.stack([self._combine(terms, kept) for kept in self.folds], axis=1)

    def held_out_scores(self, weights: Floats) -> list[float]:
        """Scores where each machine type has weights of its own.

        The AUCs and pAUCs of all machine types enter one official score as they would with common
        weights: one harmonic mean over all of them (2020: the mean over machine types).

        Args:
            weights: Of each machine type, (machines, s), such as were fitted on all others.

        Returns:
            The score of all machine types, then that of each alone.
        """
        terms = np.diagonal(self._machine_terms(weights))[None]
        parts = [self.folds[0], *([number] for number in self.folds[0])]
        return [float(self._combine(terms, part)[0]) for part in parts]

    def _machine_terms(self, weights: Floats) -> Floats:
        """What each machine type adds to the score; `_combine` makes a score of it.

        Returns:
            Sums of reciprocals of the values that the score is the harmonic mean of (2020: the mean
            of AUC and pAUC), (m, machines).
        """
        weights, systems = np.asarray(weights, dtype=np.float64), len(self._systems)
        if weights.ndim != 2 or weights.shape[1] != systems:  # noqa: PLR2004
            raise ValueError(f"weights of {systems} systems cannot be {weights.shape}")
        off = np.abs(weights.sum(axis=1) - 1.0)
        if not ((weights >= 0).all() and (off <= TOLERANCE).all()):
            raise ValueError("weights must be zero or more and sum to one")
        terms = np.zeros((len(weights), len(self.machines)))
        for owner, ranking in zip(self._owners, self._rankings, strict=True):
            values = ranking.values(weights)
            if self._metric == "2020":
                terms[:, owner] += values.mean(axis=1) / self._counts[owner]
            else:
                terms[:, owner] += (1.0 / np.maximum(values, FLOOR)).sum(axis=1)
        return terms

    def _combine(self, terms: Floats, kept: Sequence[int]) -> Floats:
        """Scores on the machine types of some numbers, (m, machines) -> (m,)."""
        # Machine by machine, so that equal terms give equal sums in whatever row they stand.
        total = terms[:, kept[0]].copy()
        for number in kept[1:]:
            total += terms[:, number]
        score: Floats = (
            total / len(kept) if self._metric == "2020" else self._counts[kept].sum() / total
        )
        return score


Objective = Callable[[Floats], Floats]
"""Scores of candidate weights, (m, s) -> (m,), or on several folds, -> (m, folds); higher is
better."""


@dataclass
class Best:
    """The best candidate so far.

    Of equal scores the more equal weights are taken (the smallest sum of squares: fewest
    assumptions), then the first.

    Attributes:
        weights: Its weights, (s,), on the simplex.
        score: Its score.
        squares: The sum of squares of its weights, from 1 / s to 1.
        evaluated: How many candidates were looked at.
        method: What was done, in words, once the search is over.
    """

    weights: Floats = field(default_factory=lambda: np.empty(0))
    score: float = -np.inf
    squares: float = np.inf
    evaluated: int = 0
    method: str = ""

    def add(self, weights: Floats, scores: Floats) -> bool:
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
        equal = weights[scores == score]
        # Rounded and summed in order of size, so that the same weights in another order are exactly
        # as unequal.
        squares = np.square(np.sort(equal, axis=1)).sum(axis=1).round(9)
        first = int(np.argmin(squares))
        if score == self.score and squares[first] >= self.squares:
            return False
        self.score, self.squares = score, float(squares[first])
        self.weights = equal[first].copy()
        return True
