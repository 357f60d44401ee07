"""From anomaly scores to decisions: a threshold that normal clips rarely exceed."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from dcase_asd.errors import ScoresError, TooFewClipsError

Array = NDArray[np.float64]
ThresholdRule = Literal["gamma", "empirical"]
THRESHOLD_RULES: tuple[str, ...] = get_args(ThresholdRule)

FEWEST_CLIPS = 3
"""A gamma distribution with a shift has three parameters."""
SMALLEST_SKEWNESS = 1e-3
"""Below this a gamma distribution is a normal distribution to four digits (shape 4e6)."""


def gamma_threshold(scores: Array, quantile: float = 0.9, where: str = "the scores") -> float:
    """Quantile of a gamma distribution fitted to the scores of normal clips.

    The official baselines decide by the 90th percentile of a gamma distribution fitted to train
    scores. Scores that were standardised are negative in part, so the distribution is shifted:
    shape, scale and shift follow in closed form from mean m, standard deviation s and skewness g
    (method of moments: shape 4 / g^2, scale s g / 2, shift m - 2 s / g; Johnson, Kotz and
    Balakrishnan, Continuous Univariate Distributions 1, chapter 17). Thus the decisions are the
    same whether scores are standardised or not, and no optimiser can go astray. Scores with no
    tail to the right get the limit of the family for g -> 0, a normal distribution.

    Args:
        scores: Leave-one-out anomaly scores of normal clips of one machine and section, (n,).
        quantile: Share of normal clips that shall stay at or below the threshold, in (0, 1).
        where: Whose scores they are, for messages.

    Returns:
        The threshold; a clip is anomalous where its score is above it.

    Raises:
        TooFewClipsError: There are fewer than `FEWEST_CLIPS` scores.
        ScoresError: All scores are equal.
    """
    from scipy.special import gammaincinv

    if scores.size < FEWEST_CLIPS:
        raise TooFewClipsError(
            f"{where}: {scores.size} train score(s) are too few to fit a gamma distribution, which "
            f"needs {FEWEST_CLIPS}; take the threshold rule 'empirical'"
        )
    if np.ptp(scores) == 0:
        raise ScoresError(
            f"{where}: all {scores.size} train scores are {scores[0]:g}, and no gamma distribution "
            "fits equal scores; look at the embeddings, or take the threshold rule 'empirical'"
        )
    # Centred and scaled by the range first, so that moments of tiny distances do not vanish.
    scale, middle = np.ptp(scores), np.mean(scores)
    centred = (scores - middle) / scale
    deviation = np.sqrt(np.mean(centred**2))
    skewness = max(np.mean(centred**3) / deviation**3, SMALLEST_SKEWNESS)
    shape = 4 / skewness**2
    quantile_of_unit = gammaincinv(shape, quantile)
    return float(middle + scale * deviation * skewness / 2 * (quantile_of_unit - shape))


def empirical_threshold(scores: Array, quantile: float = 0.9, where: str = "the scores") -> float:
    """The smallest score that a share `quantile` of the normal clips does not exceed.

    On the train clips themselves this bounds the false-alarm rate by 1 - `quantile`. Arguments
    and result are those of `gamma_threshold`.

    Raises:
        TooFewClipsError: There is no score.
    """
    if scores.size == 0:
        raise TooFewClipsError(
            f"{where}: there is no train score to set a threshold by; "
            "score the run together with its train clips"
        )
    return float(np.quantile(scores, quantile, method="inverted_cdf"))


def threshold(
    scores: Array, rule: ThresholdRule, quantile: float = 0.9, where: str = "the scores"
) -> float:
    """Threshold by the named rule; see `gamma_threshold` and `empirical_threshold`."""
    rules = {"gamma": gamma_threshold, "empirical": empirical_threshold}
    return rules[rule](scores, quantile, where)


def decide(scores: Array, limit: float) -> NDArray[np.int64]:
    """1 (anomaly) where a score is above the threshold, else 0 (normal)."""
    return (scores > limit).astype(np.int64)
