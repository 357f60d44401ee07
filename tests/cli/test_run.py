"""The command `run`: recipes, forms, plans and checks."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dcase_asd.cli.app import app
from dcase_asd.miniature.machines import ClipCounts
from dcase_asd.miniature.miniature import write_miniature

SUBMISSIONS = Path(__file__).parents[2] / "submissions"
SPECTRAL = str(SUBMISSIONS / "examples" / "spectral.toml")
FORM = str(SUBMISSIONS / "examples" / "submission.toml")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_miniature(folder, editions=("dcase2025",), counts=ClipCounts(4, 2, 2, 1))
    return folder


@pytest.fixture
def run(data, tmp_path):
    """Run the command in folders of the test; returns its output."""

    def invoke(*arguments, status=0):
        folders = ["--data", str(data), "--runs", str(tmp_path / "runs")]
        command = ["run", *arguments, *folders, "--out", str(tmp_path / "dist")]
        done = CliRunner().invoke(app, command)
        assert done.exit_code == status, done.output
        return done.output if status else done.stdout

    return invoke


def test_a_recipe_prints_its_tables_and_the_second_time_that_nothing_changed(run):
    text = run(SPECTRAL)
    assert "AUC_s" in text
    assert "official score" in text
    assert "nothing has changed" not in text
    assert "all was done already; nothing has changed" in run(SPECTRAL)


def test_brief_is_one_line_for_each_result(run, tmp_path):
    lines = run(SPECTRAL, "--brief").splitlines()
    assert len(lines) == 2
    for line, labels in zip(lines, ("file names", "ground truth dcase2025"), strict=True):
        assert line.startswith(f"{tmp_path}/runs/spectral: dcase2025, labels from {labels}: offic")


def test_a_form_prints_what_the_check_found_and_where_the_tables_are(run, tmp_path):
    text = run(FORM)
    assert "valid for dcase2025: 1 system(s)" in text
    assert f"{tmp_path}/dist/results: tables of results, Lastname_INST_task2_1.dev.md" in text


def test_several_forms_are_shown_side_by_side(run, tmp_path):
    second = tmp_path / "second.toml"
    text = Path(FORM).read_text().replace("task2_1", "task2_2")
    second.write_text(text.replace('"spectral.toml"', f'"{SPECTRAL}"'))
    shown = run(FORM, str(second))
    assert "left-out machines" in shown
    assert "valid for dcase2025: 2 system(s)" in shown
    assert "all was done already; nothing has changed" in run(FORM, str(second))


def test_programs_read_json(run, tmp_path):
    found = json.loads(run(SPECTRAL, FORM, "--json"))
    assert found["systems"][0]["run"] == str(tmp_path / "runs" / "spectral")
    assert found["systems"][0]["evaluations"][0]["edition"] == "dcase2025"
    assert found["submissions"][0]["label"] == "Lastname_INST_task2_1"
    assert found["packages"][0]["errors"] == 0


def test_a_plan_names_the_systems_and_runs_nothing(run, tmp_path):
    text = run(FORM, "--dry-run")
    assert "spectral" in text
    assert "Lastname_INST_task2_1" in text
    assert list(tmp_path.iterdir()) == []


def test_a_plan_totals_disk_and_says_that_no_speed_was_measured(run, monkeypatch, tmp_path):
    monkeypatch.setenv("DCASE_ASD_CACHE", str(tmp_path / "cache"))
    text = run(str(SUBMISSIONS / "submission_1.toml"), "--dry-run", "--tflops", "100")
    assert "no speed was measured yet, so no hours are told: beats_01" in text
    assert "GB more while it is fine-tuned" in text
    assert "needed first: BEATs_iter3: these weights are not here" in text


def test_a_plan_tells_the_hours_that_are_left_at_the_measured_speed(run, tmp_path):
    recipe = SUBMISSIONS / "systems/beats_01.toml"
    run_folder = tmp_path / "runs/beats_01"
    run_folder.mkdir(parents=True)
    line = {"update": 1, "step": 8, "clips_per_second": 100.0}
    (run_folder / "train.jsonl").write_text(json.dumps(line) + "\n")
    # 30,000 batches of 32 clips
    assert "2.7 hours of training are left on one device" in run(str(recipe), "--dry-run")


def test_a_plan_of_the_miniature_generates_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["run", FORM, "--mini", "--dry-run"])
    assert done.exit_code == 0, done.output
    assert list(tmp_path.iterdir()) == []


def test_set_changes_every_recipe_and_a_misspelt_name_is_told(run, tmp_path):
    run(SPECTRAL, "--set", "score.references=2", "--brief")
    assert "references = 2" in (tmp_path / "runs/spectral/recipe.toml").read_text()
    run(SPECTRAL, "--set", "score.referenses=2", status=1)
    run(SPECTRAL, "--set", "train.steps=8", "--dry-run", status=1)


def test_systems_run_in_processes_of_their_own(run):
    text = run(SPECTRAL, "--jobs", "2")
    assert "official score" in text


def test_a_check_prepares_and_runs_nothing(run, data, tmp_path):
    assert run(FORM, "--check") == f"{data}: nothing is missing for spectral\n"
    assert list(tmp_path.iterdir()) == []


def test_training_only_takes_no_form(run):
    assert run(SPECTRAL, "--train-only") == f"{SPECTRAL}: nothing is left to fine-tune\n"
    run(FORM, "--train-only", status=2)


def test_only_some_systems_leave_the_rest_to_be_made_of_them(run, monkeypatch, tmp_path):
    monkeypatch.setattr(
        "dcase_asd.runs.side_by_side.run_side_by_side", lambda _, __, fleet, ___: list(fleet.only)
    )
    text = run(FORM, "--only", "spectral")
    rest = "without --only the rest is made of them"
    assert text == f"{tmp_path}/runs: spectral: done; {rest}\n"


def test_a_package_that_is_not_valid_is_status_1(run, monkeypatch):
    monkeypatch.setattr(
        "dcase_asd.submission.validate.Validation.accepted", lambda _, strict=False: strict
    )
    assert "NOT valid for dcase2025" in run(FORM, status=1)


def test_a_miniature_without_its_overlay_is_wrong_usage(tmp_path):
    recipe = tmp_path / "spectral.toml"
    recipe.write_text(Path(SPECTRAL).read_text())
    done = CliRunner().invoke(app, ["run", str(recipe), "--mini"])
    assert done.exit_code == 2
    assert "there is no mini.toml above" in done.output.replace("\n", " ")


def test_the_miniature_is_generated_and_its_folders_are_taken(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folders = []
    monkeypatch.setattr(
        "dcase_asd.runs.demo.make_demo_data",
        lambda data, _, editions: folders.append((data, editions)),
    )
    monkeypatch.setattr(
        "dcase_asd.cli.run._run_all", lambda _, setup, *__, **___: folders.append(setup)
    )
    done = CliRunner().invoke(app, ["run", FORM, "--mini"])
    assert done.exit_code == 0, done.output
    (generated, editions), setup = folders
    assert (generated, setup.data, setup.runs) == (*[Path("mini/data")] * 2, Path("mini/runs"))
    assert editions is None  # the miniature's own
    assert (setup.workers, setup.overwrite) == (0, True)
    assert setup.overlay == SUBMISSIONS / "mini.toml"


@pytest.mark.parametrize("recipe", ["2026/submission_1.toml", "presets/two-microphones.toml"])
def test_two_microphones_have_a_miniature_and_folders_of_their_own(tmp_path, monkeypatch, recipe):
    monkeypatch.chdir(tmp_path)
    made = []
    monkeypatch.setattr("dcase_asd.runs.demo.make_demo_data", lambda *each: made.append(each))
    monkeypatch.setattr("dcase_asd.cli.run._run_all", lambda *each, **_: made.append(each))
    done = CliRunner().invoke(app, ["run", str(SUBMISSIONS / recipe), "--mini"])
    assert done.exit_code == 0, done.output
    (data, _, editions), (_, setup, _, out) = made
    folder = Path("mini/dcase2026")
    assert (data, editions) == (folder / "data", ("dcase2026",))
    assert (setup.data, setup.runs, out) == (data, folder / "runs", folder / "dist")
    overlay = "2026/mini.toml" if recipe.startswith("2026") else "mini.toml"
    assert setup.overlay == SUBMISSIONS / overlay
    both = CliRunner().invoke(app, ["run", FORM, str(SUBMISSIONS / recipe), "--mini"])
    assert "dcase2026 has two microphones and dcase2025 one; run these" in str(both.exception)


def test_the_miniature_with_two_microphones_is_generated_alone(tmp_path):
    data = tmp_path / "pairs"
    done = CliRunner().invoke(app, ["demo", str(data), "--edition", "2026"])
    assert "goes with --data-only" in done.output
    done = CliRunner().invoke(app, ["demo", str(data), "--data-only", "--edition", "2021"])
    assert "the miniature holds no edition 'dcase2021'" in str(done.exception)
    assert not list(data.rglob("*.wav"))


def test_a_system_on_clips_of_unknown_condition_is_scored_and_not_evaluated(tmp_path, write_clip):
    raw = tmp_path / "data/own/dev_data/raw/pump"
    for seed, name in enumerate(("train/a.wav", "train/b.wav", "train/c.wav", "test/d.wav")):
        write_clip(raw / name, seed)
    (tmp_path / "plain.toml").write_text('name = "plain"\n[embed]\nplugin = "spectral"\n')
    command = ["run", tmp_path / "plain.toml", "--data", tmp_path / "data"]
    command += ["--runs", tmp_path / "runs"]
    done = CliRunner().invoke(app, [str(word) for word in command])
    assert done.exit_code == 0, done.output
    assert "plain: scored; no clip's condition is known, so there is nothing" in done.stdout


def test_the_demo_ends_with_its_figures_and_the_verdict_on_its_package(tmp_path, monkeypatch):
    few = ClipCounts(4, 2, 2, 1)
    monkeypatch.setattr(
        "dcase_asd.runs.demo.write_miniature",
        lambda data, progress, editions: write_miniature(
            data, progress=progress, editions=["dcase2024", "dcase2025"], counts=few
        ),
    )
    done = CliRunner().invoke(app, ["demo", str(tmp_path / "demo")])
    assert done.exit_code == 0, done.output
    first, *others = done.stdout.splitlines()
    assert first.startswith("The sounds of this demo are generated")
    assert others[0].startswith("dcase2025, labels from ground truth dcase2025: official score")
    assert others[1].startswith("dcase2024, labels from file names: official score")
    assert "Miniature_DEMO_task2.zip: valid for dcase2025: 1 system(s)" in others[-1]
    done = CliRunner().invoke(app, ["demo", str(tmp_path / "only"), "--data-only"])
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[-1].endswith(" clips of dcase2024, dcase2025")


def test_jobs_of_a_cluster_are_shown_and_run_here(run, data, tmp_path):
    text = run(SPECTRAL, "--launcher", "slurm", "--partition", "gpu", "--dry-run")
    assert text.startswith("### spectral\n#!/bin/bash\n")
    assert "#SBATCH --partition=gpu\n" in text
    assert list(tmp_path.iterdir()) == []
    text = run(SPECTRAL, "--launcher", "local", "--gpus", "0")
    assert f"what they say is in {tmp_path}/runs/.jobs" in text
    assert "nothing has changed" in run(SPECTRAL)
    found = json.loads(run(SPECTRAL, "--launcher", "slurm", "--dry-run", "--json"))
    assert found["jobs"][0]["job"]["name"] == "spectral"


@pytest.mark.parametrize(
    "flags",
    [
        ("--partition", "gpu"),
        ("--nodes", "2"),
        ("--launcher", "local", "--nodes", "2"),
        ("--launcher", "slurm", "--slurm", "account"),
        ("--launcher", "slurm", "--slurm", "gpus-per-node=2"),
        ("--launcher", "slurm", "--slurm", "--dependency=afterok:1"),
        ("--launcher", "slurm", "--jobs", "2"),
        ("--launcher", "slurms"),
    ],
)
def test_flags_of_jobs_that_do_not_fit_are_told(run, flags):
    run(SPECTRAL, *flags, "--dry-run", status=2)
