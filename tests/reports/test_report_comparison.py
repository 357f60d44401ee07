"""Several systems on one page."""

from __future__ import annotations

import re
import shlex
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from ground_truth_files import evaluation_clips, write_ground_truth
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


def test_the_leader_table_has_intervals_and_the_best_comes_first(make_entry, tmp_path):
    entry = make_entry("dcase2025")
    runs = [another_run(entry, name, noise) for name, noise in (("far", 2.0), ("near", 0.2))]
    done = report([*runs, entry.run], "2025", out=tmp_path / "out", resamples=50)
    text = words(done.page)
    table = re.search(r"<tbody>(.*?)</tbody>", text)[1]
    results = {
        run.name: evaluate_run_or_folder(run, "2025", resamples=50) for run in (*runs, entry.run)
    }
    order = sorted(results, key=lambda name: -results[name].evaluation.official_score)
    assert re.findall(r'<th scope="row">(\w+)</th>', table) == order
    for cells, each in zip(table.split("</tr>"), map(results.get, order), strict=False):
        assert f">{100 * each.evaluation.official_score:.2f}</td>" in cells
        assert f">{100 * each.interval.lower:.2f} to {100 * each.interval.upper:.2f}</td>" in cells
    listed = ", ".join(f"{n} {100 * results[n].evaluation.official_score:.2f}" for n in order)
    assert f"Official score of each system in percent, best first: {listed}." in text
    assert "Dotted: chance. Lines: intervals of the table above." in text


def test_the_development_set_gives_the_order_of_the_leaders(make_entry, tmp_path):
    entry = make_entry("dcase2025")
    truth = write_ground_truth(tmp_path / "truth", evaluation_clips(entry.scores))
    runs = [entry.run, *(another_run(entry, f"noise_{i}", 0.5 * i) for i in range(1, 4))]
    text = words(report(runs, "2025", truth, tmp_path / "out").page)
    scores = {
        run.name: [
            evaluate_run_or_folder(run, "2025", of, resamples=0).evaluation.official_score
            for of in (None, truth)
        ]
        for run in runs
    }
    order = sorted(scores, key=lambda name: -scores[name][0])
    assert order != sorted(scores, key=lambda name: -scores[name][1])
    table = re.search(r"<tbody>(.*?)</tbody>", text)[1]
    assert re.findall(r'<th scope="row">(\w+)</th>', table) == order


def test_of_many_systems_only_what_compares_them_is_shown_unless_asked(make_entry, tmp_path):
    entry = make_entry("dcase2025")
    runs = [entry.run, *(another_run(entry, f"system_{i}", 0.1 * i) for i in range(1, 4))]
    four = report(runs, "2025", out=tmp_path / "four")
    assert any(path.name.endswith("_roc.svg") for path in four.pictures)
    runs.append(another_run(entry, "the fifth", 0.5))
    done = report(runs, "2025", out=tmp_path / "five")
    names = sorted(path.name for path in done.pictures)
    assert names == ["correlation.svg", "dev_results.svg", "dev_standings.svg", "robustness.svg"]
    assert len(done.page.read_bytes()) < len(four.page.read_bytes()) / 3
    text = words(done.page)
    for run in runs:
        assert f'<h2 id="system-{runs.index(run) + 1}-title">{run.name}</h2>' in text
        alone = shlex.join(["dcase-asd", "report", str(run), "--edition", "dcase2025"])
        assert f"Machine by machine: <code>{alone}</code>" in unescape(text)
    assert text.count("only 2 of 7 machine types") + text.count("machine sections of the dev") >= 5
    full = report(runs, "2025", out=tmp_path / "full", details=True)
    assert len(full.pictures) > 4 + 5 * 7
    folded = words(full.page)
    assert folded.count("<summary>2 machine sections</summary>") == 10
    assert "<code>" not in folded


def test_the_command_for_one_of_many_systems_names_the_ground_truth(make_entry, tmp_path):
    entry = make_entry("dcase2025")
    truth = write_ground_truth(tmp_path / "truth", evaluation_clips(entry.scores))
    runs = [entry.run, *(another_run(entry, f"system_{i}", 0.1 * i) for i in range(1, 5))]
    text = words(report(runs, "2025", truth, tmp_path / "out").page)
    assert f"--edition dcase2025 --ground-truth {truth}</code>" in text


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
