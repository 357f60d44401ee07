import csv
import dataclasses
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from dcase_asd.clips.prepare import prepare
from dcase_asd.errors import DcaseAsdError, SubmissionError
from dcase_asd.fusion.result import read_fusion
from dcase_asd.runs.runner import Setup, run_recipe
from dcase_asd.runs.submissions import run_submissions

EXAMPLE = Path(__file__).parents[2] / "submissions" / "examples" / "submission.toml"


def test_a_submission_is_packaged_and_valid(data, tmp_path):
    setup, out = Setup(data, tmp_path / "runs"), tmp_path / "dist"
    done = run_submissions([EXAMPLE], setup, out)
    (submission,), (validation,) = done.submissions, done.validations
    assert submission.submitted.archive == out / "Lastname_INST_task2.zip"
    assert validation.errors == 0
    assert validation.accepted()
    # What is left to the authors: the report, their names.
    assert {problem.level for problem in validation.problems} == {"warning"}
    whole = submission.submitted.archive.read_bytes()
    (again,) = run_submissions([EXAMPLE], setup, out).submissions
    assert not again.changed
    assert again.submitted.archive.read_bytes() == whole


def test_a_changed_form_replaces_its_system_only_when_told(data, tmp_path):
    form = tmp_path / "form.toml"
    shutil.copy(EXAMPLE.parent / "spectral.toml", tmp_path)
    form.write_text(EXAMPLE.read_text())
    setup, out = Setup(data, tmp_path / "runs"), tmp_path / "dist"
    run_submissions([form], setup, out)
    form.write_text(EXAMPLE.read_text().replace("SpecKNN", "Other"))
    with pytest.raises(SubmissionError, match="--overwrite"):
        run_submissions([form], setup, out)
    setup = dataclasses.replace(setup, overwrite=True)
    (done,) = run_submissions([form], setup, out).submissions
    assert done.submitted.changed
    assert not done.system.changed


@pytest.fixture
def setup(data, cut, tmp_path):
    return Setup(data, tmp_path / "runs", "cpu", 0, cut / "mini.toml")


def test_a_cut_of_the_reports_submission_goes_from_recordings_to_a_valid_package(finished):
    (validation,) = finished.done.validations
    assert validation.errors == 0
    assert validation.systems == ["Lastname_INST_task2_1", "Lastname_INST_task2_2"]
    runs = finished.setup.runs
    names = {"baseline_fisher", "beats_01", "beats_07", "baseline", "best", "robust"}
    assert {path.name for path in runs.iterdir()} == names
    # Three checkpoints of each single system; systems differ.
    scores = []
    for name in ("baseline_fisher", "beats_01", "beats_07"):
        assert len(list((runs / name / "members").iterdir())) == 3
        scores.append((runs / name / "scores" / "dcase2025.csv").read_bytes())
    assert len(set(scores)) == 3
    # A recipe and its overlay stand resolved in the run folder.
    assert "steps = 8" in (runs / "beats_01" / "recipe.toml").read_text()
    assert "time_mask = 0\n" in (runs / "beats_07" / "recipe.toml").read_text()


def test_the_meta_file_counts_the_parameters_of_all_systems_that_are_used(finished):
    label = "Lastname_INST_task2_1"
    path = finished.out / "Lastname_INST_task2" / "task2" / label / f"{label}.meta.yaml"
    complexity = yaml.safe_load(path.read_text())["system"]["complexity"]
    fusion = finished.done.results[0].fusion
    used = [
        json.loads((finished.setup.runs / name / "scores" / "dcase2025.json").read_text())
        for name, weight in zip(fusion.systems, fusion.weights, strict=True)
        if weight > 0
    ]
    assert complexity["total_parameters"] == sum(each["parameters"] for each in used)


def test_a_submission_that_is_done_is_not_done_again(finished, contents):
    before = contents(finished.folder)
    again = run_submissions(finished.forms, finished.setup, finished.out)
    assert not any(each.changed for each in again.submissions)
    assert contents(finished.folder) == before


