"""Official values, thresholds and shifts on the page of a run, held against references."""

from __future__ import annotations

import pandas as pd
import pytest
from report_pages import report, words
from report_runs import PROVENANCE
from scipy.stats import wasserstein_distance

from dcase_asd.artifacts.scores import read_scores, write_scores
from dcase_asd.detection.threshold import threshold
from dcase_asd.errors import ScoresError
from dcase_asd.steps.evaluate import evaluate_run_or_folder


@pytest.mark.parametrize("edition", ["dcase2020", "dcase2021", "dcase2025"])
def test_a_report_of_each_year_shows_every_section_with_its_official_values(
    make_entry, tmp_path, edition
):
    entry = make_entry(edition)
    done = report(entry.run, edition, out=tmp_path / "out")
    assert done.changed
    text = words(done.page)
    official = evaluate_run_or_folder(entry.run, edition, resamples=0).evaluation
    for section in official.sections:
        for key in ("auc", "auc_source", "auc_target", "pauc"):
            # From 2022 on the AUC of all clips is not scored.
            if key in section.result and not (edition > "dcase2021" and key == "auc"):
                assert f"{100 * section.result[key]:.2f}" in text
    for machine, values in official.machines.items():
        assert machine in text
        for key, value in values.items():
            if edition != "dcase2021" or key not in ("auc", "pauc"):
                assert f"{100 * value:.2f}</td>" in text
    score = official.official_score or official.means["mean"]
    assert f"<b>{100 * score:.2f} %</b>" in text
    assert "Development set" in text
    assert "the labels of these clips are not known" in text
    rocs = [path for path in done.pictures if path.name.endswith("_roc.svg")]
    histograms = [path for path in done.pictures if path.name.endswith("_scores.svg")]
    sections = len(official.sections) // (2 if edition == "dcase2021" else 1)
    assert len(rocs) == sections
    assert len(histograms) >= sections + 2
    assert all(path.is_file() for path in done.pictures)


def test_a_set_whose_result_is_not_defined_is_shown_without_one(make_entry, tmp_path):
    entry = make_entry("dcase2025")
    scores = entry.scores
    normal = scores["file"].str.contains("target_test_normal")
    entry.write(scores[~normal])
    text = words(report(entry.run, "2025", out=tmp_path / "out").page)
    assert "No official result: ToyCar section 00: no normal clip of the target domain" in text
    assert "6 anomalous clips" in text


def test_thresholds_are_those_of_submit_and_say_what_they_decide(make_entry, tmp_path):
    entry = make_entry("dcase2025")
    text = words(report(entry.run, "2025", out=tmp_path / "out").page)
    strict = words(
        report(entry.run, "2025", out=tmp_path / "e", rule="empirical", quantile=0.5).page
    )
    scores = read_scores(entry.run, "dcase2025")
    for (stage, machine), rows in scores.groupby(["stage", "machine"]):
        train = rows[rows["split"] == "train"]["score"].to_numpy()
        limit = threshold(train, "gamma", 0.9)
        assert f"Above the threshold {limit:.4g}: " in text
        assert f"Above the threshold {threshold(train, 'empirical', 0.5):.4g}: " in strict
        if stage == "dev":
            tests = rows[rows["split"] == "test"]
            anomalous = tests[tests["file"].str.contains("anomaly")]["score"]
            share = f"{100 * (anomalous > limit).mean():.0f} % of {len(anomalous)} anomalous"
            assert f"{machine}</h4><p>Above the threshold {limit:.4g}" in text
            assert share in text


def test_train_scores_without_a_spread_are_said_and_the_rest_is_shown(make_entry, tmp_path):
    entry = make_entry("dcase2025")
    scores = entry.scores
    machine = scores["machine"].iloc[0]
    flat = (scores["machine"] == machine) & (scores["split"] == "train")
    entry.write(scores.assign(score=scores["score"].where(~flat, 0.25)))
    text = words(report(entry.run, "2025", out=tmp_path / "out").page)
    assert f"No threshold: {machine}: all 20 train scores are 0.25" in text
    assert f"{machine}: no train scores with a spread, so no shift can be told" in text


def test_scores_without_any_train_clip_are_shown_too(make_entry, tmp_path):
    entry = make_entry("dcase2025")
    entry.write(entry.scores[entry.scores["split"] == "test"])
    done = report(entry.run, "2025", out=tmp_path / "out")
    assert "0 train score(s) are too few" in words(done.page)
    assert not [path for path in done.pictures if "shift" in path.name]


def test_shifts_are_wasserstein_distances_in_deviations_of_train_scores(make_entry, tmp_path):
    entry = make_entry("dcase2025")
    text = words(report(entry.run, "2025", out=tmp_path / "out").page)
    for (machine, _), rows in entry.scores.groupby(["machine", "section"]):
        train = rows[rows["split"] == "train"]["score"]
        test = rows[rows["split"] == "test"]["score"]
        distance = wasserstein_distance(train, test) / train.std(ddof=0)
        assert f"{machine} {distance:.2f}" in text


def test_machines_can_be_chosen(make_entry, tmp_path):
    entry = make_entry("dcase2025")
    done = report(entry.run, "2025", out=tmp_path / "out", machines=["ToyCar"])
    text = words(done.page)
    assert "ToyTrain</h4>" not in text
    assert "The result is of 1 of the 7 machine sections of dcase2025" in text
    with pytest.raises(
        ScoresError, match=r"no scores of the machine 'toycar'; did you mean 'ToyCar'"
    ):
        report(entry.run, "2025", out=tmp_path / "out", machines=["toycar"])


def test_recordings_of_one_s_own_are_shown_with_what_is_defined(tmp_path):
    run = tmp_path / "Wärmepumpe <1> $x$"
    rows = [("dev", "ポンプ", "00", "train", f"{i}.wav", 0.1 * i) for i in range(8)]
    rows += [("dev", "ポンプ", "00", "test", f"normal {i}.flac", 0.1 * i) for i in range(5)]
    rows += [("dev", "ポンプ", "00", "test", f"anomaly {i}.flac", 0.3 * i) for i in range(5)]
    rows += [("dev", "ポンプ", "00", "test", f"what {i}.flac", 0.3) for i in range(2)]
    columns = ["stage", "machine", "section", "split", "file", "score"]
    write_scores(run, "plant", pd.DataFrame(rows, columns=columns), PROVENANCE)
    done = report(run, "plant", form="png")
    text = words(done.page)
    assert "<h1>Wärmepumpe &lt;1&gt; $x$</h1>" in text
    assert "ポンプ</h4>" in text
    assert "no normal clip of the target domain" in text
    assert "2 unlabelled" in text
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in done.pictures)
    assert all(path.name.isprintable() and " " not in path.name for path in done.pictures)
