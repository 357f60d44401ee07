"""Thresholds by the share of new normal clips above them, and against independent references."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from dcase_asd.errors import ScoresError, TooFewClipsError
from dcase_asd.scores.neighbors import leave_one_out, nearest
from dcase_asd.scores.threshold import (
    decide,
    empirical_threshold,
    false_alarm_range,
    gamma_threshold,
    set_threshold,
)

NORMAL_CLIPS = {
    "gamma": lambda random, n: random.gamma(3.0, 0.1, n),
    "normal": lambda random, n: random.normal(1.0, 0.1, n),
    "lognormal": lambda random, n: 0.2 * np.exp(0.5 * random.standard_normal(n)),
}


def plain(random, scores):
    return scores


def one_in_a_hundred_far_out(random, scores):
    far = max(1, len(scores) // 100)
    scores[:far] *= random.uniform(5, 20, far)
    return scores


def one_outlier(random, scores):
    scores[0] = scores.mean() + 30 * scores.std()
    return scores


def pooled(scores, rule="empirical", quantile=0.9):
    return set_threshold(scores, np.full(scores.size, "source"), rule, quantile)


def false_alarms(draw, spoil, clips, rule="empirical", quantile=0.9, draws=120):
    """Share of new normal clips above the threshold, percent, mean over draws."""
    random = np.random.default_rng(clips)
    rates = []
    for _ in range(draws):
        limit = pooled(spoil(random, draw(random, clips)), rule, quantile).value
        rates.append(decide(draw(random, 1000), limit).mean())
    return 100 * np.mean(rates)


@pytest.mark.parametrize("clips", [100, 150, 199, 400, 1000])
@pytest.mark.parametrize("spoil", [plain, one_in_a_hundred_far_out, one_outlier])
@pytest.mark.parametrize("scores", NORMAL_CLIPS)
def test_a_tenth_of_new_normal_clips_lies_above_the_default_threshold(scores, spoil, clips):
    assert 8 < false_alarms(NORMAL_CLIPS[scores], spoil, clips) < 12


@pytest.mark.parametrize(("quantile", "clips"), [(0.5, 100), (0.8, 100), (0.95, 200), (0.99, 1000)])
def test_other_rates_are_kept_too(quantile, clips):
    rate = false_alarms(NORMAL_CLIPS["gamma"], plain, clips, quantile=quantile)
    assert rate == pytest.approx(100 * (1 - quantile), rel=0.1)


def test_a_tenth_of_new_recordings_lies_above_their_distances_threshold():
    random = np.random.default_rng(0)
    rates = []
    for _ in range(15):
        centers = random.standard_normal((5, 16))
        draw = lambda n, centers=centers: (  # noqa: E731
            centers[random.integers(5, size=n)] + 0.3 * random.standard_normal((n, 16))
        )
        bank, new = draw(300), draw(400)
        limit = pooled(leave_one_out(bank)).value
        rates.append(decide(nearest(new, bank), limit).mean())
    assert 0.08 < np.mean(rates) < 0.12


@pytest.mark.parametrize("spoil", [one_in_a_hundred_far_out, one_outlier])
def test_the_official_gamma_fails_where_clips_lie_far_out_and_says_so(spoil):
    random = np.random.default_rng(0)
    train = spoil(random, NORMAL_CLIPS["gamma"](random, 1000))
    found = pooled(train, "gamma")
    above = 100 * (NORMAL_CLIPS["gamma"](random, 10_000) > found.value).mean()
    assert not 8 < above < 12
    (caveat,) = found.caveats
    assert "% of the train clips lie above the threshold, not 10 %" in caveat
    assert caveat.endswith("take --threshold-rule empirical")


@pytest.mark.parametrize("quantile", [0.5, 0.9, 0.99])
def test_gamma_is_the_official_baselines_fit(quantile):
    scores = NORMAL_CLIPS["gamma"](np.random.default_rng(0), 400)
    expected = stats.gamma.ppf(quantile, *stats.gamma.fit(scores))
    assert pooled(scores, "gamma", quantile).value == expected
    assert expected == pytest.approx(stats.gamma.ppf(quantile, 3.0, scale=0.1), rel=0.1)


@pytest.mark.parametrize(
    ("clips", "quantile", "rank"),
    [(1, 0.9, 1), (8, 0.9, 8), (9, 0.9, 9), (10, 0.9, 10), (19, 0.9, 18), (99, 0.9, 90),
     (100, 0.9, 91), (1000, 0.9, 901), (10, 0.01, 1), (9, 0.7, 7), (19, 0.35, 7)],
)  # fmt: skip
def test_the_empirical_threshold_is_the_score_of_a_rank(clips, quantile, rank):
    scores = np.random.default_rng(0).permutation(clips) + 1.0
    assert empirical_threshold(scores, quantile) == rank


def test_decisions_do_not_depend_on_the_scores_scale():
    scores = NORMAL_CLIPS["lognormal"](np.random.default_rng(0), 120)
    assert empirical_threshold(1e-6 * scores - 3) == 1e-6 * empirical_threshold(scores) - 3


def test_the_range_of_false_alarms_holds_nineteen_times_of_twenty():
    random = np.random.default_rng(0)
    for clips, quantile in ((12, 0.9), (60, 0.8), (5, 0.9)):
        low, high = false_alarm_range(clips, quantile)
        limits = [empirical_threshold(random.random(clips), quantile) for _ in range(4000)]
        above = 1 - np.array(limits)
        assert ((above >= low) & (above <= high)).mean() == pytest.approx(0.95, abs=0.01)


@pytest.mark.parametrize("rule", ["empirical", "gamma"])
def test_too_few_clips_to_say_are_told_of(rule):
    random = np.random.default_rng(3)
    few = one_outlier(random, NORMAL_CLIPS["lognormal"](random, 12))
    (caveat,) = pooled(few, rule).caveats
    assert caveat.startswith("12 train clip(s) cannot tell which scores 10 % of normal clips")
    assert "of new ones 0.21 to 26 % may lie above the threshold" in caveat
    enough = NORMAL_CLIPS["gamma"](random, 50)
    assert pooled(enough, rule).caveats == ()
    assert pooled(enough, rule, 0.95).caveats[0].startswith("50 train clip(s) cannot tell")


def test_the_target_rule_takes_clips_of_the_target_domain_alone():
    scores = np.concatenate([np.linspace(0, 1, 990), np.arange(5.0, 15.0)])
    domains = np.repeat(["source", "target"], [990, 10])
    found = set_threshold(scores, domains, "target", 0.8)
    assert found.value == 13.0  # ninth of ten
    assert found.caveats[0].startswith("10 target-domain train clip(s) cannot tell")
    assert set_threshold(scores, domains).value < 1
    with pytest.raises(TooFewClipsError, match=r"fan: no train clip is of the target domain; set"):
        set_threshold(scores[:990], domains[:990], "target", where="fan")


def test_too_few_scores_are_refused_with_their_owner():
    with pytest.raises(TooFewClipsError, match=r"fan section 03: 2 train score\(s\) are too few"):
        gamma_threshold(np.array([0.1, 0.2]), where="fan section 03")
    with pytest.raises(TooFewClipsError, match="pump section 01: there is no train score"):
        empirical_threshold(np.array([]), where="pump section 01")


def test_equal_scores_are_refused_with_their_owner():
    with pytest.raises(ScoresError, match=r"fan section 03: all 5 train scores are 0\.25"):
        gamma_threshold(np.full(5, 0.25), where="fan section 03")
    assert empirical_threshold(np.full(5, 0.25)) == 0.25


@pytest.mark.parametrize("result", [RuntimeError("stuck"), (np.nan, 0.0, 1.0)])
def test_a_fit_that_finds_nothing_is_refused(monkeypatch, result):
    def fit(_, scores):
        if isinstance(result, Exception):
            raise result
        return result

    monkeypatch.setattr(type(stats.gamma), "fit", fit)
    with pytest.raises(ScoresError, match=r"fan: no gamma.*; take --threshold-rule empirical"):
        gamma_threshold(np.arange(9.0), where="fan")


def test_a_score_at_the_threshold_is_normal():
    assert decide(np.array([0.1, 0.2, 0.3]), 0.2).tolist() == [0, 0, 1]
