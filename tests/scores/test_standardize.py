import numpy as np
import pytest
from scipy.stats import zscore

from dcase_asd.scores.standardize import SpreadError, mean_and_deviation, standardized

GROUPS = np.array([0, 1, 0, 1, 0, 1, 0, 1])
TRAIN = np.array([True, True, True, True, True, True, False, False])


def scores(systems=2, seed=0):
    return np.random.default_rng(seed).gamma(2.0, size=(systems, len(GROUPS)))


def test_reference_clips_get_mean_zero_and_deviation_one_in_each_group():
    values = scores()
    standard = standardized(values, GROUPS, TRAIN)
    for group in (0, 1):
        chosen = TRAIN & np.equal(GROUPS, group)
        assert standard[:, chosen] == pytest.approx(zscore(values[:, chosen], axis=1), abs=1e-13)


def test_other_clips_are_measured_by_the_reference_alone():
    values = scores()
    far = values.copy()
    far[:, -1] += 100
    before, after = (standardized(each, GROUPS, TRAIN) for each in (values, far))
    assert (before[:, :-1] == after[:, :-1]).all()
    deviation = values[:, TRAIN & (GROUPS == 1)].std(axis=1)
    assert after[:, -1] - before[:, -1] == pytest.approx(100 / deviation)


def test_test_clips_may_be_their_own_reference():
    values = scores()
    standard = standardized(values, np.zeros(8, dtype=int), ~TRAIN)
    assert standard[:, ~TRAIN].mean(axis=1) == pytest.approx(0, abs=1e-15)


def test_scale_and_offset_of_a_system_do_not_matter():
    values = scores()
    assert standardized(3 * values - 7, GROUPS, TRAIN) == pytest.approx(
        standardized(values, GROUPS, TRAIN), abs=1e-12
    )


def test_equal_reference_scores_are_told_with_system_and_group():
    values = scores(3)
    values[1, TRAIN & (GROUPS == 1)] = 0.1  # the mean of three 0.1 is not 0.1
    with pytest.raises(SpreadError, match="system 1 has no spread in group 1") as caught:
        standardized(values, GROUPS, TRAIN)
    assert (caught.value.system, caught.value.group) == (1, 1)
    assert isinstance(caught.value, ValueError)


def test_a_group_without_reference_clips_is_told():
    with pytest.raises(SpreadError) as caught:
        standardized(scores(), GROUPS, TRAIN & (GROUPS == 1))
    assert (caught.value.system, caught.value.group) == (0, 0)


def test_means_and_deviations_are_those_of_each_group_and_system():
    values = scores()
    values[0, TRAIN & (GROUPS == 0)] = 0.1
    mean, deviation = mean_and_deviation(values, GROUPS + 1, TRAIN)
    assert np.isnan(mean[:, 0]).all()
    assert np.isnan(deviation[:, 0]).all()
    assert deviation[0, 1] == 0
    assert mean[1, 2] == pytest.approx(values[1, [1, 3, 5]].mean())
    assert deviation[1, 2] == pytest.approx(values[1, [1, 3, 5]].std())
