import json
import math
import shutil
from pathlib import Path

import pytest
from scored_clips import areas, dev_names, evaluate, make_run

from dcase_asd.editions.edition import load_edition
from dcase_asd.errors import ArtifactError, DataError, EditionError, GroundTruthError, ScoresError
from dcase_asd.metrics.evaluate import evaluate_stage, write_results
from dcase_asd.progress import Silent
from dcase_asd.scores.table import read_scores

GOLDENS = Path(__file__).parents[1] / "data" / "metrics"
SCORES = "anomaly_score_fan_section_03_test.csv"


@pytest.fixture
def scores_2022(tmp_path):
    """A copy of the reference scores of two machines and their ground truth."""
    for name in ("scores", "ground_truth_data", "ground_truth_domain"):
        (tmp_path / name).mkdir()
        for machine in ("fan", "valve"):
            for path in (GOLDENS / "2022" / name).glob(f"*_{machine}_*"):
                shutil.copy(path, tmp_path / name)
    return tmp_path


@pytest.mark.parametrize("year", ["2021", "2022"])
def test_a_folder_of_official_files_gets_the_official_score(year):
    report = evaluate(GOLDENS / year / "scores", year, GOLDENS / year)
    text = (GOLDENS / year / "expected_official_result.csv").read_text()
    assert f"official score,,{report.to_json()['official_score']!r}" in text
    assert report.complete
    assert report.notes == ()


def test_the_folder_that_holds_scores_and_ground_truth_is_read_too(scores_2022):
    report = evaluate(scores_2022, "2022", scores_2022)
    assert list(report.evaluation.machines) == ["fan", "valve"]


def test_a_run_is_evaluated_by_its_development_clips_names(tmp_path):
    clips = {
        ("dev", "fan", "00"): dev_names(),
        ("eval", "Polisher", "00"): ["section_00_0000.wav"],
    }
    report = evaluate(make_run(tmp_path / "run", "dcase2025", clips), "2025")
    result = report.to_json()
    assert (result["edition"], result["target"], result["labels"]) == (
        "dcase2025",
        "run",
        "file names",
    )
    assert result["clips"] == {"normal": 10, "anomaly": 10}
    assert list(result["machines"]) == ["fan"]
    assert not result["complete"]
    (note,) = result["notes"]
    assert "only 1 of 7 machine sections of the dev set" in note
    assert "without ToyCar 00, ToyTrain 00, bearing 00" in note


def test_clips_that_hide_their_condition_are_left_out_and_said(tmp_path):
    clips = {("dev", "fan", "00"): [*dev_names(), "section_00_0000.wav"]}
    progress = Silent()
    report = evaluate(make_run(tmp_path / "run", "dcase2025", clips), "2025", progress=progress)
    assert "1 clip(s) without a condition in their names are left out (fan 00)" in progress.notes[0]
    assert progress.notes == list(report.notes)


def test_a_stage_has_a_result_or_says_why_not(tmp_path):
    clips = {
        ("dev", "fan", "00"): [*dev_names(), "section_00_0000.wav"],
        ("eval", "Polisher", "00"): ["section_00_0000.wav"],
    }
    scores = read_scores(make_run(tmp_path / "run", "dcase2025", clips), "dcase2025")
    tests, rules = scores[scores["split"] == "test"], load_edition("2025")
    dev = evaluate_stage(tests, rules, stage="dev")
    known = tests[tests["file"].isin(dev_names())].sort_values("file")
    assert dev.labelled.index.tolist() == known.index.tolist()
    assert dev.evaluation == evaluate(tmp_path / "run", "2025").evaluation
    assert dev.evaluation.score == dev.evaluation.official_score
    assert (dev.fault, dev.complete, len(dev.notes)) == (None, False, 2)
    blind = evaluate_stage(tests, rules, stage="eval", source="run")
    assert (len(blind.labelled), blind.evaluation) == (0, None)
    assert str(blind.fault).startswith("run: no test clip of dcase2025 tells its condition")
    nothing = evaluate_stage(tests[:0], rules)
    assert str(nothing.fault) == "the scores: no scores of test clips of dcase2025"
    one = evaluate_stage(tests[tests["file"].str.contains("source")], rules)
    assert "fan section 00: no normal clip of the target domain" in str(one.fault)
    assert len(one.labelled) == 10


def test_the_score_of_2020_is_the_mean_of_auc_and_pauc(tmp_path):
    names = [f"{c}_id_00_{i:08}.wav" for c in ("normal", "anomaly") for i in range(6)]
    run = make_run(tmp_path / "run", "dcase2020", {("dev", "fan", "00"): names})
    found = evaluate(run, "2020").evaluation
    values = areas(run, "dcase2020", "fan", "00")
    assert found.score == pytest.approx((values["auc"] + values["pauc"]) / 2, abs=1e-12)


