"""Official values, thresholds and shifts on the page of a run, held against references."""

from __future__ import annotations

import pandas as pd
import pytest
from report_pages import report, words
from report_runs import PROVENANCE

from dcase_asd.errors import DataError
from dcase_asd.fusion.robustness import normal_shift
from dcase_asd.metrics.evaluate import evaluate_run_or_folder
from dcase_asd.scores.table import read_scores, write_scores
from dcase_asd.scores.threshold import empirical_threshold, gamma_threshold


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
    official = words(report(entry.run, "2025", out=tmp_path / "e", rule="gamma", quantile=0.5).page)
    scores = read_scores(entry.run, "dcase2025")
    for (stage, machine), rows in scores.groupby(["stage", "machine"]):
        train = rows[rows["split"] == "train"]["score"].to_numpy()
        limit = empirical_threshold(train, 0.9)
        assert f"Above the threshold {limit:.4g}: " in text
        assert f"Above the threshold {gamma_threshold(train, 0.5):.4g}: " in official
        if stage == "dev":
            tests = rows[rows["split"] == "test"]
            anomalous = tests[tests["file"].str.contains("anomaly")]["score"]
            share = f"{100 * (anomalous > limit).mean():.0f} % of {len(anomalous)} anomalous"
            assert f"{machine}</h4><p>Above the threshold {limit:.4g}" in text
            assert share in text
    few = "Thresholds: 20 train clip(s) cannot tell which scores 10 % of normal clips exceed"
    assert text.count(few) == 2  # once for each stage, with its machines
    assert "a lower --quantile (ToyCar, ToyTrain)" in text
    assert "cannot tell" not in official


def test_thresholds_can_be_those_of_target_domain_clips(make_entry, tmp_path):
    entry = make_entry("dcase2025")
    first = entry.scores["file"].str.contains("source_train_normal_000")
    names = entry.scores["file"].where(~first, entry.scores["file"].str.replace("source", "target"))
    machine = entry.scores["machine"] == "ToyCar"
    scores = entry.scores.assign(file=names.where(machine, entry.scores["file"]))
    entry.write(scores)
    text = words(report(entry.run, "2025", out=tmp_path / "out", rule="target").page)
    target = scores[machine & first]["score"]
    assert len(target) == 10
    assert f"Above the threshold {target.max():.4g}: " in text
    assert "10 target-domain train clip(s) cannot tell" in text
    assert "No threshold: ToyTrain: no train clip is of the target domain" in text


def test_train_scores_without_a_spread_are_said_and_the_rest_is_shown(make_entry, tmp_path):
    entry = make_entry("dcase2025")
    scores = entry.scores
    machine = scores["machine"].iloc[0]
    flat = (scores["machine"] == machine) & (scores["split"] == "train")
    entry.write(scores.assign(score=scores["score"].where(~flat, 0.25)))
    text = words(report(entry.run, "2025", out=tmp_path / "out", rule="gamma").page)
    assert f"No threshold: {machine}: all 20 train scores are 0.25" in text
    assert f"{machine}: how far normal clips have moved needs more than 5 test scores" in text


def test_scores_without_any_train_clip_are_shown_too(make_entry, tmp_path):
    entry = make_entry("dcase2025")
    entry.write(entry.scores[entry.scores["split"] == "test"])
    done = report(entry.run, "2025", out=tmp_path / "out")
    assert "there is no train score to set a threshold by" in words(done.page)
    assert not [path for path in done.pictures if "shift" in path.name]


def test_shifts_are_those_that_a_selection_by_robustness_goes_by(make_entry, tmp_path):
    entry = make_entry("dcase2025")
    text = words(report(entry.run, "2025", out=tmp_path / "out").page)
    for (machine, _), rows in entry.scores.groupby(["machine", "section"]):
        train, test = (rows[rows["split"] == split]["score"] for split in ("train", "test"))
        moved = normal_shift(train.to_numpy(), test.to_numpy())
        assert f"{machine} {moved:.2f}" in text


def test_shifts_that_leave_the_picture_are_said_to_be_cut(make_entry, tmp_path):
    entry = make_entry("dcase2025")
    far = (entry.scores["split"] == "test") & (entry.scores["machine"] == "ToyCar")
    entry.write(entry.scores.assign(score=entry.scores["score"] + 100 * far))
    text = words(report(entry.run, "2025", out=tmp_path / "out").page)
    assert text.count(". Lines are cut at 12.") == 1


def test_machines_can_be_chosen(make_entry, tmp_path):
    entry = make_entry("dcase2025")
    done = report(entry.run, "2025", out=tmp_path / "out", machines=["ToyCar"])
    text = words(done.page)
    assert "ToyTrain</h4>" not in text
    assert "Machine ToyCar alone: no score here is the official one." in text
    assert "Score of the subset" in text
    assert "fficial score," not in text
    assert "Results of a subset" in text
    with pytest.raises(DataError, match=r"no machine 'toycar' \(did you mean 'ToyCar'"):
        report(entry.run, "2025", out=tmp_path / "out", machines=["toycar"])


def test_recordings_of_one_s_own_are_shown_with_what_is_defined(tmp_path):
    run = tmp_path / "Wärmepumpe <1> $x$"
    rows = [("dev", "ポンプ", "00", "train", f"{i}.wav", 0.1 * i) for i in range(8)]
    rows += [("dev", "ポンプ", "00", "test", f"normal {i}.flac", 0.1 * i) for i in range(5)]
    rows += [("dev", "ポンプ", "00", "test", f"anomaly {i}.flac", 0.3 * i) for i in range(5)]
    rows += [("dev", "ポンプ", "00", "test", f"what {i}.flac", 0.3) for i in range(2)]
    columns = ["stage", "machine", "section", "split", "file", "score"]
    write_scores(run, "plant", pd.DataFrame(rows, columns=columns), PROVENANCE)
    done = report(run, "plant", picture_format="png")
    text = words(done.page)
    assert "<h1>Wärmepumpe &lt;1&gt; $x$</h1>" in text
    assert "ポンプ</h4>" in text
    assert "Mean of AUC and pAUC" in text
    assert "fficial" not in text
    assert "2 unlabelled" in text
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in done.pictures)
    assert all(path.name.isprintable() and " " not in path.name for path in done.pictures)
