"""Labels that are given for the evaluation set of a report."""

from __future__ import annotations

import pytest
from ground_truth_files import evaluation_clips, write_ground_truth
from report_pages import report, words

from dcase_asd.errors import GroundTruthError
from dcase_asd.metrics.evaluate import evaluate_run_or_folder


def ground_truth(entry, tmp_path, machines=None):
    """An official evaluator's folder for the evaluation clips."""
    clips = evaluation_clips(entry.scores)
    if machines is not None:
        clips = clips[clips["machine"].isin(machines)]
    return write_ground_truth(tmp_path / "truth", clips)


def test_ground_truth_gives_the_evaluation_set_its_official_result(make_entry, tmp_path):
    entry = make_entry("dcase2025")
    truth = ground_truth(entry, tmp_path)
    done = report(entry.run, "2025", truth, tmp_path / "out", resamples=50)
    official = evaluate_run_or_folder(entry.run, "2025", truth, resamples=50)
    text = words(done.page)
    assert f"<b>{100 * official.evaluation.official_score:.2f} %</b>" in text
    assert f"{100 * official.interval.lower:.2f} to {100 * official.interval.upper:.2f}" in text
    assert "labels from ground truth truth" in text
    assert "the labels of these clips are not known" not in text


def test_the_name_of_a_ground_truth_keeps_its_capitals(make_entry, tmp_path):
    entry = make_entry("dcase2025")
    truth = ground_truth(entry, tmp_path).rename(tmp_path / "GroundTruth")
    text = words(report(entry.run, "2025", truth, tmp_path / "out").page)
    assert "of 2 machine types, labels from ground truth GroundTruth." in text


def test_ground_truth_of_a_part_leaves_the_rest_unlabelled(make_entry, tmp_path):
    entry = make_entry("dcase2025")
    machines = sorted(entry.scores[entry.scores["stage"] == "eval"]["machine"].unique())
    done = report(entry.run, "2025", ground_truth(entry, tmp_path, machines[:1]), tmp_path / "out")
    text = words(done.page)
    assert f"that the ground truth does not cover are left out ({machines[1]} 00)" in text
    assert "6 unlabelled clips" in text
    others = sorted(set(entry.edition.machines["eval"]) - {machines[0]})
    assert f"without {', '.join(f'{name} 00' for name in others)}" in text


def test_ground_truth_of_the_machines_that_are_chosen_is_used(make_entry, tmp_path):
    entry = make_entry("dcase2025")
    truth = ground_truth(entry, tmp_path)
    machine = entry.scores[entry.scores["stage"] == "eval"]["machine"].iloc[0]
    done = report(entry.run, "2025", truth, tmp_path / "out", machines=[machine])
    official = evaluate_run_or_folder(entry.run, "2025", truth, machines=[machine], resamples=0)
    text = words(done.page)
    assert f"<b>{100 * official.evaluation.official_score:.2f} %</b>" in text
    assert f"of 1 machine type, labels from ground truth {truth.name}" in text


def test_ground_truth_of_other_clips_is_refused(make_entry, tmp_path):
    entry = make_entry("dcase2025")
    truth = ground_truth(entry, tmp_path)
    for path in list((truth / "ground_truth_data").iterdir()):
        for folder in ("data", "domain"):
            old = truth / f"ground_truth_{folder}" / path.name
            old.rename(old.with_name("ground_truth_ToyRCCar_section_00_test.csv"))
        break
    (first,) = {p.name for p in (truth / "ground_truth_data").iterdir()} - {
        "ground_truth_ToyRCCar_section_00_test.csv"
    }
    for folder in ("data", "domain"):
        (truth / f"ground_truth_{folder}" / first).unlink()
    with pytest.raises(GroundTruthError, match="labels of ToyRCCar 00, but scored are"):
        report(entry.run, "2025", truth, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_ground_truth_that_lacks_a_clip_is_refused(make_entry, tmp_path):
    entry = make_entry("dcase2025")
    truth = ground_truth(entry, tmp_path)
    for folder in ("data", "domain"):
        path = min((truth / f"ground_truth_{folder}").iterdir())
        path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    with pytest.raises(GroundTruthError, match=r"1 clip\(s\) scored but not in the ground truth"):
        report(entry.run, "2025", truth, tmp_path / "out")
    assert not (tmp_path / "out").exists()
