"""Thresholds against independent references and known distributions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcase_asd.detection.threshold import decide, empirical_threshold, gamma_threshold, threshold
from dcase_asd.errors import ScoresError, TooFewClipsError


def skewed(count=400, seed=0):
    return np.random.default_rng(seed).gamma(3.0, 0.1, count)


@pytest.mark.parametrize("quantile", [0.5, 0.8, 0.9, 0.99])
def test_gamma_quantile_equals_scipys_fit_by_moments(quantile):
    from scipy import stats

    scores = skewed()
    shape, shift, scale = stats.gamma.fit(scores, method="MM")
    expected = stats.gamma.ppf(quantile, shape, shift, scale)
    # scipy minimises the moments' error numerically, which leaves it about four digits.
    assert gamma_threshold(scores, quantile) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("quantile", [0.5, 0.8, 0.9, 0.99])
def test_gamma_quantile_equals_the_pearson_type_three_quantile(quantile):
    from scipy import stats

    scores = skewed()
    expected = stats.pearson3.ppf(quantile, stats.skew(scores), scores.mean(), scores.std())
    assert gamma_threshold(scores, quantile) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("shape", [0.8, 2.0, 9.0])
@pytest.mark.parametrize("quantile", [0.8, 0.9, 0.95])
def test_gamma_quantile_of_simulated_scores_is_the_true_one(shape, quantile):
    from scipy import stats

    scores = np.random.default_rng(1).gamma(shape, 0.05, 200_000)
    assert (scores > gamma_threshold(scores, quantile)).mean() == pytest.approx(
        1 - quantile, abs=0.002
    )
    assert gamma_threshold(scores, quantile) == pytest.approx(
        stats.gamma.ppf(quantile, shape, scale=0.05), rel=0.01
    )


@given(st.floats(1e-9, 1e6), st.floats(-100, 100))
def test_standardising_scores_does_not_change_decisions(factor, shift):
    scores = skewed(50)
    expected = factor * (gamma_threshold(scores) + shift)
    assert gamma_threshold(factor * (scores + shift)) == pytest.approx(
        expected, rel=1e-7, abs=1e-7 * factor
    )


def test_scores_without_a_right_tail_get_the_normal_quantile():
    scores = -skewed()
    expected = scores.mean() + 1.2815515655446004 * scores.std()
    assert gamma_threshold(scores) == pytest.approx(expected, abs=1e-3)


def test_too_few_scores_are_refused_with_their_owner():
    with pytest.raises(TooFewClipsError, match=r"fan section 03: 2 train score\(s\) are too few"):
        gamma_threshold(np.array([0.1, 0.2]), where="fan section 03")


def test_equal_scores_are_refused_with_their_owner():
    with pytest.raises(ScoresError, match=r"fan section 03: all 5 train scores are 0\.25"):
        gamma_threshold(np.full(5, 0.25), where="fan section 03")


def test_empirical_rule_keeps_the_share_of_train_clips_below():
    scores = np.arange(1.0, 11.0)
    assert empirical_threshold(scores, 0.9) == 9.0
    assert threshold(scores, "empirical", 0.9) == 9.0
    assert decide(scores, 9.0).sum() == 1


def test_empirical_rule_takes_even_one_score_but_not_none():
    assert empirical_threshold(np.array([0.5])) == 0.5
    with pytest.raises(TooFewClipsError, match="pump section 01: there is no train score"):
        empirical_threshold(np.array([]), where="pump section 01")


def test_rules_are_chosen_by_name():
    assert threshold(skewed(), "gamma") == gamma_threshold(skewed())


def test_a_score_at_the_threshold_is_normal():
    assert decide(np.array([0.1, 0.2, 0.3]), 0.2).tolist() == [0, 0, 1]
