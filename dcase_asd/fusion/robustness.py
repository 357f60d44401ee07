"""How far scores of normal clips have moved from train clips to evaluation clips, by no label."""

from __future__ import annotations

import numpy as np

from dcase_asd.errors import TooFewClipsError
from dcase_asd.fusion.members import Members
from dcase_asd.fusion.result import Robustness
from dcase_asd.metrics.ranking import Floats
from dcase_asd.recipe.fusion import Fusion

LOWEST = 0.1
"""Share of the test clips that is looked at: the lowest scores, few of which are anomalies."""
FEWEST = 5
"""Scores below a level that its mean gap is taken over, at least."""
NORMAL_QUARTILES = 1.349
"""Distance between the quartiles of a normal distribution, in its standard deviations."""


def spread(train: Floats) -> float:
    """Standard deviation as the middle half of scores tells it, which no outlier stretches."""
    lower, upper = np.quantile(train, (0.25, 0.75))
    return float(upper - lower) / NORMAL_QUARTILES


def normal_shift(train: Floats, test: Floats) -> float:
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


def _mean_gaps(scores: Floats) -> tuple[Floats, Floats]:
    """Levels, each a score with `FEWEST` or more below it, and their mean gaps to these."""
    ordered = np.sort(scores)
    means = np.cumsum(ordered)[FEWEST - 1 : -1] / np.arange(FEWEST, len(ordered))
    return ordered[FEWEST:], ordered[FEWEST:] - means


def find_robustness(members: Members, fusion: Fusion) -> Robustness | None:
    """How far each system's scores of normal evaluation clips have moved from train scores.

    Of each machine type of the evaluation set, the mean over its sections; no label is used.

    Returns:
        The table; None where there are no scores of an evaluation set, or, with a note why, where
        it cannot be measured and the fusion can do without.

    Raises:
        TooFewClipsError: As `normal_shift`, where robustness decides on the fusion.
    """
    evaluation = (members.clips["stage"] == "eval").to_numpy(dtype=bool)
    test = members.of_split("test")
    distances: dict[str, list[list[float]]] = {}
    for group in np.unique(members.groups[evaluation & test]):
        of_group = members.groups == group
        try:
            found = [
                normal_shift(scores[of_group & ~test], scores[of_group & test])
                for scores in members.scores
            ]
        except TooFewClipsError as error:
            reason = f"{members.where(group)}: {error}"
            if fusion.select.startswith("robust"):
                raise TooFewClipsError(reason) from error
            members.notes.append(f"robustness is not measured: {reason}")
            return None
        machine = str(members.clips["machine"].iloc[int(np.argmax(of_group))])
        distances.setdefault(machine, []).append(found)
    if not distances:
        return None
    table = np.stack([np.mean(sections, axis=0) for sections in distances.values()], axis=1)
    return Robustness(
        systems=members.names,
        machines=tuple(distances),
        distance=tuple(map(tuple, table.tolist())),
        mean=tuple(table.mean(axis=1).tolist()),
    )
