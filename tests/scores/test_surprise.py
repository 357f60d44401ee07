"""Surprises: shares of normal clips, with a tail beyond them."""

import numpy as np
import pytest

from dcase_asd.scores.surprise import surprise, union


def test_the_highest_of_nine_normal_clips_is_reached_by_one_new_clip_in_ten():
    normal = np.arange(9.0)
    assert surprise(np.array([8.0]), normal) == pytest.approx(np.log(10))
    assert surprise(np.array([4.0]), normal) == pytest.approx(np.log(2))
    assert surprise(np.array([0.0]), normal) == pytest.approx(np.log(10 / 9))


def test_no_two_scores_tie_beyond_and_below_all_normal_clips():
    found = surprise(np.array([-3.0, -2.0, 4.0, 9.0, 10.0]), np.arange(9.0))
    assert (np.diff(found) > 0).all()


def test_equal_normal_scores_have_the_share_of_all_that_are_as_high():
    assert surprise(np.array([1.0]), np.array([0.0, 1.0, 1.0])) == pytest.approx(np.log(4 / 2))


def test_a_single_normal_clip_has_no_surprise_of_its_own():
    groups, normal = np.zeros(2, dtype=int), np.array([True, False])
    assert union(np.array([[0.3, 0.5]]), groups, normal)[0] == 0.0


def test_a_tenth_of_new_normal_clips_exceeds_what_one_in_ten_should():
    """However many systems are united, whatever their scores' distribution."""
    random = np.random.default_rng(0)
    alarms = []
    for _ in range(40):
        common = random.normal(size=(1, 800))
        scores = np.exp(0.5 * common + random.gamma(2.0, size=(5, 800)))
        normal = np.arange(800) < 300
        found = union(scores, np.zeros(800, dtype=int), normal)
        alarms.append((found[~normal] > np.log(10)).mean())
    assert np.mean(alarms) == pytest.approx(0.1, abs=0.01)