def test_a_blind_run_needs_ground_truth(tmp_path):
    clips = {("eval", "Polisher", "00"): ["section_00_0000.wav"]}
    run = make_run(tmp_path / "run", "dcase2025", clips)
    with pytest.raises(GroundTruthError, match="give the labels with --ground-truth"):
        evaluate(run, "2025")


def test_ground_truth_covers_a_part_of_a_run_and_the_rest_is_said(tmp_path):
    names = [f"section_00_{index:04}.wav" for index in range(4)]
    clips = {("dev", "fan", "00"): dev_names(), ("eval", "Polisher", "00"): names}
    run = make_run(tmp_path / "run", "dcase2025", clips)
    for folder, labels in (("data", "0011"), ("domain", "0101")):
        path = tmp_path / f"ground_truth_{folder}/ground_truth_Polisher_section_00_test.csv"
        path.parent.mkdir()
        path.write_text("".join(f"{n},{v}\n" for n, v in zip(names, labels, strict=True)))
    report = evaluate(run, "2025", tmp_path)
    assert list(report.evaluation.machines) == ["Polisher"]
    assert "20 clip(s) that the ground truth does not cover are left out (fan 00)" in report.notes
    assert "only 1 of 8 machine sections of the eval set" in report.notes[1]
    assert report.labels == f"ground truth {tmp_path.name}"


def test_machines_can_be_chosen(scores_2022):
    report = evaluate(scores_2022 / "scores", "2022", scores_2022, machines=["valve"])
    assert list(report.evaluation.machines) == ["valve"]
    with pytest.raises(DataError, match=r"no machine 'Valve' \(did you mean 'valve'"):
        evaluate(scores_2022 / "scores", "2022", scores_2022, machines=["Valve"])


def test_a_machine_that_is_not_of_the_edition_counts_and_is_said(tmp_path):
    run = make_run(tmp_path / "run", "dcase2025", {("dev", "RoboticArm", "00"): dev_names()})
    report = evaluate(run, "2025")
    assert report.notes == ("RoboticArm 00 is not of dcase2025, and counts all the same",)
    assert not report.complete


def test_a_year_of_the_challenge_needs_both_domains(tmp_path):
    names = [name for name in dev_names() if "target" not in name]
    run = make_run(tmp_path / "run", "dcase2025", {("dev", "fan", "00"): names})
    with pytest.raises(GroundTruthError, match="fan section 00: no normal clip of the target"):
        evaluate(run, "2025")


def test_json_has_the_score_the_interval_and_every_section(scores_2022):
    report = evaluate(scores_2022 / "scores", "2022", scores_2022, resamples=50, seed=7)
    result = json.loads(json.dumps(report.to_json(), allow_nan=False))
    interval = result["confidence_interval"]
    assert interval["lower"] < result["official_score"] < interval["upper"]
    assert (interval["of"], interval["resamples"], interval["seed"]) == ("official_score", 50, 7)
    assert result["official_score"] == report.evaluation.official_score
    assert [(s["machine"], s["section"]) for s in result["sections"]] == [
        (machine, section) for machine in ("fan", "valve") for section in ("03", "04", "05")
    ]
    assert result["sections"][0]["clips"] == {"normal": 100, "anomaly": 100}
    assert {"auc", "auc_source", "auc_target", "pauc", "f1_target"} < set(result["sections"][0])
    assert set(result["official_means"]) == {"fan", "valve", "all"}
    assert "interval 7" in report.summary()


def test_2020_has_an_interval_of_the_mean_and_no_official_score(tmp_path):
    names = [f"{c}_id_00_{i:08}.wav" for c in ("normal", "anomaly") for i in range(6)]
    run = make_run(tmp_path / "run", "dcase2020", {("dev", "fan", "00"): names})
    report = evaluate(run, "2020", resamples=50)
    result = report.to_json()
    assert result["official_score"] is None
    assert result["confidence_interval"]["of"] == "means.mean"
    assert report.summary().startswith("mean of AUC and pAUC ")


def test_the_order_of_the_rows_changes_no_byte(scores_2022):
    before = evaluate(scores_2022 / "scores", "2022", scores_2022, resamples=20).to_json()
    path = scores_2022 / "scores" / SCORES
    path.write_text("".join(reversed(path.read_text().splitlines(keepends=True))))
    truth = scores_2022 / "ground_truth_data/ground_truth_fan_section_03_test.csv"
    truth.write_text("".join(reversed(truth.read_text().splitlines(keepends=True))))
    assert evaluate(scores_2022 / "scores", "2022", scores_2022, resamples=20).to_json() == before


