"""Recipes of fusions: what they say, and every mistake in them at once."""

import pytest

from dcase_asd.errors import ArtifactError, DataError, RecipeError
from dcase_asd.recipe.fusion import FusedSystem, Fusion, Selection, is_fused, read_fused_system
from dcase_asd.recipe.system import Embedding, System, read_system
from dcase_asd.recipe.toml import recipe_text


@pytest.fixture
def write(tmp_path):
    def write(text, name="fused.toml"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    return write


def test_a_recipe_is_read_as_it_was_written(write):
    fusion = Fusion(
        ("../systems/baseline", "../systems/beats_01", "b"),
        method="bayesian",
        select="robust:2",
        always=("baseline",),
    )
    system = FusedSystem("fused", fusion, ("dcase2025",))
    assert read_fused_system(write(recipe_text(system))) == system


def test_the_folder_of_a_run_stands_for_its_recipe(write, tmp_path):
    path = write(recipe_text(FusedSystem("x", Fusion(("a", "b")))), "run/recipe.toml")
    assert is_fused(path)
    assert is_fused(path.parent)
    assert read_fused_system(path.parent).fusion.systems == ("a", "b")
    assert not is_fused(tmp_path)


def test_systems_are_called_by_their_last_parts_where_these_differ():
    assert Fusion(("runs/a", "../b")).names == ("a", "b")
    assert Fusion(("x/a", "y/a", "z/b")).names == ("x/a", "y/a", "b")


def test_systems_are_kept_by_name_or_path():
    fusion = Fusion(("x/a", "y/b", "c"), select="best:1", always=("b", "c"))
    assert fusion.kept == (False, True, True)
    assert Fusion(("x/a", "y/b"), select="best:1", always=("x/a",)).kept == (True, False)
    assert fusion.selection == Selection("best", 1)
    assert Fusion(("a", "b")).selection is None


@pytest.mark.parametrize(
    ("values", "uses"),
    [
        ({}, True),
        ({"method": "bayesian"}, True),
        ({"method": "mean"}, False),
        ({"method": "minimum", "select": "robust:2"}, False),
        ({"method": "mean", "select": "best:2"}, True),
    ],
)
def test_labels_decide_in_searches_and_selections_by_dev_score(values, uses):
    assert Fusion(("a", "b", "c"), **values).uses_labels is uses


@pytest.mark.parametrize(
    ("systems", "values", "message"),
    [
        ((), {}, "no system is given, and a fusion takes at least two systems"),
        (("a",), {}, "only 'a' is given, and a fusion takes at least two systems"),
        (("a", "b", "a"), {}, "'a' is given twice; name each system once"),
        (("a", "b"), {"step": 0.3}, r"a step of 0\.3 does not divide 1; take 0\.5"),
        (("a", "b"), {"step": 0.0}, "a step of 0 does not divide 1"),
        (("a", "b"), {"budget": 0}, "budget must be at least 1, not 0"),
        (("a", "b"), {"patience": 0}, "patience must be at least 1, not 0"),
        (("a", "b"), {"resamples": -1}, "resamples must be at least 0, not -1"),
        (("a", "b"), {"seed": -1}, "seed must be at least 0, not -1"),
        (("a", "b"), {"weights": (0.5, 0.5)}, "weights are given, but the method is 'grid'"),
        (("a", "b"), {"method": "weights"}, "0 weight.s. for 2 system.s."),
        (
            ("a", "b"),
            {"method": "weights", "weights": (1.5, -0.5)},
            "weights must be zero or more: 1.5, -0.5",
        ),
        (
            ("a", "b"),
            {"method": "weights", "weights": (float("nan"), 1)},
            "weights must be zero or more: nan, 1",
        ),
        (
            ("a", "b"),
            {"method": "weights", "weights": (0.5, 0.4)},
            "weights must sum to 1: 0.5, 0.4 sum to 0.9",
        ),
        (
            ("a", "b"),
            {"select": "best"},
            r"select must be robust:N or best:N, such as robust:2, not 'best'",
        ),
        (("a", "b"), {"select": "worst:2"}, "select must be robust:N or best:N"),
        (("a", "b"), {"select": "best:3"}, "select 'best:3' asks for 3 of 2 system"),
        (("a", "b"), {"select": "best:0"}, "select 'best:0' asks for 0 of 2 system"),
        (("a", "b"), {"select": "best:1"}, "select 'best:1' leaves a single system"),
        (("a", "b"), {"always": ("a",)}, "always keeps systems in a selection; give select, too"),
        (
            ("ab", "cd"),
            {"select": "best:1", "always": ("abc",)},
            "always names 'abc', which is not among the systems .did you mean 'ab'",
        ),
        (
            ("a", "b", "c"),
            {"method": "weights", "select": "best:2", "weights": (1, 0, 0)},
            "weights by hand leave nothing to select",
        ),
    ],
)
def test_wrong_values_are_told(systems, values, message):
    with pytest.raises(ValueError, match=message):
        Fusion(systems, **values)


def test_all_mistakes_are_told_at_once(write):
    path = write(
        'name = "x"\n[fusion]\nsystems = ["a"]\nstep = 0.3\nselect = "rbust:2"\nbudget = 0\n'
    )
    with pytest.raises(RecipeError) as error:
        read_fused_system(path)
    for part in ("only 'a' is given", "a step of 0.3", "select must be", "budget must be"):
        assert part in str(error.value)


def test_unknown_names_and_values_get_the_nearest_valid_one(write):
    path = write('name = "x"\n[fusion]\nsystems = ["a", "b"]\nmethods = "grid"\n')
    with pytest.raises(RecipeError, match=r"unknown name .*methods'.*did you mean 'method'"):
        read_fused_system(path)
    path = write('name = "x"\n[fusion]\nsystems = ["a", "b"]\nmethod = "baysian"\n')
    with pytest.raises(RecipeError, match=r"cannot be 'baysian' \(did you mean 'bayesian'"):
        read_fused_system(path)


def test_recipes_of_one_system_and_of_fusions_are_not_mistaken_for_each_other(write, tmp_path):
    single = write(recipe_text(System("x", Embedding("spectral"))), "single.toml")
    assert not is_fused(single)
    with pytest.raises(RecipeError, match=r"single.toml: no recipe of a fusion \(it has no"):
        read_fused_system(single)
    fused = write(recipe_text(FusedSystem("x", Fusion(("a", "b")))))
    with pytest.raises(RecipeError, match=r"fused.toml: a fusion of other systems, with no backbo"):
        read_system(fused)
    with pytest.raises(RecipeError, match=r"recipe\.toml: no such recipe file"):
        read_fused_system(tmp_path)
    with pytest.raises(DataError, match="not a run folder"):
        read_system(tmp_path)
    (tmp_path / "embeddings").mkdir()
    with pytest.raises(ArtifactError, match=r"recipe\.toml: this run's recipe is gone"):
        read_system(tmp_path)