def test_the_tables_say_what_the_evaluations_found(finished):
    done, results = finished.done, finished.out / "results"
    with (results / "summary.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8 * 4  # seven machines and the means
    for each in done.submissions:
        dev = next(one for one in each.system.evaluations if one.labels == "file names")
        last = next(row for row in rows if (row["Machine"], row["Metric"]) == ("hmean", "hmean"))
        assert last[each.label] == f"{100 * dev.evaluation.official_score:.2f}"
        fan = next(row for row in rows if (row["Machine"], row["Metric"]) == ("fan", "AUC_s"))
        assert fan[each.label] == f"{100 * dev.evaluation.machines['fan']['auc_source']:.2f}"
        assert fan[each.label] in (results / f"{each.label}.dev.csv").read_text()
        assert "ground truth dcase2025" in (results / f"{each.label}.eval.md").read_text()
    summary = (results / "summary.md").read_text()
    fusion = done.results[0].fusion
    assert f"| {100 * fusion.leave_one_machine_out.score:.2f} |" in summary
    assert fusion.searched in summary
    assert "say nothing about real machines" in summary


def test_a_changed_fusion_replaces_the_one_before_only_when_told(finished, tmp_path):
    folder = Path(shutil.copytree(finished.folder, tmp_path / "copy"))
    recipe = folder / "submissions" / "fusions" / "best.toml"
    recipe.write_text(recipe.read_text().replace('"grid"', '"mean"'))
    setup = dataclasses.replace(finished.setup, data=folder / "data", runs=folder / "runs")
    with pytest.raises(DcaseAsdError, match="best"):
        run_recipe(recipe, setup)
    done = run_recipe(recipe, dataclasses.replace(setup, overwrite=True))
    assert done.changed
    assert read_fusion(folder / "runs" / "best", "dcase2025").method == "mean"


@pytest.mark.slow
def test_a_submission_that_is_killed_anywhere_ends_with_the_same_bytes(
    data, cut, tmp_path, contents
):
    """kill -9 at moments spread over a whole run, each time followed by the same command."""
    forms = [str(cut / "submission_1.toml")]
    command = [
        sys.executable, "-m", "dcase_asd", "run", *forms, "--data", "data", "--out", "dist",
        "--overlay", str(cut / "mini.toml"), "--workers", "0", "--device", "cpu",
    ]  # fmt: skip

    def run(folder, kill_after=None):
        child = subprocess.Popen(
            command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        if kill_after is not None:
            time.sleep(kill_after)
            child.kill()
        _, errors = child.communicate()
        assert kill_after is not None or child.returncode == 0, errors

    folders = [tmp_path / name for name in ("undisturbed", "killed")]
    for folder in folders:
        shutil.copytree(data, folder / "data")
    started = time.monotonic()
    run(folders[0])
    whole = time.monotonic() - started
    for part in (0.4, 0.6, 0.5, 0.4):
        run(folders[1], part * whole)
    run(folders[1])
    for name in ("runs", "dist"):
        assert contents(folders[1] / name) == contents(folders[0] / name)


@pytest.mark.slow
def test_the_processes_of_a_launcher_train_and_one_of_them_speaks(setup, cut, tmp_path):
    prepare(setup.data)
    recipe = cut / "systems" / "beats_01.toml"
    overlay = tmp_path / "two.toml"
    text = (cut / "mini.toml").read_text()
    overlay.write_text(text.replace("accumulation = 1", "accumulation = 2"))
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone",
        "-m", "dcase_asd", "run", str(recipe), "--train-only", "--data", str(setup.data),
        "--runs", str(setup.runs), "--overlay", str(overlay), "--workers", "0", "--device", "cpu",
    ]  # fmt: skip
    for said in ("fine-tuned", "nothing is left to fine-tune"):
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=300, env=os.environ
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines() == [f"{recipe}: {said}"]
    assert done.stderr.count("dev score") == 0