def test_results_are_written_in_each_format_that_is_asked_for(scores_2022, tmp_path):
    report = evaluate(scores_2022 / "scores", "2022", scores_2022)
    paths = {name: tmp_path / "out" / name for name in ("json", "csv", "markdown", "latex")}
    assert write_results(report, **paths) == list(paths.values())
    assert json.loads(paths["json"].read_text()) == report.to_json()
    assert paths["csv"].read_text().startswith("Machine,Metric,scores\nfan,AUC_s,")
    assert paths["markdown"].read_text().startswith("| Machine | Metric | scores |")
    assert paths["latex"].read_text().startswith(r"\begin{tabular}")
    assert write_results(report) == []


def test_results_that_cannot_be_written_are_an_error(scores_2022, tmp_path):
    report = evaluate(scores_2022 / "scores", "2022", scores_2022)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ArtifactError, match="cannot be written"):
        write_results(report, json=tmp_path / "file" / "result.json")


def lines_of(path):
    return path.read_text().splitlines(keepends=True)


def damaged(lines, damage):
    """The lines of a score file with one kind of damage."""
    return {
        "missing": lines[1:],
        "extra": [*lines, "section_03_0999.wav,0.5\n"],
        "duplicate": [*lines, lines[0]],
        "nan": [f"{lines[0].split(',')[0]},nan\n", *lines[1:]],
        "empty": [],
    }[damage]


@pytest.mark.parametrize(
    ("damage", "error", "words"),
    [
        ("missing", GroundTruthError, "1 clip(s) in the ground truth but not scored"),
        ("extra", GroundTruthError, "1 clip(s) scored but not in the ground truth"),
        ("duplicate", ScoresError, "is named a second time"),
        ("nan", ScoresError, "'nan' is no finite number"),
        ("empty", ScoresError, "the file is empty"),
    ],
)
def test_damaged_scores_end_in_an_error_that_names_them(scores_2022, damage, error, words):
    for path in (scores_2022 / "scores").glob("decision_*"):
        path.unlink()
    path = scores_2022 / "scores" / SCORES
    path.write_text("".join(damaged(lines_of(path), damage)))
    with pytest.raises(error) as caught:
        evaluate(scores_2022 / "scores", "2022", scores_2022)
    assert words in str(caught.value)
    assert str(scores_2022 / "scores") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_section_without_scores_is_an_error(scores_2022):
    (scores_2022 / "scores" / SCORES).unlink()
    (scores_2022 / "scores" / SCORES.replace("anomaly_score", "decision_result")).unlink()
    with pytest.raises(GroundTruthError, match=r"200 clip.s. in the ground truth but not scored"):
        evaluate(scores_2022 / "scores", "2022", scores_2022)


def test_ground_truth_of_other_machines_is_an_error(scores_2022):
    (scores_2022 / "2022").mkdir()
    for name in ("ground_truth_data", "ground_truth_domain"):
        shutil.copytree(GOLDENS / "2022" / name, scores_2022 / "2022" / name)
        for path in (scores_2022 / "2022" / name).iterdir():
            if "ToyCar_section_03" not in path.name:
                path.unlink()
    with pytest.raises(GroundTruthError, match=r"labels of ToyCar 03, but scored are fan 03 04 05"):
        evaluate(scores_2022 / "scores", "2022", scores_2022 / "2022")


def test_an_edition_that_does_not_exist_is_an_error(scores_2022):
    with pytest.raises(EditionError, match="there is no edition 'dcase2019'"):
        evaluate(scores_2022 / "scores", "dcase2019")


def test_a_target_that_is_missing_or_a_file_or_empty_is_an_error(scores_2022, tmp_path):
    with pytest.raises(DataError, match="missing: no such run folder; give a run"):
        evaluate(tmp_path / "missing", "2022")
    with pytest.raises(DataError, match=f"{SCORES}: a file"):
        evaluate(scores_2022 / "scores" / SCORES, "2022")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ScoresError, match="empty: neither a run folder nor one with score files"):
        evaluate(tmp_path / "empty", "2022")


def test_a_run_without_finished_scores_says_how_to_make_them(tmp_path):
    (tmp_path / "run/embeddings").mkdir(parents=True)
    with pytest.raises(ScoresError, match="make them with `dcase-asd score"):
        evaluate(tmp_path / "run", "2025")


def test_a_run_without_test_clips_is_an_error(tmp_path):
    run = make_run(tmp_path / "run", "dcase2025", {("dev", "fan", "00"): []})
    with pytest.raises(ScoresError, match="holds no test clip"):
        evaluate(run, "2025")


@pytest.mark.shared
def test_a_published_machine_is_evaluated_with_its_official_labels(shared_audio, tmp_path):
    folder = shared_audio / "dcase2024t2/eval_data/raw/RoboticArm/test"
    names = sorted(path.name for path in folder.iterdir())
    run = make_run(tmp_path / "run", "dcase2024", {("eval", "RoboticArm", "00"): names})
    report = evaluate(run, "2024", shared_audio / "ground_truth/dcase2024")
    assert report.to_json()["clips"] == {"normal": 29, "anomaly": 28}
    assert math.isfinite(report.evaluation.official_score)
