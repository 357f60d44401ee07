import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import wasserstein_distance

from dcase_asd.detection.robustness import distribution_distance
from dcase_asd.errors import TooFewClipsError

SCORES = st.lists(
    st.one_of(st.sampled_from([0.0, 0.5, 1.0]), st.floats(-50, 50)), min_size=1, max_size=40
)


@given(SCORES, SCORES)
def test_the_distance_is_scipys_wasserstein_distance_of_standardised_scores(train, test):
    train, test = np.array([*train, 0.0, 1.0]), np.array(test)
    expected = wasserstein_distance(
        (train - train.mean()) / train.std(), (test - train.mean()) / train.std()
    )
    assert distribution_distance(train, test) == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_a_shift_counts_in_deviations_of_the_train_scores():
    train = np.random.default_rng(0).normal(5, 2, 1000)
    assert distribution_distance(train, train) == 0
    assert distribution_distance(train, train + 3 * train.std()) == pytest.approx(3)
    assert distribution_distance(10 * train + 1, 10 * train + 21) == pytest.approx(2 / train.std())


@pytest.mark.parametrize(("train", "test"), [([], [1.0]), ([1.0, 2.0], []), ([0.1] * 3, [1.0])])
def test_nothing_to_compare_is_an_error(train, test):
    with pytest.raises(TooFewClipsError, match="test scores and train scores that differ"):
        distribution_distance(np.array(train), np.array(test))
