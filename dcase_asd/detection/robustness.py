"""How robust a system is on clips without labels: how far their scores stand from train scores."""

from __future__ import annotations

import numpy as np

from dcase_asd.detection.neighbors import Array
from dcase_asd.errors import TooFewClipsError


def distribution_distance(train: Array, test: Array) -> float:
    """Distance of the distribution of test scores from that of train scores.

    The first Wasserstein distance between both empirical distributions, that is the area between
    their distribution functions (A. Ramdas, N. Garcia Trillos and M. Cuturi, "On Wasserstein
    two-sample testing", Entropy 19(2), 2017, section 2.3), in standard deviations of the train
    scores: systems whose scores are on scales of their own can be compared. Anomalies among the
    test clips add the same to every system's; what remains is how much normal clips of new
    recordings have moved.

    Args:
        train: Leave-one-out scores of a machine type's and section's train clips, (n,), finite.
        test: Scores of its test clips, (q,), finite, of whatever condition.

    Returns:
        The distance, 0 or more.

    Raises:
        TooFewClipsError: There is no test clip, or the train scores have no spread.
    """
    if not len(test) or not len(train) or np.ptp(train) == 0:
        raise TooFewClipsError(
            "a distance of distributions needs test scores and train scores that differ"
        )
    values = np.sort(np.concatenate((train, test)))
    below_train, below_test = (
        np.searchsorted(np.sort(scores), values[:-1], side="right") / len(scores)
        for scores in (train, test)
    )
    area = np.sum(np.abs(below_train - below_test) * np.diff(values))
    return float(area / np.std(train))
