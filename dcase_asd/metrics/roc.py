"""The points of the ROC curves whose areas make an official result."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from dcase_asd.editions.edition import Metric
from dcase_asd.metrics.ranking import Booleans, Floats
from dcase_asd.metrics.strata import build_curves, find_strata


@dataclass(frozen=True)
class RocCurve:
    """One curve, of a section or of a domain of it (`domain` is empty for all its clips).

    Attributes:
        false_alarm_rate: Share of normal clips above each threshold, (p,), from 0 to 1.
        detection_rate: Share of anomalous clips above it, (p,), from 0 to 1.
    """

    machine: str
    section: str
    domain: str
    false_alarm_rate: Floats
    detection_rate: Floats


def roc_curves(labelled: pd.DataFrame, metric: Metric, *, strict: bool = True) -> list[RocCurve]:
    """The curves that a year's recipe takes areas of, each over the very clips that it counts.

    Args:
        labelled: As for `metrics.evaluate`.
        metric: The recipe of the edition.
        strict: As for `metrics.evaluate`.

    Raises:
        GroundTruthError: As `metrics.evaluate`.
    """
    curves = build_curves(find_strata(labelled), metric, strict=strict)
    scores = labelled["score"].to_numpy(dtype=np.float64)[curves.rows]
    found = []
    for number, curve in enumerate(curves.curves):
        mine = curves.curve == number
        points = roc_points(scores[mine], curves.anomalous[mine])
        found.append(RocCurve(curve.machine, curve.section, curve.domain, *points))
    return found


def roc_points(scores: Floats, anomalous: Booleans) -> tuple[Floats, Floats]:
    """False-alarm and detection rate at every threshold; equal scores share a point.

    By hand, as a report would wait a second for the import of scikit-learn's `roc_curve`.

    Args:
        scores: Anomaly scores, (n,).
        anomalous: Whether each clip is anomalous, (n,); at least one is, and one is not.

    Returns:
        Both rates, (p,) each, from the origin to (1, 1).
    """
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    last = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    detected = np.cumsum(anomalous[order])[last]
    alarms = last + 1 - detected
    return (
        np.concatenate(([0.0], alarms / alarms[-1])),
        np.concatenate(([0.0], detected / detected[-1])),
    )
