"""From normal windows to scores: the one place where the detector is chosen and the event added.

A window's score is the sum of two: how far its vector is from the normal ones by a detector, and
its event, the strongest deviation of anything within it, in which a short one counts as well. Each
is divided by its standard deviation over the normal windows, each of which is scored by what is
learnt without it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from dcase_asd.errors import TooFewClipsError
from dcase_asd.monitor.verdict import Array, Calibration
from dcase_asd.recipe.detector import Detector
from dcase_asd.scores.detector import make_detector
from dcase_asd.scores.detectors import LEFT_OUT_TIMES, AnomalyDetector
from dcase_asd.scores.named import BANDS

FEWEST_WINDOWS = 3
"""One to score, and two to learn from."""
BLOCKS = 8
"""Parts of a single recording, each of which is scored by what is learnt from the others."""


SPECTRA = Detector("mahalanobis", standardize=True)
"""Detector of mean and deviation of the spectrum."""


@dataclass(frozen=True)
class Scorer:
    """Scores windows by normal ones.

    Attributes:
        vectors: Of the normal windows, (n, d), or (n, f, d) of frequency bands.
        owners: Recording of each of them, (n,).
        events: The strongest deviation in each of them, (n,), see `heat.normal_events`.
        choice: The detector; all windows are of one domain.
        left_out: Raw leave-one-out scores, (n,), where they are known.
    """

    vectors: Array
    owners: NDArray[np.intp]
    events: Array
    choice: Detector
    left_out: Array | None = None

    @cached_property
    def detector(self) -> AnomalyDetector:
        """The detector, fitted with all normal windows."""
        return self._fitted(self.vectors)

    def _fitted(self, vectors: Array) -> AnomalyDetector:
        return make_detector(self.choice, vectors.ndim == BANDS).fit(vectors)

    @cached_property
    def raw_left_out(self) -> Array:
        """Detector's score of each normal window by those of the other recordings, (n,)."""
        scores = self._leave_out() if self.left_out is None else self.left_out
        if not np.isfinite(scores).all():
            raise TooFewClipsError(
                f"{len(scores)} normal window(s), too few to learn from all but one of them; add "
                "normal recordings, or take another detector"
            )
        return scores

    @cached_property
    def spreads(self) -> tuple[float, float]:
        """Standard deviation of the detector's scores of the normal windows, and of their events.

        A single odd normal recording raises that of what it is odd in, which then counts for less:
        medians and quartiles would let it set the threshold.
        """
        return float(self.raw_left_out.std()) or 1.0, float(self.events.std()) or 1.0

    def _joined(self, raw: Array, events: Array) -> Array:
        of_raw, of_events = self.spreads
        return raw / of_raw + events / of_events

    @cached_property
    def scale(self) -> tuple[float, float]:
        """Sums that `score` calls 0, and how much it calls 1: a usual normal window has 1.

        Sums of distances keep their 0; where they may lie below 0 the unit is their usual distance
        from the median.
        """
        raw = self._joined(self.raw_left_out, self.events)
        middle = float(np.median(raw))
        if raw.min() >= 0:
            return 0.0, middle or 1.0
        unit = float(np.median(np.abs(raw - middle))) or 1.0
        return middle - unit, unit

    @cached_property
    def calibration(self) -> Calibration:
        """What a score is compared with."""
        zero, unit = self.scale
        return Calibration((self._joined(self.raw_left_out, self.events) - zero) / unit)

    def score(self, vectors: Array, events: Array) -> Array:
        """Scores (q,) of windows (q, d) with such events, (q,)."""
        zero, unit = self.scale
        return (self._joined(self.detector.score(vectors), events) - zero) / unit

    @cached_property
    def _standard(self) -> tuple[Array, Array, Array]:
        """Mean and gain of each value, and the normal windows standardized by them."""
        flat = self.vectors.reshape(len(self.vectors), -1)
        mean, deviation = flat.mean(axis=0), flat.std(axis=0)
        gain = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=deviation > 0)
        return mean, gain, (flat - mean) * gain

    def nearest(self, vector: Array) -> int:
        """The normal window most similar to one, (d,) or (f, d), by standardized values."""
        mean, gain, normal = self._standard
        return int(((normal - (vector.ravel() - mean) * gain) ** 2).sum(axis=1).argmin())

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
            scores[out] = self._fitted(self.vectors[~out]).score(self.vectors[out])
        return scores
