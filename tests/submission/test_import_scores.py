"""Official score files become a run that gives what the files themselves give."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from folder_contents import tree
from official_entry import write_official

from dcase_asd.embeddings.embed import embed
from dcase_asd.errors import (
    ArtifactError,
    ClipNameError,
    RecipeError,
    ScoresError,
)
from dcase_asd.folders import is_run
from dcase_asd.metrics.evaluate import evaluate_run_or_folder, read_official_scores, write_results
from dcase_asd.metrics.official_files import official_clip_name, score_file_name
from dcase_asd.progress import Silent
from dcase_asd.recipe.imported import is_imported, read_imported_system
from dcase_asd.recipe.system import Embedding, System
from dcase_asd.scores.score import score
from dcase_asd.scores.table import read_provenance, read_scores, scored_editions
from dcase_asd.submission.import_scores import import_scores
from dcase_asd.training.finetune import finetune, planned_system

GOLDENS = Path(__file__).parents[1] / "data" / "metrics"
YEARS = [f"dcase{year}" for year in range(2020, 2027)]
CLIP = ["stage", "machine", "section", "split", "file"]


@pytest.mark.parametrize("edition", YEARS)
@pytest.mark.parametrize("test", ["", "_test"])
def test_scores_of_every_year_come_back_as_they_were(make_entry, tmp_path, theirs, edition, test):
    entry = make_entry(edition)
    write_official(theirs, entry, test=test, nested=bool(test))
    for data in (None, entry.data):
        run = tmp_path / f"runs/of_{data is None}"
        done = import_scores(theirs, run, edition, data)
        expected = entry.scores.set_index(CLIP)["score"].sort_index()
        found = read_scores(run, edition).set_index(CLIP)["score"].sort_index()
        pd.testing.assert_series_equal(found, expected)
        splits = entry.scores["split"].value_counts()
        assert (done.test, done.train, done.changed) == (splits["test"], splits["train"], True)
        assert is_run(run)
        assert scored_editions(run) == [edition]


@pytest.mark.parametrize("year", sorted(path.name for path in GOLDENS.iterdir() if path.is_dir()))
@pytest.mark.parametrize("test", ["", "_test"])
def test_a_run_evaluates_to_the_bytes_of_the_files(tmp_path, year, test):
    folder = tmp_path / "files" / "theirs"
    folder.mkdir(parents=True)
    for path in (GOLDENS / year / "scores").glob("anomaly_score_*.csv"):
        shutil.copy(path, folder / path.name.replace("_test.csv", f"{test}.csv"))
    run = tmp_path / "runs" / "theirs"
    import_scores(folder, run, year)
    written = []
    for target in (folder, run):
        result = evaluate_run_or_folder(target, year, GOLDENS / year, resamples=20)
        written += write_results(result, json=target.parent / "result.json")
    assert written[0].read_bytes() == written[1].read_bytes()


def test_development_clips_evaluate_without_a_ground_truth(entry, theirs, tmp_path):
    write_official(theirs, entry)
    import_scores(theirs, tmp_path / "runs/theirs", "2025")
    results = [
        evaluate_run_or_folder(run, "2025", resamples=0).evaluation
        for run in (entry.run, theirs, tmp_path / "runs/theirs")
    ]
    assert results[0] == results[1] == results[2]


def test_names_of_the_official_baseline_are_taken(entry, theirs, tmp_path):
    """Its files of the development set have a seed, but not the ending of its evaluation files."""
    write_official(theirs, entry)
    for path in theirs.glob("*.csv"):
        machine, _, rest = path.stem.removeprefix("anomaly_score_").partition("_")
        name = f"anomaly_score_DCASE2025T2{machine}_{rest}_seed13711_id(0_)"
        path.rename(theirs / f"{name}{'_Eval' * machine.startswith('Toy')}.csv")
    import_scores(theirs, tmp_path / "runs/theirs", "2025")
    found = read_scores(tmp_path / "runs/theirs", "dcase2025")
    assert len(found) == len(entry.scores)


def test_train_files_may_leave_the_domain_out_and_evaluate_ignores_them(
    make_entry, theirs, tmp_path
):
    entry = make_entry("dcase2021")
    write_official(theirs, entry)
    for path in theirs.glob("*_source_train.csv"):
        path.rename(theirs / path.name.replace("_source_train", "_train"))
    import_scores(theirs, tmp_path / "runs/theirs", "2021")
    assert len(read_scores(tmp_path / "runs/theirs", "dcase2021")) == len(entry.scores)
    tests = read_official_scores(theirs, entry.edition)
    assert len(tests) == (entry.scores["split"] == "test").sum()


def test_the_recipe_says_where_scores_are_from_of_each_edition(make_entry, theirs, tmp_path):
    run = tmp_path / "runs/theirs"
    for edition in ("dcase2022", "dcase2025"):
        import_scores(write_official(theirs / edition, make_entry(edition)), run, edition)
    system = read_imported_system(run)
    assert system.name == "theirs"
    assert [(each.edition, each.folder) for each in system.imported] == [
        (edition, str(theirs / edition)) for edition in ("dcase2022", "dcase2025")
    ]
    for each in system.imported:
        assert each.fingerprint == read_provenance(run, each.edition)["fingerprint"]


def test_the_same_scores_are_not_written_again_and_others_only_when_asked(entry, theirs, tmp_path):
    run = tmp_path / "runs/theirs"
    write_official(theirs, entry)
    import_scores(theirs, run, "2025")
    before = tree(run)
    again = import_scores(shutil.copytree(theirs, tmp_path / "copy"), run, "2025")
    assert not again.changed
    assert tree(run) == before
    path = next(theirs.glob("*_test.csv"))
    first, *others = path.read_text().splitlines()
    path.write_text("\n".join([f"{first.split(',')[0]},99.5", *others]))
    with pytest.raises(ArtifactError, match=r"holds other scores of dcase2025 .*--overwrite"):
        import_scores(theirs, run, "2025")
    assert tree(run) == before
    assert import_scores(theirs, run, "2025", overwrite=True).changed
    assert read_scores(run, "dcase2025")["score"].max() == 99.5
    # An import that was killed before its scores were complete goes on.
    (run / "scores/dcase2025.json").unlink()
    assert import_scores(theirs, run, "2025").changed


def test_other_runs_are_never_replaced(entry, theirs, tmp_path):
    write_official(theirs, entry)
    before = tree(entry.run)
    with pytest.raises(ArtifactError, match=r"small: holds something else than imported scores"):
        import_scores(theirs, entry.run, "2025", overwrite=True)
    assert tree(entry.run) == before
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match="file: a file; give another --run"):
        import_scores(theirs, tmp_path / "file", "2025")


def test_a_recording_in_another_format_keeps_its_name(entry, theirs, tmp_path):
    """Official files call every clip .wav; a fusion joins scores by the recordings' names."""
    from dcase_asd.clips.manifest import manifest_path, write_manifest

    write_official(theirs, entry)
    flac = entry.clips.assign(path=entry.clips["path"].str.replace(".wav", ".flac"))
    write_manifest(manifest_path(entry.data), flac)
    run = tmp_path / "runs/theirs"
    import_scores(theirs, run, "2025", entry.data)
    found = read_scores(run, "dcase2025")["file"]
    assert found.str.endswith(".flac").all()
    assert set(map(official_clip_name, found)) == set(entry.scores["file"])


