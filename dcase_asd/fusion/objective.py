"""The official score of many candidate fusions at once, for a search of their weights.

`metrics.evaluate` gives everything about one system. A search asks for one number of each of a
million candidates: here a section's clips are ranked once for all values of the section, and
thousands of candidates together.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from dcase_asd.clips.name import DOMAINS
from dcase_asd.editions.edition import Metric
from dcase_asd.fusion.batched_ranking import ANOMALY, BatchedRanking, Kinds
from dcase_asd.metrics.bootstrap import draw_weights
from dcase_asd.metrics.ranking import FLOOR, Floats, Integers
from dcase_asd.metrics.strata import Curve, Strata, draw_curves, find_strata

ALL = 1
"""Kind of every normal clip where domains have no values of their own."""

KINDS = {domain: number for number, domain in enumerate(DOMAINS, start=1)}
"""Kind of each domain's normal clips; those of no domain are of the next one, which no curve has to
itself."""


class Pool(NamedTuple):
    """The clips of one ROC curve or of several with the same anomalous clips.

    Attributes:
        machine: Their machine type.
        rows: Rows of the table.
        kinds: Kind of each, as for `exact_ranking.values_of_rows`.
        counted: Kinds whose AUC counts for the official score, beside the pAUC of all clips.
    """

    machine: str
    rows: Integers
    kinds: Kinds
    counted: tuple[int, ...]


def draw_pools(curves: Sequence[Curve], strata: Strata, metric: Metric) -> list[Pool]:
    """The clips of all curves of an evaluation.

    Args:
        curves: In the order of `curves.draw_curves`: from 2022 on a section's curve of all clips
            before those of its domains.
        strata: Of the labelled clips.
        metric: The year's recipe.
    """
    if metric != "2022":
        return [_pool(curve, (ALL,), [ALL] * len(curve.strata), strata) for curve in curves]
    sections: defaultdict[tuple[str, str], list[Curve]] = defaultdict(list)
    for curve in curves:
        sections[curve.machine, curve.section].append(curve)
    pools = []
    for whole, *of_domains in sections.values():
        counted = tuple(KINDS[curve.domain] for curve in of_domains)
        domains = [strata.names[number].domain for number in whole.strata]
        kinds = [KINDS.get(domain, len(KINDS) + 1) for domain in domains]
        pools.append(_pool(whole, counted, kinds, strata))
    return pools


def _pool(curve: Curve, counted: tuple[int, ...], normal: list[int], strata: Strata) -> Pool:
    """The clips of a curve; `normal` is the kind that normal clips of each stratum are of."""
    kinds = [
        ANOMALY if strata.names[number].condition == "anomaly" else kind
        for number, kind in zip(curve.strata, normal, strict=True)
    ]
    rows = [strata.rows[number] for number in curve.strata]
    return Pool(
        machine=curve.machine,
        rows=np.concatenate(rows),
        kinds=np.repeat(np.array(kinds, dtype=np.uint8), [len(part) for part in rows]),
        counted=counted,
    )


LARGEST_SCORE = 1e300
"""Differences of such scores do not overflow yet."""

TOLERANCE = 1e-9
"""How far the sum of a candidate's weights may be off one by rounding."""


