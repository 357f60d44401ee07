"""How systems compare: whether they agree on clips, and how far their scores have moved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dcase_asd.detection.robustness import normal_shift, spread
from dcase_asd.errors import TooFewClipsError
from dcase_asd.steps.report.systems import Stage

Floats = NDArray[np.float64]

CLIP = ["stage", "machine", "section", "file"]
FEWEST_CLIPS = 3
"""Of fewer, ranks say nothing."""


@dataclass(frozen=True)
class Agreement:
    """Rank correlations of systems.

    Attributes:
        names: The systems.
        correlations: Spearman's, of the ranks of each pair, (systems, systems), in [-1, 1]; NaN
            where it is not defined.
        clips: Number of test clips that all systems scored.
        sections: Number of machine sections that they are means over.
    """

    names: tuple[str, ...]
    correlations: Floats
    clips: int
    sections: int


@dataclass(frozen=True)
class Shift:
    """A section's scores in units of its train scores' spread, and how far normal ones moved."""

    label: str
    train: Floats
    test: Floats
    distance: float


def rank_correlations(tests: Mapping[str, pd.DataFrame]) -> Agreement | None:
    """Whether systems put test clips into the same order.

    Spearman's correlation within each machine and section, averaged over these, as levels of
    machines are not what systems should agree on.

    Args:
        tests: System -> test scores with the columns of `CLIP` and ``score``.

    Returns:
        None for a single system, or where they share no section.
    """
    if len(tests) < 2:  # noqa: PLR2004 - a pair
        return None
    columns = [table.set_index(CLIP)["score"].rename(name) for name, table in tests.items()]
    together = pd.concat(columns, axis=1, join="inner")
    matrices = []
    for _, scores in together.groupby(CLIP[:3], sort=True):
        if len(scores) < FEWEST_CLIPS:
            continue
        ranks = scores.rank().to_numpy(dtype=np.float64)
        centred = ranks - ranks.mean(axis=0)
        norm = np.sqrt((centred**2).sum(axis=0))
        with np.errstate(invalid="ignore"):  # a system with equal scores agrees with nobody
            matrices.append(centred.T @ centred / np.outer(norm, norm))
    if not matrices:
        return None
    stacked = np.stack(matrices)
    defined = np.isfinite(stacked)
    total = np.where(defined, stacked, 0.0).sum(axis=0)
    counts = defined.sum(axis=0)
    values = np.where(counts > 0, total / np.maximum(counts, 1), np.nan)
    return Agreement(tuple(tests), values, len(together), len(matrices))


def shifts(stage: Stage) -> tuple[list[Shift], list[str]]:
    """How far scores of each section's normal clips have moved from train to test clips.

    Returns:
        The shifts of sections where one is defined, and sentences about the others.
    """
    found, lacking = [], []
    for section in stage.sections:
        label = stage.label(section)
        train, test = section.train, section.scores()
        try:
            moved = normal_shift(train, test)
        except TooFewClipsError as error:
            lacking.append(f"{label}: {error}")
            continue
        middle, unit = np.median(train), spread(train)
        found.append(Shift(label, (train - middle) / unit, (test - middle) / unit, moved))
    return found, lacking


def distances(names: Sequence[str], of_systems: Sequence[Sequence[Shift]]) -> Floats:
    """Distances of systems (rows) for each of the sections named (columns), NaN where unknown."""
    table = np.full((len(of_systems), len(names)), np.nan)
    for row, of_system in enumerate(of_systems):
        for shift in of_system:
            table[row, names.index(shift.label)] = shift.distance
    return table
