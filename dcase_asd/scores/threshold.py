"""From anomaly scores to decisions: a threshold that normal clips rarely exceed."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dcase_asd.errors import ScoresError, TooFewClipsError
from dcase_asd.scores.distances import Array

ThresholdRule = Literal["empirical", "target", "gamma"]

FEWEST_CLIPS = 3
"""A gamma distribution with a shift has three parameters."""
TOLERANCE = 2.0
"""More than so many times the false alarms that are asked for are told of."""
ROUNDING = 1e-9
"""Of a rank that floating point puts a little above a whole number."""


@dataclass(frozen=True)
class Threshold:
    """A threshold: a clip is anomalous where its score is above `value`.

    Attributes:
        value: The threshold.
        caveats: What must be said of it, in words without an owner.
    """

    value: float
    caveats: tuple[str, ...] = ()


def set_threshold(
    scores: Array,
    domains: NDArray[np.str_],
    rule: ThresholdRule = "empirical",
    quantile: float = 0.9,
    where: str = "the scores",
) -> Threshold:
    """Threshold of a machine and section by the named rule.

    Args:
        scores: Leave-one-out anomaly scores of its train clips, all normal, (n,).
        domains: Of each train clip ``source``, ``target`` or empty, (n,).
        rule: ``empirical`` takes a quantile of the scores themselves; ``target`` that of the
            target domain's alone, as these clips lie farther out where they are few; ``gamma``
            that of a fitted distribution, as the official baseline does.
        quantile: Share of new normal clips that shall stay at or below the threshold, in (0, 1).
        where: Whose scores they are, for messages.

    Raises:
        TooFewClipsError: There is no score, none of the target domain, or too few to fit.
        ScoresError: No gamma distribution fits.
    """
    if rule == "target":
        scores = scores[domains == "target"]
        if not scores.size:
            raise TooFewClipsError(
                f"{where}: no train clip is of the target domain; "
                "set the threshold by all with --threshold-rule empirical"
            )
    rule_of = gamma_threshold if rule == "gamma" else empirical_threshold
    value = rule_of(scores, quantile, where)
    low, high = false_alarm_range(scores.size, quantile)
    asked, above = 1 - quantile, float(np.mean(scores > value))
    if high > TOLERANCE * asked:
        which = "target-domain train clip(s)" if rule == "target" else "train clip(s)"
        caveat = (
            f"{scores.size} {which} cannot tell which scores {100 * asked:.3g} % of normal clips "
            f"exceed: of new ones {100 * low:.2g} to {100 * high:.2g} % may lie above the threshold"
            "; take more normal recordings, or a lower --quantile"
        )
        return Threshold(value, (caveat,))
    if rule == "gamma" and not asked / TOLERANCE <= above <= TOLERANCE * asked:
        caveat = (
            f"{100 * above:.3g} % of the train clips lie above the threshold, not "
            f"{100 * asked:.3g} %: the fitted gamma does not fit; take --threshold-rule empirical"
        )
        return Threshold(value, (caveat,))
    return Threshold(value)


def empirical_threshold(scores: Array, quantile: float = 0.9, where: str = "the scores") -> float:
    """The smallest train score that a share `quantile` of new normal clips does not exceed.

    The score of rank ceil((n + 1) quantile) of n, as in split conformal prediction (V. Vovk,
    A. Gammerman and G. Shafer, Algorithmic Learning in a Random World, 2005): a new clip's score
    that is exchangeable with them takes each of the n + 1 places among them alike, so that it lies
    above with a probability of at most 1 - `quantile` and at least 1 / (n + 1) less, whatever the
    distribution, its tail and outliers. Of too few clips for that rank the largest score is taken.
    Arguments and result are those of `gamma_threshold`.

    Raises:
        TooFewClipsError: There is no score.
    """
    if scores.size == 0:
        raise TooFewClipsError(
            f"{where}: there is no train score to set a threshold by; "
            "score the run together with its train clips"
        )
    return float(np.sort(scores)[_rank(scores.size, quantile) - 1])


def false_alarm_range(clips: int, quantile: float) -> tuple[float, float]:
    """Where the share of new normal clips above the `empirical_threshold` lies, 19 times of 20.

    The share above the score of rank k of n has the distribution Beta(n + 1 - k, k), whatever that
    of the scores (H. A. David and H. N. Nagaraja, Order Statistics, 2003, section 2.3).

    Args:
        clips: How many train clips there are, n >= 1.
        quantile: As of `empirical_threshold`.
    """
    from scipy.special import betaincinv

    rank = _rank(clips, quantile)
    low, high = betaincinv(clips + 1 - rank, rank, (0.025, 0.975)).tolist()
    return low, high


def gamma_threshold(scores: Array, quantile: float = 0.9, where: str = "the scores") -> float:
    """Quantile of a gamma distribution fitted to the scores of normal clips.

    As the official baselines do: shape, shift and scale of the largest likelihood that
    ``scipy.stats.gamma.fit`` finds. A few clips that lie far out, such as those of a small target
    domain, make it fail: half of the normal clips above the threshold, or none.

    Args:
        scores: Leave-one-out anomaly scores of normal clips of one machine and section, (n,).
        quantile: Share of normal clips that shall stay at or below the threshold, in (0, 1).
        where: Whose scores they are, for messages.

    Returns:
        The threshold; a clip is anomalous where its score is above it.

    Raises:
        TooFewClipsError: There are fewer than `FEWEST_CLIPS` scores.
        ScoresError: All scores are equal, or no distribution is found.
    """
    from scipy.stats import gamma

    other = "take --threshold-rule empirical"
    if scores.size < FEWEST_CLIPS:
        raise TooFewClipsError(
            f"{where}: {scores.size} train score(s) are too few to fit a gamma distribution, which "
            f"needs {FEWEST_CLIPS}; {other}"
        )
    if np.ptp(scores) == 0:
        raise ScoresError(
            f"{where}: all {scores.size} train scores are {scores[0]:g}, and no gamma distribution "
            f"fits equal scores; look at the embeddings, or {other}"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of steps on the way to the fit
        try:
            value = float(gamma.ppf(quantile, *gamma.fit(scores)))
        except (RuntimeError, ValueError) as error:  # scipy's FitError is the former
            raise ScoresError(
                f"{where}: no gamma distribution fits the train scores ({error}); {other}"
            ) from error
    if not math.isfinite(value):
        raise ScoresError(f"{where}: no gamma distribution fits the train scores; {other}")
    return value


def decide(scores: Array, limit: float) -> NDArray[np.int64]:
    """1 (anomaly) where a score is above the threshold, else 0 (normal)."""
    return (scores > limit).astype(np.int64)


def _rank(clips: int, quantile: float) -> int:
    return min(clips, max(1, math.ceil((clips + 1) * quantile - ROUNDING)))
