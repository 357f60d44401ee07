"""Which of the systems are fused: by the robustness of their scores, or by their dev scores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dcase_asd.errors import TooFewClipsError
from dcase_asd.fusion.members import GROUP, Members
from dcase_asd.fusion.result import Robustness
from dcase_asd.recipe.fusion import Fusion
from dcase_asd.scores.neighbors import Array

LOWEST = 0.1
"""Share of the test clips that is looked at: the lowest scores, few of which are anomalies."""
FEWEST = 5
"""Scores below a level that its mean gap is taken over, at least."""
NORMAL_QUARTILES = 1.349
"""Distance between the quartiles of a normal distribution, in its standard deviations."""


def spread(train: Array) -> float:
    """Standard deviation as the middle half of scores tells it, which no outlier stretches."""
    lower, upper = np.quantile(train, (0.25, 0.75))
    return float(upper - lower) / NORMAL_QUARTILES


def normal_shift(train: Array, test: Array) -> float:
    """How far scores of presumably normal clips have moved from train to test clips.

    The mean gap between a level and the scores below it (the mean inactivity time of reliability
    theory: I. A. Ahmad and M. Kayid, Probability in the Engineering and Informational Sciences
    19(4), 2005, 447-461) does not depend on how many scores lie above the level, nor on how far.
    Thus the lowest tenth of the test scores tells where normal clips are now, whether the anomalies
    stand apart or look like normal clips: the level above that tenth is compared with the level of
    the train scores that has the same mean gap. What is told is their distance, in units of
    `spread`. A change of scale changes the gaps, so it counts too.

    Its limits: without a label, a part of the normal clips that moves away (such as the target
    domain alone) is like anomalies as long as the lowest tenth stays; anomalies that score lower
    than normal clips are taken for a move; those that score a little higher add up to 0.1. With 200
    clips, half of them normal, what has not moved measures 0.1 (skewed scores) to 0.5 (scores
    without a steep lower end) for a machine; compare means over machines.

    Args:
        train: Leave-one-out scores of a machine type's and section's train clips, (n,), finite.
        test: Scores of its test clips, (q,), finite, of whatever condition.

    Returns:
        The distance, 0 or more.

    Raises:
        TooFewClipsError: There are too few scores, or the middle half of the train scores is one.
    """
    if min(len(train), len(test)) <= FEWEST or spread(train) == 0:
        raise TooFewClipsError(
            f"how far normal clips have moved needs more than {FEWEST} test scores, and as many "
            "train scores that differ"
        )
    levels, gaps = _mean_gaps(test)
    lowest = max(0, round(LOWEST * len(test)) - FEWEST)
    before, gaps_before = _mean_gaps(train)
    # Gaps grow with the level but for noise: the sorted gaps belong to the sorted levels.
    level = np.interp(gaps[lowest], np.sort(gaps_before), before)
    return float(abs(levels[lowest] - level) / spread(train))


def _mean_gaps(scores: Array) -> tuple[Array, Array]:
    """Levels, each a score with `FEWEST` or more below it, and their mean gaps to these."""
    ordered = np.sort(scores)
    means = np.cumsum(ordered)[FEWEST - 1 : -1] / np.arange(FEWEST, len(ordered))
    return ordered[FEWEST:], ordered[FEWEST:] - means


def measure_robustness(members: Members) -> Robustness | None:
    """How far each system's scores of normal evaluation clips have moved from train scores.

    Of each machine type of the evaluation set, the mean over its sections; no label is used.

    Returns:
        The table; None where there are no scores of an evaluation set.

    Raises:
        TooFewClipsError: As `normal_shift`.
    """
    evaluation = (members.clips["stage"] == "eval").to_numpy(dtype=bool)
    groups, test = members.groups, members.of_split("test")
    distances: dict[str, list[list[float]]] = {}
    for group in np.unique(groups[evaluation & test]):
        of_group = groups == group
        _, machine, _ = members.clips.loc[int(np.argmax(of_group)), GROUP]
        try:
            found = [
                normal_shift(scores[of_group & ~test], scores[of_group & test])
                for scores in members.scores
            ]
        except TooFewClipsError as error:
            raise TooFewClipsError(f"{members.where(int(group))}: {error}") from error
        distances.setdefault(str(machine), []).append(found)
    if not distances:
        return None
    table = np.stack([np.mean(of_machine, axis=0) for of_machine in distances.values()], axis=1)
    return Robustness(
        systems=members.names,
        machines=tuple(distances),
        distance=tuple(map(tuple, table.tolist())),
        mean=tuple(table.mean(axis=1).tolist()),
    )


def select(values: Sequence[float], kept: Sequence[bool], count: int) -> tuple[int, ...]:
    """Systems that are kept in any case, and of the others those with the smallest values.

    Args:
        values: One for each system; of equal ones the first comes first.
        kept: Whether a system is kept in any case.
        count: How many of the others.

    Returns:
        Numbers of the systems, ascending.
    """
    others = [number for number, keep in enumerate(kept) if not keep]
    chosen = sorted(others, key=lambda number: values[number])[:count]
    return tuple(sorted({*chosen, *(number for number, keep in enumerate(kept) if keep)}))


def find_robustness(members: Members, fusion: Fusion) -> tuple[Robustness | None, list[str]]:
    """The table; None and why not, where it cannot be measured and the fusion can do without.

    Raises:
        TooFewClipsError: As `measure_robustness`, where it decides on the fusion.
    """
    try:
        return measure_robustness(members), []
    except TooFewClipsError as error:
        if fusion.select.startswith("robust"):
            raise
        return None, [f"robustness is not measured: {error}"]
