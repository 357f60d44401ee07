"""Whether the normal level of scores has moved, from the log that `check --watch` keeps.

The recent scores are compared with the leave-one-out scores of the normal recordings by one number,
the share that lies below the median of these: half of it where nothing has moved. Anomalies only
lie above, so that they count for nothing up to the share `ANOMALIES`. Consecutive recordings are
alike, so that many of them say as much as few independent ones; how many is told from the rank
correlation of neighbors, taken as that of a Gaussian autoregressive series of order one.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from dcase_asd.errors import ArtifactError, DataError, TooFewClipsError, command
from dcase_asd.monitor.monitor import Monitor
from dcase_asd.monitor.verdict import Array

Word = Literal["unchanged", "higher", "lower", "cannot tell"]

ERROR_RATE = 0.01
"""Share of logs without a drift that are said to have one."""
LAST = 200
"""Recordings that count as recent."""
ANOMALIES = 0.1
"""Share of recent recordings that may be anomalous without counting as drift."""
FEWEST = 20
"""Recordings of a log that a statement takes."""
FEWEST_ALONE = 8.0
"""Independent recordings that they have to be worth."""
FOUND = 0.9
"""Share of the drifts of the size that is told which are found."""
LAGS = 400


@dataclass(frozen=True)
class Log:
    """What a log says of one model.

    Attributes:
        scores: Level of each recording, in the order of the log, (n,).
        anomalous: Which of them were called anomalous, (n,).
        damaged: Lines that are none of a log.
        first_damaged: The first of them, from 1; 0 where there is none.
        failed: Recordings that could not be checked.
        others: Recordings that another model has judged.
    """

    scores: Array
    anomalous: Array
    damaged: int = 0
    first_damaged: int = 0
    failed: int = 0
    others: int = 0


@dataclass(frozen=True)
class Drift:
    """What is said of the recent scores.

    Attributes:
        word: ``higher`` or ``lower`` where the normal level has moved.
        p_value: How probable so large a difference is where nothing has moved; both directions.
        below: Share of recent recordings below the median of the normal ones.
        recent: How many recordings were looked at.
        alone: How many independent ones they are worth.
        found: Drift, in standard deviations of normal scores, that is found in nine of ten cases.
    """

    word: Word
    p_value: float
    below: float
    recent: int
    alone: float
    found: float


def read_log(path: str | Path, monitor: Monitor) -> Log:
    """Read what `check --watch` wrote; damaged lines are counted.

    Raises:
        ArtifactError: It cannot be read.
        DataError: It holds no recording that this model has judged.
        TooFewClipsError: It holds fewer than `FEWEST`.
    """
    watch = f"write one with {command('check', 'fan.asd', 'inbox', '--watch')}"
    scores: list[float] = []
    anomalous: list[bool] = []
    damaged, first, failed, others = 0, 0, 0, 0
    try:
        with Path(path).open(encoding="utf-8", errors="replace") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                entry = _entry(line)
                if entry is None:
                    damaged, first = damaged + 1, first or number
                elif "error" in entry:
                    failed += 1
                elif entry["model"] != monitor.key:
                    others += 1
                else:
                    scores.append(float(entry["level"]))
                    anomalous.append(entry["verdict"] == "anomalous")
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read ({error.strerror}); {watch}") from error
    log = Log(
        np.array(scores), np.array(anomalous, dtype=np.float64), damaged, first, failed, others
    )
    if not scores:
        if others:
            raise DataError(f"{path}: of another model ({others} recording(s)); give the one that "
                            f"wrote it, or {watch}")  # fmt: skip
        what = (
            f"none of its {damaged + failed} line(s) is a verdict" if damaged + failed else "empty"
        )
        raise DataError(f"{path}: {what}; {watch}")
    if len(scores) < FEWEST:
        raise TooFewClipsError(f"{path}: {len(scores)} recording(s) of this model, and a statement "
                               f"takes {FEWEST}; go on watching")  # fmt: skip
    return log


def _entry(line: str) -> dict[str, Any] | None:
    """A line's values; None where it is no line of a log."""
    try:
        entry = json.loads(line)
        if not isinstance(entry["file"], str):
            return None
        if "error" not in entry and not (
            math.isfinite(float(entry["level"])) and {"model", "verdict"} <= set(entry)
        ):
            return None
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
    return dict(entry)


def find_drift(normal: Array, recent: Array, error_rate: float = ERROR_RATE) -> Drift:
    """Tell whether recent scores are those of the same level as the normal ones.

    Args:
        normal: Leave-one-out scores of the normal recordings in their order, (n,).
        recent: Scores of the recent recordings in their order, (m,).
        error_rate: Share of logs without a drift that may be said to have one.

    In 1,000 simulated logs each of 200 Gaussian scores, compared at a rate of 1 % with 25, 100 and
    1,000 normal ones, it told a drift that was none in at most 0.4 % (0.5 % where neighbors
    correlate by 0.5, 0.8 % by 0.8; with a tenth of anomalies 0.1, 0.5 and 2.8 %). Of 30 scores that
    correlate by 0.8 it told one in 2.7 %, with anomalies in 4.9 %. It found a drift of half a
    standard deviation upward in 3, 31 and 86 % (downward 13, 69 and 99 %), of a whole one in 42, 99
    and 100 % (69, 100 and 100 %); where neighbors correlate by 0.5 of half a one in 1, 6 and 38 %
    (3, 24 and 73 %), of a whole one in 7, 72 and 100 % (16, 89 and 100 %).
    """
    from scipy.special import ndtr, ndtri

    alone, usual = _worth(recent), _worth(normal)
    middle = np.median(normal)
    below = float(((recent < middle) + 0.5 * (recent == middle)).mean())
    least = 0.5 * (1 - ANOMALIES)
    spread = 0.5 * math.sqrt(1 / alone + 1 / usual)
    away = (below - 0.5 if below > 0.5 else min(below - least, 0.0)) / spread  # noqa: PLR2004
    p_value = float(min(1.0, 2 * ndtr(-abs(away))))
    reach = float(-ndtri(error_rate / 2) + ndtri(FOUND)) * spread
    found = float(-ndtri(least - reach)) if reach < least else math.inf
    word: Word = "unchanged"
    if min(alone, usual) < FEWEST_ALONE:
        word = "cannot tell"
    elif p_value <= error_rate:
        word = "lower" if away > 0 else "higher"
    return Drift(word, p_value, below, len(recent), alone, found)


def _worth(scores: Array) -> float:
    """How many independent scores so many consecutive ones are worth, where shares are told."""
    from scipy.stats import rankdata

    count = len(scores)
    ranks = rankdata(scores) - (count + 1) / 2
    total = float(ranks @ ranks)
    if count < 3 or not total:  # noqa: PLR2004 - no neighbors to compare
        return float(count)
    near = float(ranks[1:] @ ranks[:-1]) / total
    near = 2 * math.sin(math.pi / 6 * near)
    # Too small on average, by Marriott and Pope (Biometrika 41, 1954); and half a standard error.
    near += (1 + 3 * near) / count + 0.5 * math.sqrt(max(1 - near**2, 0.0) / count)
    lags = np.arange(1, min(count, LAGS))
    alike = np.arcsin(np.clip(near, 0.0, 0.99) ** lags) * (2 / math.pi)
    return count / float(1 + 2 * ((1 - lags / count) * alike).sum())
