import numpy as np
import pytest

from dcase_asd.fusion.objective import Best

WEIGHTS = np.array([[1.0, 0.0], [0.4, 0.6], [0.5, 0.5], [0.6, 0.4]])


def test_the_highest_score_is_kept():
    best = Best()
    assert best.add(WEIGHTS, np.array([0.1, 0.9, 0.3, 0.2]))
    assert not best.add(WEIGHTS, np.array([0.1, 0.2, 0.8, 0.2]))
    assert (best.weights.tolist(), best.score, best.evaluated) == ([0.4, 0.6], 0.9, 8)


def test_equal_scores_go_to_the_more_equal_weights():
    best = Best()
    best.add(WEIGHTS[:2], np.full(2, 0.5))
    assert best.weights.tolist() == [0.4, 0.6]
    assert best.add(WEIGHTS, np.full(4, 0.5))
    assert best.weights.tolist() == [0.5, 0.5]


def test_equal_scores_of_equally_unequal_weights_go_to_the_first():
    best = Best()
    best.add(WEIGHTS[[0, 1, 3]], np.full(3, 0.5))
    assert best.weights.tolist() == [0.4, 0.6]
    assert not best.add(WEIGHTS[[3]], np.full(1, 0.5))


def test_nothing_new_is_nothing_better():
    best = Best()
    assert not best.add(np.empty((0, 2)), np.empty(0))
    assert best.evaluated == 0


def test_a_score_that_is_not_a_number_is_an_error():
    with pytest.raises(ValueError, match="not a number"):
        Best().add(WEIGHTS, np.array([0.1, np.nan, 0.3, 0.2]))
