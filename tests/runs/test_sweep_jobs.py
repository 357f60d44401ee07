"""Sweeps that are only planned, that a queue runs, and that are killed."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from dcase_asd.errors import ArtifactError, JobError, LaunchError, RecipeError
from dcase_asd.recipe.system import Embedding, System, read_system, recipe_path
from dcase_asd.recipe.toml import recipe_text
from dcase_asd.recipe.training import Training
from dcase_asd.runs import trials as module
from dcase_asd.runs.cluster import Cluster
from dcase_asd.runs.runner import Setup, run_recipe
from dcase_asd.runs.side_by_side import Fleet
from dcase_asd.runs.sweep import plan_sweep, run_sweep
from dcase_asd.runs.trials import Search

RECIPE = 'name = "small"\n[embed]\nplugin = "spectral"\n'
SEARCH = Search(("score.neighbors=1,2",))
SLURM = Cluster("slurm", "gpu", gpus=0, minutes=30)


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(RECIPE)
    return path


@pytest.fixture
def sweep(data, recipe, tmp_path):
    """Run a sweep of a small system."""

    def run(search=SEARCH, **options):
        return run_sweep(recipe, tmp_path / "swept", search, setup_of(data, tmp_path), **options)

    return run


@pytest.fixture
def plan(recipe, tmp_path):
    """Plan one, by default without data."""

    def make(search=SEARCH, data=None, text=None, **options):
        if text is not None:
            recipe.write_text(text)
        setup = setup_of(data or tmp_path / "no data", tmp_path)
        return plan_sweep(recipe, tmp_path / "swept", search, setup, **options)

    return make


def setup_of(data, folder):
    return Setup(data, folder / "unused", "cpu", 0)


def values(trials):
    return [(each.name, each.values) for each in trials]


def test_a_plan_lists_the_trials_and_writes_nothing(plan, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    found = plan(Search(("score.neighbors=1,2", "score.domains=pooled,minimum")))
    assert values(found.trials) == [
        (f"small_00{number}", {"score.neighbors": neighbors, "score.domains": domains})
        for number, (neighbors, domains) in enumerate(
            [(1, "pooled"), (1, "minimum"), (2, "pooled"), (2, "minimum")], start=1
        )
    ]
    assert [each.name for each in found.plan.systems] == [each.name for each in found.trials]
    assert found.plan.systems[0].recipe == tmp_path / "swept/trials/small_001.toml"
    assert {each.stand.scores for each in found.plan.systems} == {"to do"}
    assert found.later == 0
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("method", ["random", "bayesian"])
def test_a_plan_knows_what_will_be_drawn_and_what_depends_on_scores(sweep, plan, data, method):
    search = Search(("score.neighbors=1:4", "score.density_neighbors=2:9"), method, budget=2)
    planned = plan(search, data)
    found = sweep(search)
    known = 2 if method == "random" else 1
    assert values(planned.trials) == values(found.trials)[:known]
    assert planned.later == 2 - known
    again = plan(search, data)
    assert {each.stand.scores for each in again.plan.systems} == {"done"}
    assert values(again.trials) == values(found.trials)


def test_hours_follow_from_trainings_beside_the_sweep(plan, tmp_path):
    train = Training(steps=800, eval_every=0, save_every=0)
    system = System("small", Embedding("spectral"), train=train)
    other = tmp_path / "other"
    other.mkdir()
    recipe_path(other).write_text(recipe_text(replace(system, name="other")))
    line = {"update": 1, "step": 8, "loss": 1.0, "clips_per_second": 50.0}
    (other / "train.jsonl").write_text(json.dumps(line) + "\n")
    found = plan(Search(("train.margin=0.1,0.2", "train.batch_size=32,16")),
                 text=recipe_text(system))  # fmt: skip
    one, differs = found.plan.systems[:2]
    assert (one.speed, differs.speed) == (50.0, None)
    assert one.hours_left == pytest.approx(800 * 32 / 50 / 3600)
    assert differs.hours_left is None
    assert found.plan.total("hours_left") == pytest.approx(2 * one.hours_left)


def test_a_plan_names_what_is_missing_by_the_recipe_that_would_be_there(plan, tmp_path):
    text = 'name = "small"\n[embed]\nplugin = "spectrl"\n'
    needed = plan(text=text).plan.needed
    wrong = "no plugin is called 'spectrl'; did you mean 'spectral'?"
    assert needed == [f"{tmp_path}/swept/trials/small_00{each}.toml: {wrong}" for each in (1, 2)]


def test_a_plan_of_a_wrong_sweep_or_of_another_one_in_the_folder_is_refused(plan, sweep, data):
    with pytest.raises(RecipeError, match=r"unknown name 'score.neighbrs' .did you mean 'neighb"):
        plan(Search(("score.neighbrs=1,2",)))
    sweep()
    with pytest.raises(ArtifactError, match="holds another sweep, whose values differ"):
        plan(Search(("score.neighbors=1,3",)), data)


def test_scripts_of_the_trials_are_planned_with_the_recipes_that_would_be_there(plan, tmp_path):
    jobs = plan(cluster=SLURM).jobs
    assert [each.job.name for each in jobs] == ["small_001", "small_002"]
    assert f"run {tmp_path}/swept/trials/small_001.toml --data" in jobs[0].script
    assert "#SBATCH --partition=gpu\n" in jobs[0].script
    assert not (tmp_path / "swept").exists()


def test_trials_are_queued_once_and_judged_when_they_have_ended(sweep, slurm, tmp_path, data):
    found = sweep(cluster=SLURM)
    assert [each.identity for each in found.queued] == ["101", "102"]
    assert found.best is None
    assert found.to_json()["best"] is None
    script = (slurm / "102.sh").read_text()
    assert "--job-name=small_002" in script
    (slurm / "state").write_text("PENDING\n")
    assert [each.new for each in sweep(cluster=SLURM).queued] == [False, False]
    setup = Setup(data, tmp_path / "swept", "cpu", 0, prepared=True)
    run_recipe(tmp_path / "swept/trials/small_002.toml", setup)  # as its job does
    found = sweep(cluster=SLURM)
    assert found.best.name == "small_002"
    assert [each.cost is None for each in found.trials] == [True, False]
    assert [(each.job.name, each.new) for each in found.queued] == [("small_001", False)]
    (slurm / "state").unlink()  # the job of the other has ended without a score
    assert [each.identity for each in sweep(cluster=SLURM).queued] == ["103"]
    run_recipe(tmp_path / "swept/trials/small_001.toml", setup)
    done = sweep(cluster=SLURM)
    assert done.queued == []
    assert [each.cost for each in sweep().trials] == [each.cost for each in done.trials]


def test_what_a_queue_refuses_is_told_and_a_bayesian_search_is_not_queued(sweep, slurm, tmp_path):
    with pytest.raises(LaunchError, match="small_001: Slurm refuses it: invalid partition"):
        sweep(cluster=replace(SLURM, partition="nope"))
    with pytest.raises(RecipeError, match="none has given anything; take --method random"):
        sweep(Search(("score.neighbors=1:4",), "bayesian"), cluster=SLURM)


def test_local_jobs_run_one_after_another_and_one_that_fails_is_a_failed_trial(
    sweep, monkeypatch, data
):
    asked = []

    def queue_jobs(jobs, runs, cluster):
        asked.append([job.name for job in jobs])
        if len(asked) == 1:
            raise JobError("small_001: failed; its log says why")
        setup = Setup(data, runs, "cpu", 0, prepared=True)
        run_recipe(runs / "trials/small_002.toml", setup)
        return []

    monkeypatch.setattr(module, "queue_jobs", queue_jobs)
    found = sweep(cluster=Cluster("local", gpus=0), fleet=Fleet())
    assert asked == [["small_001"], ["small_002"]]
    assert found.trials[0].problem == "small_001: failed; its log says why"
    assert found.best.name == "small_002"


@pytest.mark.slow
def test_a_sweep_that_is_killed_goes_on_with_the_same_command(sweep, recipe, data, tmp_path):
    command = [
        sys.executable, "-m", "dcase_asd", "sweep", str(recipe), "--set", *SEARCH.values,
        "--data", str(data), "--out", str(tmp_path / "swept"), "--device", "cpu", "--workers", "0",
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 300
        while not list((tmp_path / "swept").glob("small_001/embeddings/*/*/*")):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "best dev score of 2" in done.stdout
    kept = json.loads((tmp_path / "swept/trials/sweep.json").read_text())["trials"]
    assert [each["cost"] for each in kept] == [each.cost for each in sweep().trials]
    assert read_system(tmp_path / "swept/small_002").score.neighbors == 2
