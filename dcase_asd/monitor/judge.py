"""From what is heard of a recording to a verdict, with its reasons."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcase_asd.monitor.backbones import Embedder
from dcase_asd.monitor.hearing import (
    BAND_BINS,
    CELL_FRAMES,
    DECIBELS,
    PASSBAND,
    FrontEnd,
    Heard,
    Sound,
    WindowHeard,
    hear,
    hear_grids,
)
from dcase_asd.monitor.heat import (
    NOTICED,
    SHOWN,
    UNUSUAL,
    HeatMap,
    Span,
    deviations,
    find_spans,
    normal_events,
    usual_range,
)
from dcase_asd.monitor.log_mel import Frames
from dcase_asd.monitor.microphone import heard_bins, level_beyond, recording_notes
from dcase_asd.monitor.normals import Normals
from dcase_asd.monitor.scoring import Scorer
from dcase_asd.monitor.verdict import Array, Calibration, Decision, Rule, Verdict
from dcase_asd.recipe.detector import Detector

SHORT = 0.5
"""Share of the usual length below which a recording is called short."""


@dataclass(frozen=True)
class Judge:
    """Compares recordings with normal ones.

    Attributes:
        front: What recordings are heard with.
        normals: What is kept of the normal ones.
        choice: The detector.
        embedder: Makes the vectors; None where they are the spectra.
        saved: What `calibration` gave when a model was made.
    """

    front: FrontEnd
    normals: Normals
    choice: Detector
    embedder: Embedder | None = None
    saved: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    @cached_property
    def scorer(self) -> Scorer:
        """Scores windows in which nothing is missing."""
        known = self.saved.get("left_out")
        wide = self.normals.vectors.astype(np.float64)
        return Scorer(wide, self.normals.owners, self.events, self.choice, known)

    @cached_property
    def usual(self) -> Array:
        """See `usual_range`."""
        known = self.saved.get("usual")
        return usual_range(self.normals.grids) if known is None else known

    @cached_property
    def events(self) -> Array:
        """The strongest deviation in each normal window, see `normal_events`."""
        known, normals = self.saved.get("events"), self.normals
        return normal_events(normals.grids, normals.owners) if known is None else known

    @cached_property
    def noticed(self) -> float:
        """The deviation from which on a span is marked: what few normal windows reach."""
        return max(NOTICED, float(np.quantile(self.events, UNUSUAL)))

    def calibration(self) -> dict[str, NDArray[Any]]:
        """What is worth keeping: it takes all normal windows to compute."""
        return {
            "left_out": self.scorer.raw_left_out,
            "usual": self.usual,
            "events": self.events,
        }

    def judge(self, sound: Sound, false_alarms: float, rule: Rule | None) -> Verdict:
        """Judge a recording.

        Without a rule any window makes it anomalous, and each of several has its part of the false
        alarms; with a rule each has the whole.

        Raises:
            AudioError: It cannot be read, or is too short.
        """
        heard = hear(sound, self.front, all_grids=False)
        own, normal = heard.properties, self.normals.properties
        notes = recording_notes(own, normal) + self._length_notes(heard)
        spectra = np.stack([each.vector for each in heard.windows]).astype(np.float64)
        beyond = level_beyond(own, normal)
        bins = self._heard_bins(heard, spectra, beyond)
        if bins < self.front.bins:
            notes.append(
                f"nothing above {self.front.tops[bins - 1]:.0f} Hz, where the normal recordings "
                "have sound: another microphone, or resampled" + ("" if self.embedder else
                "; compared below it")
            )  # fmt: skip
        if self.embedder is None:
            scorer, vectors = self._scorer_below(bins), self._below(spectra, bins)
        else:
            scorer, vectors = self.scorer, self.embedder.embed(sound, self.front).astype(np.float64)
        calibration = scorer.calibration
        grids = partial(hear_grids, sound, self.front, heard)
        # A backbone's vectors cannot be shifted later; so its event is that at the usual level.
        level = beyond if self.embedder else 0.0
        scores = scorer.score(vectors, self.events_in(grids(), bins, level))
        found = calibration.decide(scores, false_alarms, rule)
        notes += _support_notes(found, calibration, len(vectors), false_alarms, rule)
        word, gain = found.word, 0.0
        if found.alone:
            notes.append("as a whole it is normal, but for what is marked")
        if heard.is_silent:
            word = "suspicious"
        elif word == "anomalous" and beyond and self.embedder is None:
            shifted = vectors.copy()
            shifted[:, :bins] -= beyond / DECIBELS
            events = self.events_in(grids(), bins, beyond)
            matched = calibration.decide(scorer.score(shifted, events), false_alarms, rule)
            if matched.word != "anomalous":
                word, gain = "suspicious", beyond
                notes.append(f"at the level of the normal recordings it would be {matched.word} "
                             f"(score {matched.score:.3g})")  # fmt: skip
        at = found.window
        grid = next(islice(grids(), at, None)) - np.float32(gain)
        window = heard.windows[at]._replace(grid=grid)
        nearest = scorer.nearest(vectors[at])
        heat, spans = self._explain(window, nearest, bins, always=word != "normal" and not gain)
        return Verdict(
            sound.name, found.score, found.threshold, found.p_value, word, tuple(spans),
            self.normals.name(nearest), tuple(notes), heat, self.normals.recording(nearest),
            float(np.median(scores)),
        )  # fmt: skip

    def _heard_bins(self, heard: Heard, spectra: Array, gain: float) -> int:
        """How many mel bins of a recording `gain` dB too loud can be compared, from the lowest."""
        count = self.front.bins
        found = heard_bins(
            spectra[:, :count].mean(axis=0) - gain / DECIBELS,
            self.normals.spectra[:, :count].astype(np.float64),
        )
        if found < count:  # the slope of a filter is no sound either
            found = int((self.front.tops <= PASSBAND * self.front.tops[found - 1]).sum()) or found
        reached = int((self.front.tops <= PASSBAND * heard.properties.rate / 2).sum())
        return min(found, reached or count)

    def _below(self, spectra: Array, bins: int) -> Array:
        """Mean and deviation of the lowest mel bins."""
        count = self.front.bins
        return np.concatenate([spectra[:, :bins], spectra[:, count : count + bins]], axis=1)

    def _scorer_below(self, bins: int) -> Scorer:
        """Scores by the lowest mel bins alone, learnt anew from those of the normal windows."""
        if bins == self.front.bins:
            return self.scorer
        normal = self._below(self.normals.spectra.astype(np.float64), bins)
        return Scorer(normal, self.normals.owners, self.events, self.choice)

    def _length_notes(self, heard: Heard) -> list[str]:
        seconds = heard.properties.seconds
        if seconds < SHORT * self.front.window:
            return [f"{seconds:.1f} s long, the normal recordings {self.front.window:.3g} s: short "
                    "ones scatter more"]  # fmt: skip
        return []

    def events_in(self, grids: Iterable[Frames], bins: int, level: float = 0.0) -> Array:
        """The strongest deviation in each window's grid, (m,), in as many mel bins as are heard.

        Args:
            grids: Of the windows.
            bins: From the lowest.
            level: By how many dB they are too loud.
        """
        moved = (self._deviations(grid - np.float32(level), bins)[0] for grid in grids)
        return np.array([np.abs(each).max() for each in moved])

    def _deviations(self, grid: Frames, bins: int) -> tuple[Array, NDArray[np.intp]]:
        """As `deviations`; what is not heard differs not."""
        values, views = deviations(grid, self.usual)
        values[:, self.front.band_starts + BAND_BINS > bins] = 0.0
        return values, views

    def _explain(
        self, window: WindowHeard, nearest: int, bins: int, *, always: bool
    ) -> tuple[HeatMap, list[Span]]:
        values, views = self._deviations(window.grid, bins)
        times = np.arange(len(values) + 1, dtype=np.float64) * (CELL_FRAMES * self.front.shift)
        times += window.start
        times[-1] = window.end
        heat = HeatMap(values, times, self.front.band_edges)
        least = self.noticed
        if always and np.abs(values).max() < least:
            least = SHOWN
        level = self.normals.grids[nearest].astype(np.float64).mean(axis=0)
        return heat, find_spans(heat, window.grid, views, level, least)


def _support_notes(
    found: Decision, calibration: Calibration, windows: int, false_alarms: float, rule: Rule | None
) -> list[str]:
    """What so few normal windows cannot tell."""
    normal, supports = len(calibration.scores), calibration.supports
    if windows > 1 and rule is None and found.rule.least > 1:
        return [
            f"{windows} windows, of which {found.rule.least} have to be above the threshold, as "
            f"{normal} normal window(s) cannot tell rarer ones; for shorter events fit with more, "
            "or ask for --rule 2/3"
        ]
    if false_alarms < supports:
        return [
            f"{normal} normal window(s) cannot tell a false-alarm rate of {false_alarms:.2g}: the "
            f"threshold is their largest score, a rate of about {supports:.2g}"
        ]
    return []
