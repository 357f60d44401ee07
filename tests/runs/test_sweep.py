"""Sweeps: which trials are run, that they are resumed, what the best of them is."""

import json
from dataclasses import replace

import pytest

from dcase_asd.errors import ArtifactError, BusyError, RecipeError, ScoresError, TrainingError
from dcase_asd.files import only_writer
from dcase_asd.metrics.evaluate import evaluate_run_or_folder
from dcase_asd.recipe.system import read_system
from dcase_asd.runs.runner import Runner, Setup
from dcase_asd.runs.side_by_side import Fleet
from dcase_asd.runs.sweep import run_sweep
from dcase_asd.runs.trials import Search
from dcase_asd.scores.table import read_scores

RECIPE = 'name = "small"\n[embed]\nplugin = "spectral"\n'
SEARCH = Search(("score.neighbors=1,2", "score.domains=pooled,minimum"))


@pytest.fixture
def sweep(data, tmp_path):
    """Run a sweep of a small system."""
    recipe = tmp_path / "small.toml"
    recipe.write_text(RECIPE)

    def run(search=SEARCH, folder="swept", text=None, **options):
        if text is not None:
            recipe.write_text(text)
        setup = Setup(data, tmp_path / "unused", "cpu", 0, options.pop("overlay", None))
        return run_sweep(recipe, tmp_path / folder, search, setup, **options)

    return run


def state(folder):
    """What is kept of a sweep."""
    return json.loads((folder / "trials/sweep.json").read_text())


def test_every_combination_is_a_run_and_the_best_dev_score_wins(sweep, tmp_path):
    found = sweep()
    assert [each.name for each in found.trials] == [f"small_00{n}" for n in (1, 2, 3, 4)]
    for trial in found.trials:
        run = tmp_path / "swept" / trial.name
        system = read_system(run)
        assert trial.values["score.neighbors"] == system.score.neighbors
        assert trial.values["score.domains"] == system.score.domains
        told = evaluate_run_or_folder(run, "dcase2025", resamples=0)
        assert trial.cost == -told.evaluation.score
    assert found.best.cost == min(each.cost for each in found.trials)
    assert found.edition == "dcase2025"
    assert found.to_json()["best"] == found.best.name


def test_a_sweep_that_is_done_does_nothing_again(sweep, tmp_path, contents):
    assert sweep().changed
    before = contents(tmp_path / "swept")
    again = sweep()
    assert not again.changed
    assert contents(tmp_path / "swept") == before
    assert len(again.trials) == 4


@pytest.mark.parametrize("method", ["grid", "random", "bayesian"])
def test_a_sweep_that_is_stopped_anywhere_ends_as_an_undisturbed_one(
    sweep, tmp_path, monkeypatch, method
):
    values = ("score.neighbors=1,2,3", "score.density_neighbors=2:4")
    if method == "grid":
        values = ("score.neighbors=1,2,3", "score.density_neighbors=2:4:3")
    search = Search(values, method, budget=7 if method != "grid" else 0, seed=1)
    whole = sweep(search, "whole")
    real, calls = Runner.run, []

    def stops(self, node, editions):
        calls.append(node.name)
        if len(calls) % 2:
            raise KeyboardInterrupt
        return real(self, node, editions)

    monkeypatch.setattr(Runner, "run", stops)
    for _ in range(30):
        try:
            stopped = sweep(search, "stopped")
            break
        except KeyboardInterrupt:
            continue
    assert stopped.trials == whole.trials
    assert state(tmp_path / "stopped") == state(tmp_path / "whole")


def test_a_longer_random_search_goes_on_with_what_was_found(sweep):
    search = Search(("score.neighbors=1:4",), "random", budget=2)
    first = sweep(search)
    more = sweep(replace(search, budget=3))
    assert more.trials[:2] == first.trials
    assert len(more.trials) == 3
    assert len(sweep(replace(search, budget=9)).trials) == 4  # there are no more


