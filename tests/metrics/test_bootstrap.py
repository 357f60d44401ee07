from pathlib import Path

import numpy as np
import pytest

from dcase_asd.editions.edition import load_edition
from dcase_asd.metrics.bootstrap import (
    confidence_interval,
    draw_weights,
    own_intervals,
    resampled_scores,
)
from dcase_asd.metrics.evaluate import read_official_scores
from dcase_asd.metrics.labels import join_ground_truth, read_ground_truth
from dcase_asd.metrics.official import evaluate
from dcase_asd.metrics.strata import find_strata

GOLDENS = Path(__file__).parents[1] / "data" / "metrics"


def labelled_clips(year, machines=("fan", "valve")):
    edition = load_edition(year)
    scores = read_official_scores(GOLDENS / year / "scores", edition)
    labelled = join_ground_truth(scores, read_ground_truth(GOLDENS / year, edition))
    return labelled[labelled["machine"].isin(machines)].reset_index(drop=True)


@pytest.mark.parametrize(("metric", "year"), [("2020", "2022"), ("2021", "2021"), ("2022", "2022")])
def test_resampled_scores_are_those_of_a_loop_of_evaluations(metric, year):
    labelled = labelled_clips(year)
    scores = resampled_scores(labelled, metric, 5, np.random.default_rng(1))
    strata, generator = find_strata(labelled), np.random.default_rng(1)
    weights = [draw_weights(len(rows), 5, generator) for rows in strata.rows]
    for number, score in enumerate(scores):
        drawn = np.concatenate(
            [
                np.repeat(rows, weight[number])
                for rows, weight in zip(strata.rows, weights, strict=True)
            ]
        )
        evaluation = evaluate(labelled.iloc[drawn], metric)
        expected = evaluation.means["mean" if metric == "2020" else "hmean"]
        assert score == pytest.approx(expected, abs=1e-12)


def test_intervals_of_ones_own_are_quantiles_of_a_loop_of_evaluations():
    labelled = labelled_clips("2022")
    found = own_intervals(labelled, resamples=30, seed=1)
    strata, generator = find_strata(labelled), np.random.default_rng(1)
    weights = [draw_weights(len(rows), 30, generator) for rows in strata.rows]
    drawn = []
    for number in range(30):
        chosen = [np.repeat(r, w[number]) for r, w in zip(strata.rows, weights, strict=True)]
        drawn.append(evaluate(labelled.iloc[np.concatenate(chosen)], "2020"))
    assert set(found) == {"", "fan", "valve"}
    for machine, of in found.items():
        assert set(of) == {"auc", "pauc", "mean"}
        for key, interval in of.items():
            values = [each.machines.get(machine, each.means)[key] for each in drawn]
            ends = np.quantile(values, [0.025, 0.975])
            assert [interval.lower, interval.upper] == pytest.approx(ends, abs=1e-12)


def test_every_resample_draws_as_many_clips_as_there_are():
    weights = draw_weights(7, 50, np.random.default_rng(0))
    assert weights.shape == (50, 7)
    assert (weights.sum(axis=1) == 7).all()
    assert len(np.unique(weights, axis=0)) > 40


def test_more_resamples_than_are_drawn_at_once_are_all_counted(monkeypatch):
    monkeypatch.setattr("dcase_asd.metrics.bootstrap.RESAMPLES_AT_ONCE", 4)
    scores = resampled_scores(labelled_clips("2022", ["fan"]), "2022", 10, np.random.default_rng(0))
    assert len(np.unique(scores)) == 10


def test_the_interval_repeats_with_its_seed_and_holds_the_score():
    labelled = labelled_clips("2022", ["fan"])
    interval = confidence_interval(labelled, "2022", resamples=200, seed=3)
    assert interval == confidence_interval(labelled, "2022", resamples=200, seed=3)
    assert interval != confidence_interval(labelled, "2022", resamples=200, seed=4)
    assert interval.lower < evaluate(labelled, "2022").official_score < interval.upper
    assert (interval.level, interval.resamples, interval.seed) == (0.95, 200, 3)


def test_the_interval_covers_the_expected_value_about_as_often_as_it_says():
    """Simulated systems with a known expected score; the binomial bounds leave 1 in 10,000."""
    generator = np.random.default_rng(0)
    labelled = labelled_clips("2022", ["fan"])
    labelled = labelled[labelled["section"] == "03"].reset_index(drop=True)
    anomalous = (labelled["condition"] == "anomaly").to_numpy()

    def simulated():
        return labelled.assign(score=generator.normal(size=len(labelled)) + anomalous)

    expected = np.mean([evaluate(simulated(), "2022").official_score for _ in range(400)])
    covered = 0
    for _ in range(60):
        interval = confidence_interval(simulated(), "2022", resamples=200)
        covered += interval.lower <= expected <= interval.upper
    assert 48 <= covered <= 60
