"""AUC and partial AUC of many rows of scores of the same clips, ties included."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dcase_asd.challenge.ranking import MAXIMUM_FALSE_ALARM_RATE, Floats, standardised

ANOMALY = 0
"""Kind of an anomalous clip; normal clips are of kinds 1, 2 or 3."""

Kinds = NDArray[np.uint8]


def values_of_rows(scores: Floats, kinds: Kinds, counted: tuple[int, ...]) -> Floats:
    """AUC of each counted kind of normal clips, and pAUC of all of them, of each row.

    The AUC is the share of pairs of a normal and an anomalous clip in which the anomalous one has
    the higher score, a tie counting half (J. A. Hanley and B. J. McNeil, Radiology 143(1), 1982);
    so each normal clip adds the mean of the detections just before and just after its group of
    equal scores. The pAUC adds up the same means as far as the group lies within
    `MAXIMUM_FALSE_ALARM_RATE`; where the limit cuts a group, the part of its slanted line that
    lies within.

    Args:
        scores: Anomaly scores, (m, n), finite.
        kinds: Kind of each clip, (n,): `ANOMALY`, or 1 to 3 of a normal clip. Both occur.
        counted: Kinds of normal clips whose AUC against all anomalous clips is asked for.

    Returns:
        Values in [0, 1], (m, len(counted) + 1), the standardised pAUC last.
    """
    rows, clips = scores.shape
    normals = int(np.count_nonzero(kinds != ANOMALY))
    anomalies = clips - normals
    row = np.arange(rows)[:, None]
    order = np.argsort(scores, axis=1)
    ordered = scores.ravel()[order + row * clips]
    kind = kinds[order]
    first = np.ones(scores.shape, dtype=np.bool_)
    np.not_equal(ordered[:, 1:], ordered[:, :-1], out=first[:, 1:])

    # Groups of equal scores, and the anomalous clips below each group's edges, through all rows.
    edges = np.append(np.flatnonzero(first), scores.size)
    anomalies_below = np.append(0, np.cumsum(kind == ANOMALY))[edges]
    normals_below = edges - anomalies_below
    places = np.flatnonzero(kind != ANOMALY).reshape(rows, normals)
    group = (np.cumsum(first) - 1)[places]
    below, up_to = anomalies_below[group], anomalies_below[group + 1]

    values = np.empty((rows, len(counted) + 1))
    twice = below + up_to - 2 * anomalies * row
    kind = kind.ravel()[places]
    for column, number in enumerate(counted):
        pairs = 2 * anomalies * int(np.count_nonzero(kinds == number))
        values[:, column] = 1.0 - np.einsum("mn,mn->m", twice, kind == number) / pairs

    alarms_before = normals * (row + 1) - normals_below[group + 1]
    size = normals_below[group + 1] - normals_below[group]
    share = np.clip((MAXIMUM_FALSE_ALARM_RATE * normals - alarms_before) / size, 0.0, 1.0)
    detected_before = anomalies * (row + 1) - up_to
    area = (share * (detected_before + 0.5 * share * (up_to - below))).sum(axis=1)
    values[:, -1] = standardised(area / (normals * anomalies))
    return values