class OfficialObjective:
    """The official development score of weighted sums of systems; of 2020 ``means["mean"]``.

    Args:
        labelled: As for `metrics.evaluate`, without ``score``.
        systems: Scores of each system in the order of the rows, (s, clips), finite.
        metric: The recipe of the edition.
        strict: As for `metrics.evaluate`.

    Attributes:
        machines: The machine types, in ASCII order.

    Raises:
        GroundTruthError: As `metrics.evaluate`.
        ValueError: The scores are not finite, or not one of each row.
    """

    def __init__(
        self, labelled: pd.DataFrame, systems: Floats, metric: Metric, *, strict: bool = True
    ) -> None:
        systems = np.asarray(systems, dtype=np.float64)
        if systems.ndim != 2 or not len(systems) or systems.shape[1] != len(labelled):  # noqa: PLR2004
            raise ValueError(f"scores of {len(labelled)} clips cannot be {systems.shape}")
        strata = find_strata(labelled)
        if not (np.abs(systems) <= LARGEST_SCORE).all():
            raise ValueError(f"the scores of the systems must be finite, up to {LARGEST_SCORE:g}")
        curves = draw_curves(strata, metric, strict=strict).curves
        self.machines: tuple[str, ...] = tuple(sorted({curve.machine for curve in curves}))
        self._metric = metric
        self._strata = strata.rows
        self._pools = draw_pools(curves, strata, metric)
        self._owners = [self.machines.index(pool.machine) for pool in self._pools]
        self._counts = np.zeros(len(self.machines), dtype=np.intp)
        for owner, pool in zip(self._owners, self._pools, strict=True):
            self._counts[owner] += 1 if metric == "2020" else len(pool.counted) + 1
        self._take(systems)

    def _take(self, systems: Floats) -> None:
        """Rank the clips by other scores."""
        self._systems = systems
        self._rankings = [
            BatchedRanking(systems[:, pool.rows], pool.kinds, pool.counted) for pool in self._pools
        ]

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
        return self.combined(self.machine_terms(weights))

    def scores_left_out(self, weights: Floats) -> Floats:
        """Scores on all machine types and with one left out: (m, s) -> (m, 1 + machines).

        Column 0 is `scores`; column j + 1 leaves out ``machines[j]``.

        Raises:
            ValueError: As `scores`, or there is but one machine type.
        """
        terms = self.machine_terms(weights)
        every = range(len(self.machines))
        others = [[kept for kept in every if kept != number] for number in every]
        return np.stack([self.combined(terms, kept) for kept in (every, *others)], axis=1)

    def held_out_score(self, weights: Floats) -> float:
        """The score of machine types that each have weights of their own.

        Args:
            weights: Of each machine type, (machines, s), such as were fitted on all others.
        """
        terms = np.diagonal(self.machine_terms(weights))
        return float(self.combined(terms[None, :])[0])

    def machine_terms(self, weights: Floats) -> Floats:
        """What each machine type adds to the score; `combined` makes a score of it.

        Args:
            weights: As for `scores`.

        Returns:
            Sums of reciprocals of the values that the score is the harmonic mean of (2020: the mean
            of AUC and pAUC), (m, machines).

        Raises:
            ValueError: As `scores`.
        """
        weights = np.asarray(weights, dtype=np.float64)
        _check_weights(weights, len(self._systems))
        terms = np.zeros((len(weights), len(self.machines)))
        for owner, ranking in zip(self._owners, self._rankings, strict=True):
            values = ranking.values(weights)
            if self._metric == "2020":
                terms[:, owner] += values.mean(axis=1) / self._counts[owner]
            else:
                terms[:, owner] += (1.0 / np.maximum(values, FLOOR)).sum(axis=1)
        return terms

    def combined(self, terms: Floats, kept: Sequence[int] | None = None) -> Floats:
        """Scores on some machine types.

        Args:
            terms: Of `machine_terms`, (m, machines).
            kept: Numbers of the machine types that count; None takes all.

        Returns:
            Scores, (m,).

        Raises:
            ValueError: No machine type is kept.
        """
        chosen = list(range(len(self.machines)) if kept is None else kept)
        if not chosen:
            raise ValueError("a score needs at least one machine type")
        # Machine by machine, so that equal terms give equal sums in whatever row they stand.
        total = terms[:, chosen[0]].copy()
        for number in chosen[1:]:
            total += terms[:, number]
        if self._metric == "2020":
            means: Floats = total / len(chosen)
            return means
        harmonic: Floats = self._counts[chosen].sum() / total
        return harmonic

    def resampled(self, generator: np.random.Generator) -> OfficialObjective:
        """The objective on test clips that are drawn again, as those of `bootstrap`.

        Args:
            generator: Of the draws, with replacement within each machine type, section, domain and
                condition.
        """
        drawn = np.empty(self._systems.shape[1], dtype=np.intp)
        for rows in self._strata:
            drawn[rows] = np.repeat(rows, draw_weights(len(rows), 1, generator)[0])
        resample = copy.copy(self)
        resample._take(self._systems[:, drawn])  # noqa: SLF001
        return resample


def _check_weights(weights: Floats, systems: int) -> None:
    if weights.ndim != 2 or weights.shape[1] != systems:  # noqa: PLR2004
        raise ValueError(f"weights of {systems} systems cannot be {weights.shape}")
    sums = weights.sum(axis=1)
    if not ((weights >= 0).all() and (np.abs(sums - 1.0) <= TOLERANCE).all()):
        raise ValueError("weights must be zero or more and sum to one")