def change(folder, name, edit):
    path = next(folder.glob(name))
    path.write_text("".join(f"{line}\n" for line in edit(path.read_text().splitlines())))


BAD = {
    "not finite": (
        "*_test.csv", lambda lines: [lines[0].split(",")[0] + ",nan", *lines[1:]],
        ScoresError, r"_test.csv, line 1: 'nan' is no finite number",
    ),
    "twice": (
        "*_test.csv", lambda lines: [*lines, lines[0]],
        ScoresError, r"_test.csv, line \d+: section_00\S+ is named a second time",
    ),
    "twice in train": (
        "*_train.csv", lambda lines: [*lines, lines[0]],
        ScoresError, r"_train.csv, line \d+: section_00\S+ is named a second time",
    ),
    "empty": ("*_test.csv", lambda lines: [], ScoresError, "the file is empty"),
    "no clip's name": (
        "*_test.csv", lambda lines: [*lines, "hum.wav,0.5"],
        ClipNameError, "theirs: hum.wav: no file-name grammar of the challenge fits",
    ),
    "an anomaly to train": (
        "*_train.csv", lambda lines: ["section_00_source_train_anomaly_0000_x.wav,0.5"],
        ClipNameError, "an anomaly stands in train/",
    ),
    "another section": (
        "*_test.csv", lambda lines: [*lines, "section_01_source_test_normal_0000_x.wav,0.5"],
        ScoresError, "is a clip of section 01",
    ),
    "both missing and unknown": (
        "anomaly_score_AutoTrash*_test.csv", lambda lines: [
            *lines[1:], "section_00_source_test_normal_9999_x.wav,0.5"],
        ScoresError, r"test clips do not match: 1 clip\(s\) scored in .*theirs but not in .*data, "
        r"the first AutoTrash section 00 \S+9999_x.wav; 1 clip\(s\) in .*data but not scored, "
        "the first AutoTrash section 00",
    ),
    "unknown in train": (
        "*_train.csv", lambda lines: [*lines, "section_00_source_train_normal_9999_x.wav,0.5"],
        ScoresError, r"train clips do not match: 1 clip\(s\) scored in .*theirs but not in .*data, "
        r"the first \w+ section 00 \S+9999_x.wav; give",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_refused_in_one_line(entry, theirs, tmp_path, case):
    name, edit, error, message = BAD[case]
    change(write_official(theirs, entry), name, edit)
    with pytest.raises(error, match=message) as told:
        import_scores(theirs, tmp_path / "runs/theirs", "2025", entry.data)
    assert "\n" not in str(told.value)
    assert not (tmp_path / "runs/theirs").exists()


def test_two_systems_in_one_folder_and_no_system_are_refused(entry, theirs, tmp_path):
    run = tmp_path / "runs/theirs"
    with pytest.raises(ScoresError, match="theirs: no such folder"):
        import_scores(theirs, run, "2025")
    write_official(theirs / "mse", entry)
    write_official(theirs / "mahala", entry, test="")
    with pytest.raises(ScoresError, match="are both the score file of AutoTrash 00"):
        import_scores(theirs, run, "2025")
    for path in (theirs / "mse").glob("*_test.csv"):
        path.unlink()
    shutil.rmtree(theirs / "mahala")
    with pytest.raises(ScoresError, match="neither a run folder nor one with score files"):
        import_scores(theirs, run, "2025")


def test_what_is_left_out_is_said(entry, theirs, tmp_path):
    write_official(theirs, entry)
    machine = next(iter(entry.edition.machines["dev"]))
    (theirs / score_file_name(entry.edition, machine, "00").replace("_test", "_train")).unlink()
    change(theirs, "*_train.csv", lambda lines: lines[3:])
    (theirs / f"decision_result_{machine}_section_00_test.csv").write_text("section_00_x.wav,2\n")
    progress = Silent()
    import_scores(theirs, tmp_path / "runs/theirs", "2025", entry.data, progress=progress)
    assert progress.notes[0].startswith("decisions are not imported")
    assert progress.notes[1].startswith("3 train clip(s) of ")
    assert progress.notes[2].startswith(f"without train scores of {machine} section 00: ")
    for path in theirs.glob(f"*_{machine}_*_test.csv"):
        path.unlink()
    shutil.copy(
        next(theirs.glob("*_train.csv")), theirs / f"anomaly_score_{machine}_section_00_train.csv"
    )
    with pytest.raises(ScoresError, match=f"train scores of {machine} section 00, but no test"):
        import_scores(theirs, tmp_path / "runs/other", "2025")


def test_steps_of_a_system_refuse_imported_scores(blind, small_tree):
    run = blind[1]
    before = tree(run)
    system = System("theirs", Embedding("spectral"))
    steps = {
        "embed": lambda: embed(small_tree, run, "2025", system, "cpu"),
        "score": lambda: score(run, "2025"),
        "finetune": lambda: finetune(small_tree, run, planned_system(run), device="cpu"),
    }
    for step in steps.values():
        with pytest.raises(
            RecipeError, match=r"theirs.*: imported scores of somebody else's system"
        ):
            step()
    assert tree(run) == before
    assert is_imported(run)


def test_the_marker_says_that_scores_were_imported(blind):
    marker = json.loads((blind[1] / "scores/dcase2025.json").read_text())
    assert (marker["backbone"], marker["train"], marker["test"]) == ("imported", 0, 60)


def test_clips_of_both_stages_cannot_be_told_apart(tmp_path, theirs):
    from dcase_asd.clips.prepare import prepare

    for stage, split in (("dev", "train"), ("dev", "test"), ("eval", "test")):
        path = tmp_path / f"data/plant/{stage}_data/raw/pump/{split}/normal_1.wav"
        path.parent.mkdir(parents=True)
        soundfile.write(path, np.zeros(1600), 16000)
    prepare(tmp_path / "data")
    theirs.mkdir()
    (theirs / "anomaly_score_pump_section_00_test.csv").write_text("normal_1.wav,0.5\n")
    with pytest.raises(ScoresError, match=r"pump normal_1.wav is a test clip of both stages"):
        import_scores(theirs, tmp_path / "runs/theirs", "plant", tmp_path / "data")
    # By their names alone clips that tell their condition are of the development set.
    (theirs / "anomaly_score_pump_section_00_train.csv").write_text("normal_1.wav,0.25\n")
    (theirs / "anomaly_score_fan_section_00.csv").write_text("one.wav,1\n")
    import_scores(theirs, tmp_path / "runs/theirs", "plant")
    found = read_scores(tmp_path / "runs/theirs", "plant").drop(columns="section")
    assert [list(row) for row in found.itertuples(index=False)] == [
        ["dev", "pump", "test", "normal_1.wav", 0.5],
        ["dev", "pump", "train", "normal_1.wav", 0.25],
        ["eval", "fan", "test", "one.wav", 1.0],
    ]