def test_trials_run_side_by_side_in_processes_of_their_own(sweep):
    alone = sweep(Search(("score.neighbors=1,2",)), "alone")
    beside = sweep(
        Search(("score.neighbors=1,2",)), "beside", fleet=Fleet(jobs=2), say=lambda _: None
    )
    assert [each.cost for each in beside.trials] == [each.cost for each in alone.trials]


def test_what_fails_is_told_and_tried_again_while_the_others_go_on(sweep, monkeypatch):
    real = Runner.run

    def fails(self, node, editions):
        if node.name == "small_001":
            raise TrainingError("the loss is not finite")
        return real(self, node, editions)

    monkeypatch.setattr(Runner, "run", fails)
    found = sweep()
    assert found.trials[0].problem == "the loss is not finite"
    assert [each.cost is None for each in found.trials] == [True, False, False, False]
    monkeypatch.setattr(Runner, "run", real)
    assert sweep().trials[0].problem == ""


def test_a_sweep_all_of_whose_first_trials_fail_is_stopped(sweep, monkeypatch):
    def fails(self, node, editions):
        raise ScoresError("nothing goes")

    monkeypatch.setattr(Runner, "run", fails)
    with pytest.raises(TrainingError, match=r"the first 3 trial\(s\) failed, of which small_003"):
        sweep()
    with pytest.raises(TrainingError, match=r"the first 1 trial\(s\) failed, of which small_001"):
        sweep(Search(("score.neighbors=1",)), "one")


def test_robust_takes_no_label_and_the_least_shift(sweep, tmp_path, small_miniature):
    found = sweep(replace(SEARCH, objective="robust"))
    assert all(trial.cost >= 0 for trial in found.trials)
    scores = read_scores(tmp_path / "swept" / found.best.name, "dcase2025")
    assert (scores["stage"] == "eval").any()


def test_two_sweeps_do_not_share_a_folder(sweep, tmp_path):
    sweep()
    with pytest.raises(ArtifactError, match="holds another sweep, whose values differ; give anot"):
        sweep(replace(SEARCH, values=("score.neighbors=1,3",)))
    with pytest.raises(ArtifactError, match="holds another sweep, whose recipe differ"):
        sweep(text=RECIPE + "channel = 1\n")
    with only_writer(tmp_path / "other/trials"), pytest.raises(BusyError, match="right now"):
        sweep(folder="other", text=RECIPE)


@pytest.mark.parametrize(
    ("values", "text", "message"),
    [
        (("train.margin=0.1,0.2",), None, r"the recipe has no \[train\], which --set train.margin"),
        (("score.neighbor=1,2",), None, "unknown name 'score.neighbor' .did you mean 'neighbors'"),
        (("scor.neighbors=1,2",), None, "unknown table 'scor' .did you mean 'score'"),
        (("score.neighbors=0,1",), None, "with score.neighbors=0.*neighbors must be at least 1"),
        (SEARCH.values, 'name = "f"\n[fusion]\nsystems = ["a", "b"]\n', "a fusion; a sweep varies"),
        (SEARCH.values, 'system = "a.toml"\n', "a submission's form; a sweep varies one system"),
    ],
)
def test_a_wrong_sweep_begins_nothing(sweep, tmp_path, values, text, message):
    with pytest.raises(RecipeError, match=message):
        sweep(Search(values), text=text)
    assert not (tmp_path / "swept").exists()


def test_a_grid_that_is_larger_than_the_budget_is_refused(sweep):
    with pytest.raises(RecipeError, match="the grid has 4 combinations and --budget is 3"):
        sweep(replace(SEARCH, budget=3))


def test_an_overlay_is_under_the_values_of_the_sweep(sweep, tmp_path):
    over = tmp_path / "over.toml"
    over.write_text("[score]\nneighbors = 3\nnormalize = 'domain'\n")
    sweep(Search(("score.neighbors=1,2",)), overlay=over)
    system = read_system(tmp_path / "swept/small_002")
    assert (system.score.neighbors, system.score.normalize) == (2, "domain")
