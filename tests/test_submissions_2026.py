"""The recipes of 2026 that are shipped: the best single system that was published."""

import dataclasses
import tomllib
from pathlib import Path

import pytest

from dcase_asd.editions.edition import load_edition
from dcase_asd.embeddings.rules import objections, uses_of
from dcase_asd.recipe.training import Training
from dcase_asd.runs.overlay import read_overlay
from dcase_asd.runs.presets import presets
from dcase_asd.runs.recipes import read_forms, read_nodes

YEAR = Path(__file__).parents[1] / "submissions" / "2026"
SYSTEMS = sorted((YEAR / "systems").glob("*.toml"))
EDITION = load_edition("dcase2026")


@pytest.fixture(scope="module")
def form():
    return read_forms([YEAR / "submission_1.toml"])[0]


def test_the_form_is_of_2026_and_says_what_that_year_asks_for(form):
    assert form.form.edition == EDITION.name
    asked = set(EDITION.submission.description)
    # These two are filled in from the run.
    filled_in = {"input_sampling_rate", "ensemble_method_subsystem_count"}
    assert asked - set(form.form.description) == filled_in
    assert not set(form.form.description) - asked
    assert len(form.form.abbreviation) <= EDITION.submission.abbreviation_length
    assert [each.name for each in form.form.external_datasets] == [
        "BEATs_iter3 (pre-trained on AudioSet)"
    ]


def test_it_is_no_part_of_the_package_of_2025():
    assert (YEAR / "submission_1.toml") not in YEAR.parent.glob("submission_*.toml")
    assert not {path.stem for path in SYSTEMS} & {
        path.stem for path in (YEAR.parent / "systems").rglob("*.toml")
    }


def test_the_system_is_what_was_published(form):
    recipe = form.node.recipe
    train, embed = recipe.train, recipe.embed
    assert (embed.plugin, embed.far, embed.pooling, embed.bands) == (
        "beats", "cancel", "rdp", "apart",
    )  # fmt: skip
    assert embed.pooling_options == {"gamma": 4}
    assert recipe.score.detector == "varmin"
    assert (train.tune, train.lora_rank, train.lora_targets) == ("lora", 64, ("q", "k", "v"))
    assert (train.loss, train.sub_centers, train.sub_centered) == ("adacos", 16, "all")
    assert (train.pseudo, train.pseudo_share) == ("kmeans", 0.008)
    assert (train.mixup_probability, train.embedding, train.seconds) == (0.5, 256, 10.0)
    # 25 epochs of twelve machine types with 1,000 train clips each
    assert train.updates * train.batch_size == 25 * 12 * 1000
    assert (train.warmup, train.learning_rate) == (5000, 1e-4)
    (bands,) = form.node.members
    heard = bands.recipe.embed
    assert (heard.plugin, heard.far, heard.pooling, heard.bands) == (
        "beats", "cancel", "mean", "concat",
    )  # fmt: skip
    assert bands.recipe.train is None


def test_the_rules_of_2026_allow_what_it_is_trained_with(form):
    train = form.node.recipe.train
    dev = "" if train.ensemble == "last" else train.dev_edition
    noise = train.noise_editions if train.noise_probability else ()
    assert objections(uses_of(train.editions, noise, dev), EDITION, "it") == []
    assert not EDITION.transductive


@pytest.mark.parametrize("path", SYSTEMS, ids=lambda path: path.stem)
def test_a_recipe_holds_only_what_differs_from_the_defaults_and_has_its_files_name(path):
    content = tomllib.loads(path.read_text())
    assert content["name"] == path.stem
    assert content["editions"] == [EDITION.name]
    defaults = dataclasses.asdict(Training())
    for name, value in content.get("train", {}).items():
        assert value != defaults[name], name


def test_the_overlay_makes_both_systems_small_and_leaves_what_they_are(form):
    small = read_nodes([form.node.path], read_overlay(YEAR / "mini.toml"))[0]
    for node, before in zip(small.walk(), form.node.walk(), strict=True):
        assert "random_weights" in node.recipe.embed.options
        plain = dataclasses.replace(node.recipe.embed, options={})
        assert plain == before.recipe.embed
    train, full = small.recipe.train, form.node.recipe.train
    assert train.steps <= 200
    for name in ("tune", "lora_rank", "lora_targets", "loss", "pseudo", "mixup", "ensemble"):
        assert getattr(train, name) == getattr(full, name)


def test_the_preset_is_this_submission():
    (found,) = [each for each in presets() if each.name == "near-far-lora"]
    assert found.recipe.resolve() == YEAR / "submission_1.toml"
