"""Recipes that come with the toolkit."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dcase_asd.cli import app
from dcase_asd.errors import RecipeError
from dcase_asd.runs.presets import presets, recipe_file
from dcase_asd.runs.recipes import is_submission, read_forms, read_nodes

NAMES = [preset.name for preset in presets()]


def told(*arguments):
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0
    return done.stdout


@pytest.mark.parametrize("preset", presets(), ids=NAMES)
def test_every_preset_reads_with_all_that_it_names(preset):
    recipe = f"preset:{preset.name}"
    found = read_forms([recipe]) if is_submission(recipe) else read_nodes([recipe])
    assert len(found) == 1


@pytest.mark.parametrize("preset", presets(), ids=NAMES)
def test_a_system_of_one_recipe_is_run_into_a_folder_of_the_presets_name(preset):
    if is_submission(preset.recipe):
        pytest.skip("a form names its fusion, which has a name of its own")
    assert read_nodes([preset.recipe])[0].name == preset.name.replace("-", "_")


def test_published_figures_name_their_year_and_their_source():
    for preset in presets():
        assert preset.source
        assert not preset.published or "of 202" in preset.published


def test_an_unknown_preset_is_refused_with_the_nearest():
    with pytest.raises(RecipeError, match=r"'training-fre'.*training-free"):
        recipe_file("preset:training-fre")


def test_a_path_is_a_path(tmp_path):
    assert recipe_file(tmp_path / "a.toml") == tmp_path / "a.toml"


def test_presets_are_listed_with_what_was_published():
    shown = told("presets")
    assert "training-free" in shown
    assert "not measured here" in shown
    listed = json.loads(told("presets", "--json"))
    assert [each["name"] for each in listed] == NAMES
    assert all(Path(each["recipe"]).is_file() for each in listed)


def test_a_preset_is_printed_as_a_recipe_of_ones_own(tmp_path):
    mine = tmp_path / "mine.toml"
    mine.write_text(told("presets", "wram"))
    assert read_nodes([mine])[0].recipe == read_nodes(["preset:wram"])[0].recipe
