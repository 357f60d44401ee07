"""The commands that compare runs and vary recipes."""

import json

import pytest
from report_runs import another_run
from typer.testing import CliRunner

from dcase_asd.cli.app import app
from dcase_asd.miniature.machines import ClipCounts
from dcase_asd.miniature.miniature import write_miniature
from dcase_asd.runs import trials
from dcase_asd.runs.cluster import Job, Queued


@pytest.fixture
def invoke():
    """Run a command; returns its output, or its error."""

    def run(*arguments, status=0):
        done = CliRunner().invoke(app, [*map(str, arguments)])
        assert done.exit_code == status, (done.output, done.exception)
        return done.stdout if not status else str(done.exception)

    return run


def test_runs_shows_a_table_json_and_csv(invoke, make_entry, tmp_path):
    entry = make_entry("dcase2025")
    another_run(entry, "noisy", 0.9)
    folder = entry.run.parent
    text = invoke("runs", folder, "--resamples", "10", "--csv", tmp_path / "runs.csv")
    assert "dcase2025, official score, percent; left out: the best on the other machine" in text
    assert text.index("small") < text.index("noisy")
    assert (tmp_path / "runs.csv").read_text().startswith("run,dev score,left out,95 % interval")
    found = json.loads(invoke("runs", folder, "--resamples", "0", "--json"))
    assert found["choice"]["left_out_machines"] <= found["choice"]["dev_score"]


def test_runs_of_an_edition_that_none_has_are_listed_without_scores(invoke, make_entry):
    text = invoke("runs", make_entry("dcase2025").run.parent, "--edition", "2024")
    assert "no scores of dcase2024" in text


def test_evaluate_takes_several_runs(invoke, make_entry, tmp_path):
    entry = make_entry("dcase2025")
    other = another_run(entry, "noisy", 0.9)
    arguments = ("evaluate", entry.run, other, "--edition", "2025", "--resamples", "0")
    text = invoke(*arguments, "--csv", tmp_path / "both.csv")
    assert "small: official score " in text
    assert (tmp_path / "both.csv").read_text().startswith("Machine,Metric,small,noisy\n")
    first, second = json.loads(invoke(*arguments, "--json", "-"))
    assert (first["target"], second["target"]) == ("small", "noisy")
    invoke("evaluate", entry.run, entry.run, "--edition", "2025", status=2)


def test_sweep_shows_the_leaderboard_and_the_best(invoke, tmp_path, monkeypatch):
    write_miniature(tmp_path / "data", editions=("dcase2025",), counts=ClipCounts(4, 2, 2, 1))
    monkeypatch.chdir(tmp_path)
    recipe = tmp_path / "small.toml"
    recipe.write_text('name = "small"\n[embed]\nplugin = "spectral"\n')
    text = invoke("sweep", recipe, "--set", "score.neighbors=1,2")
    assert "left out: the best on the other machine types" in text
    assert "runs/small_sweep/small_00" in text
    assert ": best dev score of 2: score.neighbors=" in text
    again = invoke("sweep", recipe, "--set", "score.neighbors=1,2")
    assert "all was done already; nothing has changed" in again
    found = json.loads(invoke("sweep", recipe, "--set", "score.neighbors=1,2", "--json"))
    assert found["leaderboard"]["choice"]["dev_score"] == -min(
        trial["cost"] for trial in found["trials"]
    )
    assert "did you mean 'neighbors'?" in invoke(
        "sweep", recipe, "--set", "score.neighbrs=1,2", status=1
    )


def test_a_sweep_is_planned_and_queued(invoke, tmp_path, monkeypatch):
    write_miniature(tmp_path / "data", editions=("dcase2025",), counts=ClipCounts(4, 2, 2, 1))
    monkeypatch.chdir(tmp_path)
    recipe = tmp_path / "small.toml"
    recipe.write_text('name = "small"\n[embed]\nplugin = "spectral"\n')
    sweep = ("sweep", recipe, "--set", "score.neighbors=1,2")
    text = invoke(*sweep, "--dry-run")
    assert text.splitlines()[0].split() == ["trial", "score.neighbors"]
    assert text.splitlines()[1].split() == ["small_001", "1"]
    assert "hours left" in text
    told = json.loads(invoke(*sweep, "--dry-run", "--json"))
    assert [each["name"] for each in told["systems"]] == ["small_001", "small_002"]
    text = invoke("sweep", recipe, "--set", "score.neighbors=1:9", "--method", "bayesian",
                  "--budget", "4", "--dry-run")  # fmt: skip
    assert "3 more: their values depend on what those before give" in text
    text = invoke(*sweep, "--launcher", "slurm", "--partition", "gpu", "--dry-run")
    assert "### small_002\n#!/bin/bash\n" in text
    assert not (tmp_path / "runs").exists()
    assert "--gpus" in invoke_usage(*sweep, "--launcher", "slurm", "--jobs", "2")
    monkeypatch.setattr(
        trials, "queue_jobs", lambda jobs, *_: [Queued(Job("small", ("x",), 1, 1), "77", new=True)]
    )
    text = invoke(*sweep, "--launcher", "slurm")
    assert "what they say is in runs/small_sweep/.jobs" in text
    assert "no trial has ended yet; the same command shows those that have" in text
    invoke("run", "runs/small_sweep/trials/small_002.toml", "--runs", "runs/small_sweep")
    text = invoke(*sweep, "--launcher", "slurm")
    assert "runs/small_sweep/small_002: best dev score of 1: score.neighbors=2" in text
    assert "1 trial(s) have not ended yet; the same command shows those that have" in text


def invoke_usage(*arguments):
    """What is said of flags that do not go together."""
    done = CliRunner().invoke(app, [*map(str, arguments)])
    assert done.exit_code == 2
    return done.output
