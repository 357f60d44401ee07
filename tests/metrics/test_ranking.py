import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import hmean
from sklearn.metrics import roc_auc_score

from dcase_asd.metrics.ranking import FLOOR, auc_and_pauc, harmonic_mean, harmonic_means

# Few distinct values make many ties; the wide range has hardly any.
SCORES = st.one_of(
    st.sampled_from([0.0, 0.1, 0.25, 1.0, -3.0]),
    st.floats(-1e6, 1e6, allow_subnormal=False),
)
CLIPS = st.lists(st.tuples(SCORES, st.booleans()), max_size=150)


@settings(max_examples=150, deadline=None)
@given(st.lists(CLIPS, min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_auc_and_pauc_are_those_of_scikit_learn_for_every_curve(curves, random):
    entries = [
        (score, anomalous, number)
        for number, clips in enumerate(curves)
        for score, anomalous in [*clips, (0.1, True), (0.2, False)]
    ]
    random.shuffle(entries)
    scores, anomalous, numbers = (np.array(column) for column in zip(*entries, strict=True))
    auc, pauc = auc_and_pauc(scores, anomalous, numbers)
    for number in range(len(curves)):
        chosen = numbers == number
        labels, values = anomalous[chosen], scores[chosen]
        assert auc[number] == pytest.approx(roc_auc_score(labels, values), abs=1e-12)
        assert pauc[number] == pytest.approx(roc_auc_score(labels, values, max_fpr=0.1), abs=1e-12)


def test_perfect_order_gives_one_and_reversed_order_zero():
    scores = np.arange(40.0)
    auc, pauc = auc_and_pauc(scores, scores >= 20)
    assert (auc[0], pauc[0]) == (1.0, 1.0)
    auc, pauc = auc_and_pauc(-scores, scores >= 20)
    assert auc[0] == 0.0
    # McClish's standardisation lies below one half, not at zero, for a reversed order.
    assert pauc[0] == pytest.approx(0.5 * (1 - 0.005 / 0.095))


def test_equal_scores_are_chance():
    auc, pauc = auc_and_pauc(np.full(10, 0.5), np.arange(10) % 2 == 0)
    assert auc[0] == pytest.approx(0.5, abs=1e-15)
    assert pauc[0] == pytest.approx(0.5, abs=1e-15)


@given(st.lists(st.floats(0.01, 1.0), min_size=1, max_size=200))
def test_harmonic_mean_is_that_of_scipy(values):
    assert harmonic_mean(values) == pytest.approx(hmean(values), rel=1e-14)


def test_a_value_of_zero_enters_harmonic_means_as_the_floor():
    assert harmonic_mean([0.0, 1.0]) == hmean([FLOOR, 1.0])
    assert harmonic_means(np.array([[0.0, 0.5], [1.0, 0.5]])).tolist() == [
        hmean([FLOOR, 1.0]),
        0.5,
    ]
