"""What `fuse` computes: standardized scores, weights and choices of systems, by definition."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from reference_fusion import official

from dcase_asd.editions.edition import load_edition
from dcase_asd.errors import ScoresError
from dcase_asd.metrics.evaluate import evaluate_run_or_folder


def test_scores_are_weighted_sums_of_scores_standardised_by_train_clips(systems):
    done = systems.fuse(method="weights", weights=(0.5, 0.3, 0.2))
    scores = systems.scores()
    pd.testing.assert_series_equal(
        scores, systems.fused([0.5, 0.3, 0.2]), check_names=False, rtol=1e-12
    )
    counts = scores.index.get_level_values("split").value_counts()
    assert (done.train, done.test, done.changed) == (counts["train"], counts["test"], True)
    assert done.result.weights == (0.5, 0.3, 0.2)
    assert done.result.searched == "weights given by hand"


def test_a_minimum_is_the_smallest_standardised_score(systems):
    done = systems.fuse(method="minimum")
    scores = systems.scores()
    expected = pd.concat([systems.standardized(name) for name in "abc"], axis=1).min(axis=1)
    pd.testing.assert_series_equal(scores, expected, check_names=False, rtol=1e-12)
    assert done.result.weights is None
    assert done.result.dev_score == pytest.approx(official(systems.evaluation(expected)), abs=1e-12)


@pytest.mark.parametrize("edition", ["dcase2020", "dcase2021", "dcase2022", "dcase2025"])
def test_the_grid_finds_the_best_official_score_of_each_year(make_systems, edition):
    systems = make_systems({"a": 0.6, "b": 0.9, "c": 0.4}, edition)
    result = systems.fuse().result
    best = systems.best()
    assert result.weights == tuple(best)
    assert result.dev_score == pytest.approx(systems.score(best), abs=1e-12)
    assert result.searched == "exhaustive lattice, step 0.25, 15 points"
    assert result.alone == pytest.approx([systems.score(row) for row in np.eye(3)], abs=1e-12)
    assert result.equal_weights == pytest.approx(systems.score([1 / 3] * 3), abs=1e-12)


@pytest.mark.parametrize("edition", ["dcase2020", "dcase2021", "dcase2025"])
def test_the_fitted_score_is_what_evaluate_says_of_the_fused_run(make_systems, edition):
    systems = make_systems({"a": 0.6, "b": 0.9}, edition)
    done = systems.fuse()
    report = evaluate_run_or_folder(systems.run("fused"), edition, resamples=0)
    assert done.result.dev_score == pytest.approx(official(report.evaluation), abs=1e-12)


def test_a_bayesian_search_repeats_itself_and_beats_each_system(systems):
    first, again = (
        systems.fuse(run, method="bayesian", budget=30, patience=8, resamples=3).result
        for run in ("fused", "again")
    )
    assert first == again
    assert first.dev_score >= max(first.alone)
    assert first.dev_score == pytest.approx(systems.score(first.weights), abs=1e-12)
    assert sum(first.weights) == pytest.approx(1)
    assert "Gaussian process over the simplex" in first.searched
    assert first.step is None


def test_weights_spread_over_resamples_and_the_seed_repeats_them(systems):
    first, again = (systems.fuse(run, resamples=20).result.bootstrap for run in ("fused", "again"))
    assert first == again
    assert first.resamples == 20
    assert sum(first.mean) == pytest.approx(1)
    assert all(
        0 <= lower <= mean <= upper <= 1
        for lower, mean, upper in zip(first.lower, first.mean, first.upper, strict=True)
    )
    assert max(first.std) > 0
    assert systems.fuse("other", resamples=20, seed=1).result.bootstrap != first


def test_the_most_robust_systems_have_the_smallest_distance_over_eval_machines(systems):
    def shifted(table):
        moved = (table["stage"] == "eval") & (table["split"] == "test")
        return table.assign(score=table["score"] + 100 * table["score"].std() * moved)

    systems.change("a", shifted)
    result = systems.fuse(method="mean", select="robust:1", always=("c",)).result
    assert result.systems == ("b", "c")
    table = result.robustness
    assert table.systems == ("a", "b", "c")
    assert table.machines == tuple(sorted(load_edition("dcase2025").machines["eval"])[:2])
    assert np.mean(table.distance, axis=1) == pytest.approx(table.mean)
    assert table.mean[0] > 50 * max(table.mean[1:])
    assert result.leave_one_machine_out is None


def test_robustness_without_evaluation_scores_is_left_out_or_refused(systems):
    systems.change_each(lambda table: table[table["stage"] == "dev"])
    assert systems.fuse().result.robustness is None
    with pytest.raises(ScoresError, match=r"select 'robust:1' compares evaluation scores"):
        systems.fuse("other", select="robust:1", always=("c",))
