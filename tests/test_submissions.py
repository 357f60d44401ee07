"""The recipes that are shipped: the report's four submissions."""

import dataclasses
import re
import tomllib
from pathlib import Path

import pytest

from dcase_asd.editions.edition import load_edition
from dcase_asd.embeddings.rules import objections, uses_of
from dcase_asd.miniature.machines import EDITIONS as MINIATURE
from dcase_asd.recipe.training import Training
from dcase_asd.registry import choose_checkpoint
from dcase_asd.runs.overlay import read_overlay
from dcase_asd.runs.recipes import read_forms, read_nodes

SUBMISSIONS = Path(__file__).parents[1] / "submissions"
YEARS = tuple(f"dcase{year}" for year in range(2020, 2026))
FORMS = sorted(SUBMISSIONS.glob("submission_*.toml"))
SYSTEMS = sorted((SUBMISSIONS / "systems").glob("*.toml"))
SINGLE = sorted(
    set((SUBMISSIONS / "systems").rglob("*.toml")) - {SUBMISSIONS / "systems/baseline.toml"}
)


@pytest.fixture(scope="module")
def forms():
    return read_forms(FORMS)


def single_systems(node):
    return [each for each in node.walk() if not each.members]


def test_there_are_thirteen_systems_and_four_submissions(forms):
    assert len(SYSTEMS) == 13
    assert [form.form.label[-1] for form in forms] == ["1", "2", "3", "4"]
    assert {form.form.edition for form in forms} == {"dcase2025"}


def test_each_submission_fuses_what_the_report_says(forms):
    fusions = [form.node.recipe.fusion for form in forms]
    beats = {f"beats_{number:02d}" for number in range(1, 13)}
    assert set(fusions[0].names) == beats
    for fusion in fusions[1:]:
        assert set(fusion.names) == beats | {"baseline"}
    assert [fusion.method for fusion in fusions] == ["bayesian", "grid", "grid", "grid"]
    assert [fusion.select for fusion in fusions] == ["", "", "robust:2", "best:2"]
    assert [fusion.always for fusion in fusions] == [(), (), ("baseline",), ("baseline",)]


def test_the_baseline_is_three_backbones_with_sub_centers_and_no_noise():
    (node,) = read_nodes([SUBMISSIONS / "systems" / "baseline.toml"])
    assert node.recipe.fusion.method == "mean"
    assert [each.recipe.embed.plugin for each in node.members] == ["beats", "eat", "fisher"]
    for member, scored in zip(node.members, ("dense", "cls", "cls"), strict=True):  # section 2.2
        expected = Training(
            noise_probability=0.0,
            dev_edition="dcase2025",
            representation=scored,
            editions=YEARS,
        )
        assert member.recipe.train == expected


def test_every_system_is_trained_in_a_way_of_its_own():
    nodes = read_nodes(SINGLE)
    assert len(nodes) == 15
    ways = {(node.recipe.embed.plugin, str(node.recipe.train)) for node in nodes}
    assert len(ways) == 15
    for node in nodes:
        train = node.recipe.train
        # The three best checkpoints, of the years that 2025 allows, scored on the form's edition.
        assert (train.ensemble, train.keep, train.editions) == ("best", 3, YEARS)
        assert node.recipe.editions == ("dcase2025",)


@pytest.mark.parametrize("path", SINGLE, ids=lambda path: path.stem)
def test_a_recipe_holds_only_what_differs_from_the_defaults(path):
    content = tomllib.loads(path.read_text())
    assert set(content) == {"name", "editions", "embed", "train"}
    assert set(content["embed"]) == {"plugin"}
    defaults = dataclasses.asdict(Training())
    for name, value in content["train"].items():
        assert value != defaults[name], name
    assert path.parent.name == "baseline" or content["name"] == path.stem
    # It says what it varies, and which weights it starts from.
    assert "# Varies" in path.read_text() or ". Varies" in path.read_text()
    weights = choose_checkpoint(content["embed"]["plugin"])
    assert weights.name.removesuffix(".pt") in path.read_text()


@pytest.mark.parametrize("path", SINGLE, ids=lambda path: path.stem)
def test_a_recipe_uses_what_the_rules_of_its_edition_allow_and_2026_forbids(path):
    recipe = read_nodes([path])[0].recipe
    train = recipe.train
    noise = train.noise_editions if train.noise_probability else ()
    uses = uses_of(train.editions, noise, train.dev_edition)
    assert objections(uses, load_edition("2025"), recipe.name) == []
    (forbidden,) = objections(uses, load_edition("2026"), recipe.name)
    assert forbidden.level == "error"


def test_the_table_of_systems_says_what_the_recipes_say():
    readme = (SUBMISSIONS / "README.md").read_text()
    for path in SYSTEMS:
        node = read_nodes([path])[0]
        train = single_systems(node)[0].recipe.train
        (row,) = re.findall(rf"^\| `{path.stem}`.*$", readme, flags=re.MULTILINE)
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        masks = (train.time_mask, train.frequency_mask)
        assert cells[1:] == [
            train.sub_centered,
            str(1 if train.sub_centered == "none" else train.sub_centers),
            "yes" if train.noise_probability else "no",
            f"{train.learning_rate:.0e}".replace("e-0", "e-"),
            f"{masks[0]}, {masks[1]}" if any(masks) else "none",
        ]


def test_forms_say_what_their_systems_are(forms):
    for form in forms:
        systems = single_systems(form.node)
        plugins = {each.recipe.embed.plugin for each in systems}
        said = form.form.description
        names = {"beats": "BEATs", "eat": "EAT", "fisher": "FISHER"}
        assert set(said["embeddings"].split(", ")) == {names[each] for each in plugins}
        assert len(form.form.external_datasets) == len(plugins)
        assert (
            len(form.form.abbreviation) <= load_edition("dcase2025").submission.abbreviation_length
        )
        asked = set(load_edition("dcase2025").submission.description)
        # These two are filled in from the run.
        assert asked - set(said) == {"input_sampling_rate", "ensemble_method_subsystem_count"}


def test_the_reports_figures_are_those_of_its_table():
    readme = (SUBMISSIONS / "README.md").read_text()
    rows = dict(re.findall(r"^\| ([\w, ]+) \| (\d\d\.\d\d \| .*) \|$", readme, flags=re.MULTILINE))
    columns = {name: [float(each) for each in row.split(" | ")] for name, row in rows.items()}
    for system in range(4):
        parts = [columns[name][system] for name in ("AUC, source", "AUC, target", "pAUC")]
        assert 3 / sum(1 / part for part in parts) == pytest.approx(
            columns["official score"][system], abs=0.02
        )
        machines = [
            row[system]
            for name, row in columns.items()
            if name not in ("AUC, source", "AUC, target", "pAUC", "official score")
        ]
        assert len(machines) == 7
        assert 7 / sum(1 / each for each in machines) == pytest.approx(
            columns["official score"][system], abs=0.02
        )


def test_the_overlay_makes_all_systems_small_and_keeps_them_apart():
    nodes = read_nodes(SINGLE, read_overlay(SUBMISSIONS / "mini.toml"))
    assert len({(node.recipe.embed.plugin, str(node.recipe.train)) for node in nodes}) == 15
    for node in nodes:
        assert set(node.recipe.train.editions) == set(MINIATURE)
        assert node.recipe.train.steps <= 200
        assert "random_weights" in node.recipe.embed.options
