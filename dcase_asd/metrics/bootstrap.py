"""How far an official score may be off by the choice of test clips: a bootstrap interval.

Test clips are drawn again with replacement within each machine, section, domain and condition, so
that every resample holds as many clips of each kind as the test set. A resample gives each clip a
weight, and all resamples share one order of the scores: cumulative sums of weights replace a
thousand sorts. The result is exact, ties included.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dcase_asd.editions.edition import Metric
from dcase_asd.metrics.ranking import (
    FLOOR,
    MAXIMUM_FALSE_ALARM_RATE,
    Booleans,
    Floats,
    Integers,
    mcclish,
)
from dcase_asd.metrics.strata import Curve, build_curves, find_strata

LEVEL = 0.95
"""Share of the resamples that lie within the interval."""

RESAMPLES_AT_ONCE = 1000
"""Bounds memory: weights of 1000 resamples of a section with 200 clips take 1.6 MB."""


@dataclass(frozen=True)
class Interval:
    """Percentile bootstrap interval of a value; `level` is its share of resamples."""

    lower: float
    upper: float
    level: float
    resamples: int
    seed: int

    @property
    def percent(self) -> str:
        """Both ends in percent with two decimals."""
        return f"{100 * self.lower:.2f} to {100 * self.upper:.2f}"

    @property
    def words(self) -> str:
        """Its level and both ends."""
        return f"{100 * self.level:.0f} % interval {self.percent}"


Intervals = dict[str, dict[str, Interval]]
"""Machine type, or the empty name for the means over all -> key of a result -> interval."""


def confidence_interval(
    labelled: pd.DataFrame, metric: Metric, *, resamples: int = 1000, seed: int = 0
) -> Interval:
    """Interval of the official score; of 2020, which has none, of ``means["mean"]``.

    Args:
        labelled: As for `metrics.evaluate`.
        metric: The recipe of the edition.
        resamples: Number of times that the test clips are drawn again, at least 1.
        seed: Of the draws.

    Raises:
        GroundTruthError: As `metrics.evaluate`.
    """
    scores = resampled_scores(labelled, metric, resamples, np.random.default_rng(seed))
    return _interval(scores, seed)


def own_intervals(labelled: pd.DataFrame, *, resamples: int = 1000, seed: int = 0) -> Intervals:
    """Intervals of what one's own machines are told by: AUC, pAUC and the mean of both.

    Args:
        labelled: As for `metrics.evaluate`; sections without both conditions are left out.
        resamples: As for `confidence_interval`.
        seed: Of the draws.

    Returns:
        The intervals of ``auc``, ``pauc`` and ``mean``.

    Raises:
        GroundTruthError: No section has normal and anomalous clips.
    """
    generator = np.random.default_rng(seed)
    parts = list(_resampled_values(labelled, "2020", resamples, generator, strict=False))
    auc, pauc = (np.concatenate([part[which] for part in parts]) for which in (1, 2))
    owners = np.array([curve.machine for curve in parts[0][0]])
    values = np.stack((auc, pauc, (auc + pauc) / 2))
    drawn = {name: values[:, :, owners == name].mean(axis=2) for name in sorted(set(owners))}
    drawn[""] = np.mean(list(drawn.values()), axis=0)
    return {
        name: {
            key: _interval(of, seed) for key, of in zip(("auc", "pauc", "mean"), each, strict=True)
        }
        for name, each in drawn.items()
    }


def resampled_scores(
    labelled: pd.DataFrame, metric: Metric, resamples: int, generator: np.random.Generator
) -> Floats:
    """The official score of each resample, (resamples,)."""
    parts = _resampled_values(labelled, metric, resamples, generator)
    return np.concatenate(
        [_official_scores(auc, pauc, curves, metric) for curves, auc, pauc in parts]
    )


def _resampled_values(
    labelled: pd.DataFrame,
    metric: Metric,
    resamples: int,
    generator: np.random.Generator,
    *,
    strict: bool = True,
) -> Iterator[tuple[tuple[Curve, ...], Floats, Floats]]:
    """The curves with their AUC and pAUC in each resample, (some resamples, curves) at a time."""
    strata = find_strata(labelled)
    curves = build_curves(strata, metric, strict=strict)
    scores = labelled["score"].to_numpy(dtype=np.float64)
    for start in range(0, resamples, RESAMPLES_AT_ONCE):
        weights = np.empty((min(RESAMPLES_AT_ONCE, resamples - start), len(scores)), dtype=np.intp)
        for rows in strata.rows:
            weights[:, rows] = draw_weights(len(rows), len(weights), generator)
        values = []
        for number in range(len(curves.curves)):
            mine = curves.curve == number
            rows = curves.rows[mine]
            of_curve = scores[rows], curves.anomalous[mine], weights[:, rows]
            values.append(_weighted_auc_and_pauc(*of_curve))
        auc, pauc = np.stack(values, axis=-1)
        yield curves.curves, auc, pauc


def _interval(values: Floats, seed: int) -> Interval:
    lower, upper = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist()
    return Interval(lower, upper, LEVEL, len(values), seed)


def draw_weights(clips: int, resamples: int, generator: np.random.Generator) -> Integers:
    """How often each of a stratum's clips is drawn in each resample, (resamples, clips)."""
    drawn = generator.integers(clips, size=(resamples, clips))
    drawn += np.arange(resamples)[:, None] * clips
    return np.bincount(drawn.ravel(), minlength=resamples * clips).reshape(resamples, clips)


def _weighted_auc_and_pauc(
    scores: Floats, anomalous: Booleans, weight: Integers
) -> tuple[Floats, Floats]:
    """AUC and standardized pAUC of one curve in each resample; weights are (resamples, clips)."""
    order = np.argsort(-scores)
    ordered = scores[order]
    points = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))  # ties share a point
    weight, anomalous = weight[:, order], anomalous[order]
    detected = np.cumsum(weight * anomalous, axis=1)[:, points].astype(np.float64)
    alarms = np.cumsum(weight * ~anomalous, axis=1)[:, points].astype(np.float64)

    anomalies, normals = int(anomalous.sum()), int((~anomalous).sum())
    new_detected = np.diff(detected, axis=1, prepend=0.0)
    new_alarms = np.diff(alarms, axis=1, prepend=0.0)
    before = detected - new_detected
    auc = (new_alarms * (before + detected)).sum(axis=1) / (2 * anomalies * normals)

    # The part of each step that lies left of the largest false-alarm rate, as a share of it.
    within = np.clip(MAXIMUM_FALSE_ALARM_RATE * normals - (alarms - new_alarms), 0.0, new_alarms)
    share = within / np.maximum(new_alarms, 1.0)
    area = (within * (2 * before + share * new_detected)).sum(axis=1) / (2 * anomalies * normals)
    return auc, mcclish(area)


def _official_scores(
    auc: Floats, pauc: Floats, curves: tuple[Curve, ...], metric: Metric
) -> Floats:
    """The score of each resample from the values of all curves, (resamples, curves) each."""
    if metric == "2020":
        machines = [curve.machine for curve in curves]
        share = np.array([1 / machines.count(machine) for machine in machines])
        mean: Floats = (auc + pauc) @ share / (2 * len(set(machines)))
        return mean
    if metric == "2022":
        of_domain = np.array([curve.domain != "" for curve in curves])
        auc, pauc = auc[:, of_domain], pauc[:, ~of_domain]
    values = np.maximum(np.concatenate((auc, pauc), axis=1), FLOOR)
    score: Floats = 1.0 / np.mean(1.0 / values, axis=1)
    return score
