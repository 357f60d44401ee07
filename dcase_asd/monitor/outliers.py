"""Normal recordings that are far from all others: told by name, never left out unasked."""

from __future__ import annotations

import shlex
from dataclasses import replace

import numpy as np

from dcase_asd.monitor.judge import Judge
from dcase_asd.monitor.scoring import FEWEST_WINDOWS
from dcase_asd.monitor.verdict import Array

FAR_OUT, FAR_ALONE = 5.0, 2.0
"""Normal recordings are told of that score so many times the usual one, and so many times the next
largest."""
MOST_FAR = 0.1
"""Share of the recordings that may be far from the others; of fewer than ten it is one."""


def far_recordings(judge: Judge, false_alarms: float) -> str | None:
    """Which recordings are far from all others, what that does to the threshold, and the way out.

    Args:
        judge: With all normal windows.
        false_alarms: Share of normal recordings that may be called anomalous.
    """
    normals, scores = judge.normals, judge.scorer.calibration.scores
    owners = np.unique(normals.owners)
    worst = np.array([scores[normals.owners == each].max() for each in owners])
    order = worst.argsort()[::-1]
    count = _how_many(worst[order])
    far = owners[order[:count]]
    kept = np.flatnonzero(~np.isin(normals.owners, far))
    if not count or len(kept) < FEWEST_WINDOWS:
        return None
    others = replace(judge, normals=normals.chosen(kept), saved={})
    limit, without = (each.scorer.calibration.threshold(false_alarms) for each in (judge, others))
    names = [normals.recordings[each].name for each in far]
    told = [f"{name} (score {worst[at]:.3g})" for name, at in zip(names, order, strict=False)]
    are, them = ("is", "it") if count == 1 else ("are", "them")
    flags = " ".join(f"--exclude {shlex.quote(name)}" for name in names)
    return (
        f"{', '.join(told)} {are} far from all other normal recordings (at most "
        f"{worst[order[count]]:.3g}): the threshold is {limit:.3g}, without {them} {without:.3g}; "
        f"listen to {them}, and if the machine or the microphone was not as usual, fit again with "
        f"{flags}"
    )


def _how_many(falling: Array) -> int:
    """How many of the largest scores stand apart; as many as there may be, 0 where none does."""
    most = min(max(1, int(MOST_FAR * len(falling))), len(falling) - 1)
    for count in range(most, 0, -1):
        if falling[count - 1] > max(FAR_OUT, FAR_ALONE * falling[count]):
            return count
    return 0
