"""What a plugin proposes of scoring is written into the recipes of runs that say nothing of it."""

from typing import ClassVar

import pytest
from dcase_asd_spectral import Spectral

from dcase_asd.clips.prepare import prepare
from dcase_asd.embeddings.embed import embed
from dcase_asd.embeddings.kept import detector_of, keep_recipe
from dcase_asd.errors import RecipeError
from dcase_asd.files import write_text
from dcase_asd.recipe.detector import Detector
from dcase_asd.recipe.system import Embedding, System, read_system
from dcase_asd.recipe.toml import recipe_text
from dcase_asd.recipe.training import Training
from dcase_asd.runs.runner import Setup, run_recipe
from dcase_asd.scores.score import score


class Proposing(Spectral):
    scoring: ClassVar = {"detector": "varmin", "options": {"around": 2}, "standardize": True}


PROPOSED = Detector("varmin", {"around": 2}, standardize=True)


@pytest.fixture(autouse=True)
def plugin(monkeypatch):
    for module in ("embeddings.kept", "registry"):
        monkeypatch.setattr(f"dcase_asd.{module}.load_class", lambda name: Proposing)


def test_it_is_written_when_a_run_is_embedded_and_it_is_scored_so(small_tree, tmp_path):
    prepare(small_tree)
    run = tmp_path / "run"
    embed(small_tree, run, "dcase2025", System("run", Embedding("spectral")))
    assert read_system(run).score == PROPOSED
    assert score(run, "dcase2025").detector == PROPOSED
    assert score(run, "dcase2025", Detector(neighbors=2)).detector == Detector(neighbors=2)
    embed(small_tree, run, "dcase2025", System("run", Embedding("spectral")))
    assert read_system(run).score == Detector(neighbors=2)  # as the run was scored before
    assert not score(run, "dcase2025").changed


def test_a_recipe_that_says_nothing_is_run_so_and_one_that_does_as_it_says(small_tree, tmp_path):
    prepare(small_tree)
    for name, said, wanted in (
        ("silent", None, PROPOSED),
        ("saying", Detector(), Detector()),
        ("saying-more", Detector("subspace"), Detector("subspace")),
    ):
        recipe = tmp_path / f"{name}.toml"
        system = System(name, Embedding("spectral"), said, editions=("dcase2025",))
        write_text(recipe, recipe_text(system))
        run_recipe(recipe, Setup(small_tree, tmp_path / "runs", "cpu", prepared=True))
        assert read_system(tmp_path / "runs" / name).score == wanted


def test_a_backbone_that_is_fine_tuned_is_scored_as_the_report_does(tmp_path, monkeypatch):
    tuned = System("x", Embedding("spectral"), train=Training())
    assert detector_of(tmp_path, tuned) == Detector()
    keep_recipe(tmp_path, tuned)
    assert read_system(tmp_path).score == Detector()
    checkpoint = System("y", Embedding("spectral", str(tmp_path / "a.safetensors")))
    assert detector_of(tmp_path / "y", checkpoint) == PROPOSED
    monkeypatch.setattr(
        "dcase_asd.embeddings.kept.checkpoint_metadata", lambda path: {"classes": "{}"}
    )
    assert detector_of(tmp_path / "y", checkpoint) == Detector()


def test_a_run_that_nothing_was_made_in_takes_what_is_proposed(tmp_path):
    keep_recipe(tmp_path, System("run", Embedding("spectral"), Detector(neighbors=3)))
    keep_recipe(tmp_path, System("run", Embedding("spectral")))
    assert read_system(tmp_path).score == PROPOSED


def test_a_wrong_proposal_names_the_plugin(tmp_path, monkeypatch):
    monkeypatch.setattr(Proposing, "scoring", {"detectr": "varmin"})
    with pytest.raises(RecipeError, match=r"plugin 'spectral': unknown name 'detectr' \(did you"):
        keep_recipe(tmp_path, System("run", Embedding("spectral")))
