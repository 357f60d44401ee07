"""What is said of one recording, and how it follows from scores of normal ones."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from dcase_asd.errors import RecipeError
from dcase_asd.monitor.heat import HeatMap, Span
from dcase_asd.scores.threshold import empirical_threshold

if TYPE_CHECKING:
    from dcase_asd.monitor.normals import Recording

Array = NDArray[np.float64]
Word = Literal["normal", "suspicious", "anomalous"]

FALSE_ALARMS = 0.01
"""Share of normal recordings that may be called anomalous."""
SUSPICIOUS = 5.0
"""Suspicious is what at most so many times this share of normal recordings reaches; where these are
too few to tell, what at most one of them reaches."""
STANDS_OUT = 2.0
"""How many times what few normal windows reach one of several windows has to score, so that it is
told of where the normal ones are too few to tell."""
UNUSUAL = 0.95
"""Share of normal windows that do not reach it."""
ROUNDING = 1e-9


@dataclass(frozen=True)
class Rule:
    """A recording is anomalous where `least` of `of` consecutive windows are; 1/1: any one."""

    least: int = 1
    of: int = 1

    @classmethod
    def parse(cls, text: str) -> Rule:
        """Read ``2/3``.

        Raises:
            RecipeError: It is of another form, or asks for more windows than it looks at.
        """
        found = re.fullmatch(r"([1-9]\d{0,3})/([1-9]\d{0,3})", text.strip())
        if not found or int(found[1]) > int(found[2]):
            raise RecipeError(f"--rule {text}: give how many of how many windows, such as 2/3")
        return cls(int(found[1]), int(found[2]))

    def score(self, windows: Array) -> tuple[float, int]:
        """The score that exceeds a threshold where the rule is met, and the window to look at.

        Of each `of` consecutive windows it is the `least`-th largest, of all these the largest. Of
        fewer windows it is that of all there are.
        """
        size = min(self.of, len(windows))
        runs = np.lib.stride_tricks.sliding_window_view(windows, size)
        found = np.sort(runs, axis=1)[:, size - min(self.least, size)]
        run = int(found.argmax())
        return float(found[run]), run + int(runs[run].argmax())


@dataclass(frozen=True)
class Verdict:
    """What is said of one recording.

    Attributes:
        file: Its name as it was given.
        score: How far it is from the normal ones; 1 is usual for a normal one.
        threshold: What the score of an anomalous one exceeds.
        p_value: Share of normal recordings that are at least as far out, as far as can be said.
        verdict: ``normal``, ``suspicious`` or ``anomalous``.
        spans: Times and bands that differ most.
        nearest: Name of the normal recording that is most similar.
        notes: What is said of the recording itself and of the normal ones, not of the machine.
        heat: Deviations of the window that decided, for pictures; no part of the JSON.
        similar: The recording that `nearest` names; no part of it, either.
        level: Median score of the windows, by which drift is told; a part of the log alone.
    """

    file: str
    score: float
    threshold: float
    p_value: float
    verdict: Word
    spans: tuple[Span, ...]
    nearest: str
    notes: tuple[str, ...]
    heat: HeatMap = field(repr=False, compare=False)
    similar: Recording | None = field(default=None, repr=False, compare=False)
    level: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """The values by name, as documented; these names stay."""
        return {
            "file": self.file,
            "score": self.score,
            "threshold": self.threshold,
            "p_value": self.p_value,
            "verdict": self.verdict,
            "spans": [span.as_json() for span in self.spans],
            "nearest": self.nearest,
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        side = "above" if self.score > self.threshold else "below"
        return (
            f"{self.file}: {self.verdict}, score {self.score:.3g} ({side} {self.threshold:.3g}), "
            f"p {self.p_value:.2g}" + (f"; {self.spans[0]}" if self.spans else "")
        )


@dataclass(frozen=True)
class Calibration:
    """Leave-one-out scores of the normal windows, (n,): what a new score is compared with."""

    scores: Array

    @property
    def supports(self) -> float:
        """The smallest false-alarm rate that so many normal windows can tell."""
        return 1 / (len(self.scores) + 1)

    def threshold(self, false_alarms: float) -> float:
        """See `empirical_threshold`."""
        return empirical_threshold(self.scores, 1 - false_alarms)

    def alone(self, share: float) -> float:
        """The score above which one of several windows is told of, each at this share of alarms."""
        if share < self.supports:
            usual = float(np.quantile(self.scores, UNUSUAL))
            return max(STANDS_OUT * usual, float(self.scores.max()))
        return self.threshold(share)

    def p_value(self, score: float) -> float:
        """Conformal: (1 + how many normal windows score as much) / (n + 1)."""
        return (1 + int((self.scores >= score).sum())) / (len(self.scores) + 1)

    def decide(self, windows: Array, false_alarms: float, rule: Rule | None) -> Decision:
        """Judge a recording by the scores of its windows, (m,).

        Without a rule, one of several windows is enough where the normal ones are so many that each
        can have its part of the false alarms. Where they are not, as many windows are asked for as
        rarely lie above the threshold by chance, windows counted as independent. A single window
        that stands out then makes the recording suspicious.
        """
        count, tail = len(windows), _binomial_tail if len(windows) > 1 else _itself
        share, places = false_alarms, 1
        if rule is not None:
            rule = Rule(min(rule.least, count), min(rule.of, count))
            places = count - rule.of + 1
        elif count > 1 and false_alarms / count < self.supports:
            share = max(false_alarms, self.supports)
            enough = (k for k in range(1, count) if tail(k, count, share) <= false_alarms)
            rule = Rule(next(enough, count), count)
        else:
            share = false_alarms / count
            rule, places = Rule(), count
        score, window = rule.score(windows)
        p_value = min(1.0, places * tail(rule.least, rule.of, self.p_value(score)))
        word: Word = "normal"
        if score > self.threshold(share):
            word = "anomalous"
        elif p_value <= max(SUSPICIOUS * false_alarms, 2 * self.supports) + ROUNDING:
            word = "suspicious"
        alone = word == "normal" and count > 1 and windows.max() > self.alone(false_alarms / count)
        if alone:
            word, window = "suspicious", int(windows.argmax())
        return Decision(score, self.threshold(share), p_value, word, window, rule, bool(alone))


@dataclass(frozen=True)
class Decision:
    """A verdict without its reasons.

    Attributes:
        score: As of `Verdict`; also the next three.
        threshold: Of the score.
        p_value: Of the score.
        word: The verdict.
        window: The one to look at.
        rule: What was asked for.
        alone: Whether it is suspicious because of this window alone.
    """

    score: float
    threshold: float
    p_value: float
    word: Word
    window: int
    rule: Rule
    alone: bool = False


def _binomial_tail(least: int, of: int, share: float) -> float:
    """How probable it is that at least so many of `of` windows are of the share."""
    from scipy.special import bdtrc

    return float(bdtrc(least - 1, of, share))


def _itself(_least: int, _of: int, share: float) -> float:
    return share
