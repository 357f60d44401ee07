"""Calibrated scores against plain loops, and the false alarms of their union."""

import math

import numpy as np
import pytest

from dcase_asd.scores.calibrate import calibrated, calibrated_union
from dcase_asd.scores.standardize import SpreadError


def share_below(score, normal):
    """F of a score by loops, and ln of what lies above where that is beyond the largest."""
    ordered, count = sorted(normal), len(normal)

    def rank(value):
        places = [place for place, other in enumerate(ordered, start=1) if other == value]
        return sum(places) / len(places)

    def width(values):
        """Mean excess of the upper tenth, of ascending values, over the next lower one."""
        number = math.ceil(0.1 * len(values))
        threshold = values[-1 - number] if number < len(values) else values[0]
        while threshold == values[-1]:
            threshold = max(value for value in values if value < values[-1])
        excesses = [value - threshold for value in values if value > threshold]
        return sum(excesses) / len(excesses)

    if score > ordered[-1]:
        top = -math.log(1 - rank(ordered[-1]) / (count + 1))
        return top + (score - ordered[-1]) / width(ordered)
    if score < ordered[0]:
        distance = (ordered[0] - score) / width([-value for value in reversed(ordered)])
        return -math.log1p(-rank(ordered[0]) / (count + 1) * math.exp(-distance))
    lower = max(value for value in ordered if value <= score)
    upper = min(value for value in ordered if value >= score)
    part = 0 if upper == lower else (score - lower) / (upper - lower)
    return -math.log(1 - (rank(lower) + part * (rank(upper) - rank(lower))) / (count + 1))


def reference(scores, groups, normal):
    result = np.empty(scores.shape)
    for system, of_system in enumerate(scores):
        for clip, score in enumerate(of_system):
            others = [
                of_system[other]
                for other in range(len(groups))
                if groups[other] == groups[clip] and normal[other] and other != clip
            ]
            result[system, clip] = share_below(score, others)
    return result


@pytest.mark.parametrize("decimals", [1, 0, 12])
def test_scores_are_those_of_plain_loops(decimals):
    random = np.random.default_rng(decimals)
    groups = np.repeat([0, 1, 2], [30, 47, 8])
    scores = np.round(random.standard_normal((2, len(groups))) * 3, decimals)
    normal = random.random(len(groups)) < 0.7
    scores[:, ~normal] *= 4  # some lie far out
    expected = reference(scores, groups, normal)
    np.testing.assert_allclose(calibrated(scores, groups, normal), expected, rtol=1e-12)
    union = reference(expected.max(axis=0)[None], groups, normal)[0]
    np.testing.assert_allclose(calibrated_union(scores, groups, normal), union, rtol=1e-9)


def test_scores_keep_their_order_far_beyond_all_normal_clips():
    random = np.random.default_rng(0)
    normal = random.standard_normal(100)
    far = np.concatenate((np.geomspace(10, 1e6, 50), -np.geomspace(10, 60, 20)))
    groups, are_normal = np.zeros(170, dtype=int), np.arange(170) < 100
    found = calibrated(np.concatenate((normal, far))[None], groups, are_normal)[0, 100:]
    assert np.isfinite(found).all()
    assert (np.diff(found[np.argsort(far)]) > 0).all()


def test_the_tail_of_exponential_scores_is_theirs():
    random = np.random.default_rng(1)
    normal = random.exponential(2.0, 20_000)
    groups, are_normal = np.zeros(20_001, dtype=int), np.arange(20_001) < 20_000
    # exp(-30 / 2) of such scores lie above 30, which no train clip reaches.
    found = calibrated(np.append(normal, 30.0)[None], groups, are_normal)[0, -1]
    assert normal.max() < 30
    assert found == pytest.approx(15, rel=0.05)


@pytest.mark.parametrize("agreement", [0.0, 0.9])
def test_false_alarms_of_the_union_are_as_many_as_its_score_says(agreement):
    """Whatever the systems' scales and however they agree; of skewed scores, too."""
    random = np.random.default_rng(2)
    train, test, sections, systems = 50, 200, 60, 4
    groups = np.repeat(np.arange(sections), train + test)
    common = random.standard_normal(len(groups))
    own = random.standard_normal((systems, len(groups)))
    noise = agreement**0.5 * common + (1 - agreement) ** 0.5 * own
    scores = np.exp(noise) * np.array([[1.0], [1e-3], [50.0], [7.0]])
    normal = np.tile(np.arange(train + test) < train, sections)
    union = calibrated_union(scores, groups, normal)
    for share in (0.5, 0.1):
        for of_split in (normal, ~normal):
            alarms = np.mean(union[of_split] > -np.log(share))
            assert alarms == pytest.approx(share, abs=0.025)
    # Without the second calibration, four systems give false alarms for each of them.
    once = calibrated(scores, groups, normal).max(axis=0)
    assert np.mean(once[~normal] > -np.log(0.1)) > 0.125


@pytest.mark.parametrize("normal", [[], [1.0], [1.0, 2.0], [3.0, 3.0, 3.0], [0.0, 0.0, 0.0, 5.0]])
def test_too_few_or_equal_scores_are_refused(normal):
    fine = [0.1, 0.5, 0.9]
    groups = np.repeat([0, 1], [len(fine), len(normal) + 1])
    scores = np.array([[*fine, *normal, 7.0], [*fine, *np.arange(len(normal)), 7.0]])
    with pytest.raises(SpreadError) as error:
        calibrated(scores, groups, np.arange(len(groups)) != len(groups) - 1)
    assert (error.value.system, error.value.group) == (0, 1)
