"""Several systems on one page."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from report_pages import report, words
from report_runs import PROVENANCE, another_run
from scipy.stats import spearmanr

from dcase_asd.metrics.evaluate import evaluate_run_or_folder
from dcase_asd.reports.comparison import rank_correlations
from dcase_asd.reports.read import names_of
from dcase_asd.scores.table import read_scores, write_scores

NAMES = ("c", "machine", "b")
"""Of systems: in no order, and one that is a column's, too."""


def test_several_systems_stand_side_by_side(make_entry, tmp_path):
    entry = make_entry("dcase2025")
    runs = [entry.run, another_run(entry, "other", 0.3), another_run(entry, "third", 0.6)]
    done = report(runs, "2025", out=tmp_path / "out")
    text = words(done.page)
    assert "<h1>3 systems compared</h1>" in text
    for number, run in enumerate(runs, start=1):
        assert f'<section id="system-{number}"' in text
        assert f'<a href="#system-{number}">{run.name}</a>' in text
        score = evaluate_run_or_folder(run, "2025", resamples=0).evaluation.official_score
        assert text.count(f"{100 * score:.2f}") >= 3
    names = {path.name for path in done.pictures}
    assert {"correlation.svg", "robustness.svg", "dev_results.svg"} <= names
    folders = {path.parent.name for path in done.pictures}
    assert folders == {"pictures", "1_small", "2_other", "3_third"}


def test_systems_that_scored_other_machines_are_compared_where_they_can(make_entry, tmp_path):
    entry = make_entry("dcase2025")
    other = another_run(entry, "other", 0.3)
    scores = read_scores(other, "dcase2025")
    write_scores(other, "dcase2025", scores[scores["machine"] != "ToyCar"], PROVENANCE)
    text = words(report([entry.run, other], "2025", out=tmp_path / "out").page)
    assert "\N{EN DASH}</td>" in text


def test_several_systems_are_ranked_by_the_score_of_their_year(make_entry, tmp_path):
    entry = make_entry("dcase2020")
    runs = [entry.run, another_run(entry, "other", 5.0)]
    text = words(report(runs, "2020", out=tmp_path / "out").page)
    assert "Mean of AUC and pAUC, percent; the best in bold" in text
    lines = re.search(r"<tbody>(.*?)</tbody>", text)[1]
    means = [
        evaluate_run_or_folder(run, "2020", resamples=0).evaluation.means["mean"] for run in runs
    ]
    for run, mean in zip(runs, means, strict=True):
        best = " best" if mean == max(means) else ""
        assert f'{run.name}</th> <td class="number{best}">{100 * mean:.2f}</td>' in lines
        assert f"<dt>Mean of AUC and pAUC</dt><dd>{100 * mean:.2f} %, dev" in text


def test_rank_correlations_are_the_means_of_spearman_s_over_sections(make_entry):
    entry = make_entry("dcase2025")
    random = np.random.default_rng(0)
    tests = entry.scores[entry.scores["split"] == "test"]
    tables = {
        name: tests.assign(score=(tests["score"] * 4 + random.random(len(tests))).round(1))
        for name in NAMES
    }
    shuffled = {name: table.sample(frac=1, random_state=1) for name, table in tables.items()}
    found = rank_correlations(shuffled)
    assert found.names == NAMES
    assert (found.clips, found.sections) == (len(tests), 4)
    for i, first in enumerate(NAMES):
        for j, second in enumerate(NAMES):
            expected = [
                spearmanr(tables[first].loc[rows, "score"], tables[second].loc[rows, "score"])[0]
                for rows in tests.groupby(["stage", "machine", "section"]).groups.values()
            ]
            assert found.correlations[i, j] == pytest.approx(np.mean(expected))
    assert rank_correlations({"c": tables["c"]}) is None
    flat = rank_correlations({"c": tables["c"], "machine": tables["machine"].assign(score=1.0)})
    assert np.isnan(flat.correlations[0, 1])
    assert flat.correlations[0, 0] == pytest.approx(1)
    other = tables["machine"].assign(machine=tables["machine"]["machine"] + "2")
    assert rank_correlations({"c": tables["c"], "machine": other}) is None


def test_names_are_as_long_as_they_must_be(tmp_path):
    for name in ("a/x", "b/x", "b/y"):
        (tmp_path / name).mkdir(parents=True)
    assert names_of([tmp_path / "a/x", tmp_path / "b/y"]) == ["x", "y"]
    assert names_of([tmp_path / "a/x", tmp_path / "b/x"]) == ["a/x", "b/x"]
    assert names_of([tmp_path / "a", tmp_path / "a/x", tmp_path / "b/x"]) == [
        f"{tmp_path.name}/a",
        "a/x",
        "b/x",
    ]
    assert names_of([Path("/")]) == ["/"]
