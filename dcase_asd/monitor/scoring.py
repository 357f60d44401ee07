"""From vectors of normal windows to scores: the one place where the detector is chosen."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcase_asd.errors import TooFewClipsError
from dcase_asd.monitor.verdict import Array, Calibration
from dcase_asd.scores.composed import Standardized
from dcase_asd.scores.detectors import LEFT_OUT_TIMES, AnomalyDetector
from dcase_asd.scores.named import DETECTORS

FEWEST_WINDOWS = 3
"""One to score, and two to learn from."""
BLOCKS = 8
"""Parts of a single recording, each of which is scored by what is learnt from the others."""


@dataclass(frozen=True)
class DetectorChoice:
    """Which detector scores windows; part of a model's file.

    Attributes:
        name: A row of `scores.named.DETECTORS`.
        standardize: See `scores.composed.Standardized`.
        options: Of the detector.
    """

    name: str = "mahalanobis"
    standardize: bool = True
    options: dict[str, Any] = field(default_factory=dict)

    def make(self) -> AnomalyDetector:
        """The detector, not fitted yet."""
        inner = self._inner()
        return Standardized(self._inner) if self.standardize else inner

    def _inner(self) -> AnomalyDetector:
        return DETECTORS[self.name](**self.options)


@dataclass(frozen=True)
class Scorer:
    """Scores windows by normal ones.

    Attributes:
        vectors: Of the normal windows, (n, d).
        owners: Recording of each of them, (n,).
        choice: The detector.
        left_out: Raw leave-one-out scores, (n,), where they are known.
    """

    vectors: Array
    owners: NDArray[np.intp]
    choice: DetectorChoice
    left_out: Array | None = None

    @cached_property
    def detector(self) -> AnomalyDetector:
        """The detector, fitted with all normal windows."""
        return self.choice.make().fit(self.vectors)

    @cached_property
    def raw_left_out(self) -> Array:
        """Score of each normal window by those of the other recordings, (n,)."""
        return self._leave_out() if self.left_out is None else self.left_out

    @cached_property
    def unit(self) -> float:
        """Raw score of a usual normal window, which `score` calls 1."""
        return float(np.median(np.abs(self.raw_left_out))) or 1.0

    @cached_property
    def calibration(self) -> Calibration:
        """What a score is compared with."""
        return Calibration(self.raw_left_out / self.unit)

    def score(self, vectors: Array) -> Array:
        """Scores (q,) of windows (q, d)."""
        return np.asarray(self.detector.score(vectors) / self.unit)

    @cached_property
    def _standard(self) -> tuple[Array, Array, Array]:
        """Mean and gain of each value, and the normal windows standardized by them."""
        mean, deviation = self.vectors.mean(axis=0), self.vectors.std(axis=0)
        gain = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=deviation > 0)
        return mean, gain, (self.vectors - mean) * gain

    def nearest(self, vector: Array) -> int:
        """The normal window most similar to one, (d,), by the distance of standardized vectors."""
        mean, gain, normal = self._standard
        return int(((normal - (vector - mean) * gain) ** 2).sum(axis=1).argmin())

    def _leave_out(self) -> Array:
        count, names = len(self.vectors), np.unique(self.owners)
        if count < FEWEST_WINDOWS:
            raise TooFewClipsError(f"{count} window(s) of normal recordings")
        if len(names) == count:
            return self.detector.leave_one_out()
        # Windows of one recording are alike: all of them are left out together; but one that holds
        # most of the windows is left out block by block, as the others would be too few.
        groups = np.searchsorted(names, self.owners) % LEFT_OUT_TIMES
        most = np.bincount(groups).argmax()
        inside = np.flatnonzero(groups == most)
        if len(inside) > count / 2:
            blocks = np.arange(len(inside)) * min(BLOCKS, len(inside)) // len(inside)
            groups[inside] = groups.max() + 1 + blocks
        scores = np.empty(count)
        for group in np.unique(groups):
            out = groups == group
            detector = self.choice.make().fit(self.vectors[~out])
            scores[out] = detector.score(self.vectors[out])
        return scores
