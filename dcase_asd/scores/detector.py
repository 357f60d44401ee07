"""Anomaly scores of one machine and section, from the embeddings of its clips.

The leave-one-out scores of the train clips say what scores of normal clips look like; thresholds
and fusion are built on them, so they are made in the same way as those of test clips.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dcase_asd.errors import TooFewClipsError
from dcase_asd.recipe.detector import Detector
from dcase_asd.scores.density import SMALLEST_BANK, density_scores
from dcase_asd.scores.neighbors import Array, leave_one_out, nearest

Group = NDArray[np.intp] | slice
"""Which train clips form one bank; a slice needs no copy of them."""


@dataclass(frozen=True)
class SectionScores:
    """Scores of a section's clips.

    Attributes:
        train: Leave-one-out scores, (n,); NaN for a clip that has no other clip to be compared to.
        test: Scores, (q,).
        notes: What had to be handled differently, in words.
    """

    train: Array
    test: Array
    notes: list[str] = field(default_factory=list)


def score_section(
    train: NDArray[np.floating],
    train_domains: NDArray[np.str_],
    test: NDArray[np.floating],
    detector: Detector,
) -> SectionScores:
    """Score a section's test clips, and its train clips by leave-one-out.

    Args:
        train: Embeddings of normal clips, (n, d), n >= 1.
        train_domains: Domain of each train clip, (n,); empty text where there are no domains.
        test: Embeddings to score, (q, d).
        detector: How to score.

    Raises:
        TooFewClipsError: There is no train clip, or fewer than `detector.neighbors`.
    """
    notes: list[str] = []
    if len(train) == 0:
        raise TooFewClipsError("there is no train clip to compare with")
    if detector.normalize == "density":
        limit = len(train) - 2
        if len(train) >= SMALLEST_BANK:
            around = min(detector.density_neighbors, limit)
            if around < detector.density_neighbors:
                notes.append(
                    f"local density of {around} neighbors, all that {len(train)} clips have"
                )
            return SectionScores(*density_scores(train, test, detector.neighbors, around), notes)
        notes.append(f"{len(train)} train clip(s) have no local density: scored without")
    present = [str(domain) for domain in np.unique(train_domains)]
    groups: list[Group] = [slice(None)]
    if detector.domains == "minimum" or detector.normalize == "domain":
        groups = [np.flatnonzero(train_domains == domain) for domain in present]
        if present == ["source"]:
            notes.append("no target-domain train clip: scored against the source domain alone")
    train_scores, test_scores = _score_groups(train, groups, test, detector, notes)
    if np.isnan(train_scores).any():
        notes.append("a single train clip has no leave-one-out score: none is written")
    return SectionScores(train_scores, test_scores, notes)


def _score_groups(
    train: NDArray[np.floating],
    groups: list[Group],
    test: NDArray[np.floating],
    detector: Detector,
    notes: list[str],
) -> tuple[Array, Array]:
    """Minimum over groups of the distance to each, standardized where asked for."""
    train_scores, test_scores = np.full(len(train), np.inf), np.full(len(test), np.inf)
    several = len(groups) > 1
    own = [_left_out(train[group], detector.neighbors, several) for group in groups]
    spreads = _spreads(own, notes) if detector.normalize == "domain" else [(0.0, 1.0)] * len(own)
    for group, left_out, (mean, deviation) in zip(groups, own, spreads, strict=True):
        bank = train[group]
        neighbors = min(detector.neighbors, len(bank)) if several else detector.neighbors
        from_train = nearest(train, bank, neighbors) if several else left_out.copy()
        from_train[group] = left_out
        from_test = nearest(test, bank, neighbors)
        # fmin passes over the NaN of a clip that is its domain's only one.
        train_scores = np.fmin(train_scores, (from_train - mean) / deviation)
        test_scores = np.minimum(test_scores, (from_test - mean) / deviation)
    return np.where(np.isinf(train_scores), np.nan, train_scores), test_scores


def _left_out(group: NDArray[np.floating], neighbors: int, several: bool) -> Array:
    """Leave-one-out scores of a group; NaN for a single clip.

    A small domain averages over the neighbors that it has; all domains pooled must have enough.
    """
    if len(group) == 1:
        return np.array([np.nan])
    return leave_one_out(group, min(neighbors, len(group) - 1) if several else neighbors)


def _spreads(own: list[Array], notes: list[str]) -> list[tuple[float, float]]:
    """Mean and standard deviation of each group's leave-one-out scores."""
    pooled = np.concatenate(own)
    pooled = pooled[~np.isnan(pooled)]
    whole = (float(pooled.mean()), float(pooled.std())) if len(pooled) else (0.0, 0.0)
    if whole[1] == 0.0:
        notes.append("leave-one-out scores have no spread: not standardized")
        return [(0.0, 1.0)] * len(own)
    spreads = []
    for scores in own:
        known = scores[~np.isnan(scores)]
        if len(known) > 1 and known.std() > 0:
            spreads.append((float(known.mean()), float(known.std())))
        else:
            notes.append(
                f"a domain of {len(scores)} train clip(s) has no spread: "
                "standardized by that of all domains"
            )
            spreads.append(whole)
    return spreads
