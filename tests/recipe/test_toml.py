from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from dcase_asd.errors import RecipeError
from dcase_asd.recipe.toml import (
    changed,
    lay_over,
    read_assignments,
    read_content,
    read_recipe,
    recipe_from,
    recipe_text,
)


@dataclass(frozen=True)
class Inner:
    count: int = 1
    mode: Literal["fast", "exact"] = "fast"

    def __post_init__(self):
        if self.count < 1:
            raise ValueError("count must be at least 1")


@dataclass(frozen=True)
class Outer:
    name: str
    rate: float | None = None
    flag: bool = False
    tags: tuple[str, ...] = ()
    either: int | str = 0
    options: dict[str, Any] = field(default_factory=dict)
    inner: Inner = field(default_factory=Inner)
    parts: tuple[Inner, ...] = ()


def write(tmp_path, text):
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    return path


def test_a_recipe_becomes_its_dataclass(tmp_path):
    path = write(
        tmp_path,
        'name = "x"\nrate = 3\nflag = true\ntags = ["a"]\neither = "b"\n[options]\nz = [1]\n'
        '[inner]\nmode = "exact"\n[[parts]]\ncount = 2\n',
    )
    recipe = read_recipe(path, Outer)
    assert recipe == Outer(
        "x", 3.0, True, ("a",), "b", {"z": [1]}, Inner(1, "exact"), (Inner(2, "fast"),)
    )
    assert isinstance(recipe.rate, float)


def test_a_written_recipe_reads_back_equal(tmp_path):
    recipe = Outer(
        'quote "and" line\n',
        0.1,
        True,
        ("ü", "b"),
        7,
        {"deep": {"er": [1.5, "x"]}},
        Inner(3),
        (Inner(),),
    )
    assert read_recipe(write(tmp_path, recipe_text(recipe)), Outer) == recipe


def test_the_null_of_json_is_none_where_a_value_is_optional():
    assert recipe_from({"name": "x", "rate": None}, Outer, "x.json") == Outer("x")
    with pytest.raises(RecipeError, match=r"x\.json: 'name' must be text, not None"):
        recipe_from({"name": None}, Outer, "x.json")


def test_all_mistakes_are_told_at_once_with_the_nearest_name(tmp_path):
    path = write(
        tmp_path,
        'nmae = "x"\nrate = "fast"\ntags = ["a", 1]\n[inner]\ncount = true\nmode = "fats"\n',
    )
    with pytest.raises(RecipeError) as error:
        read_recipe(path, Outer)
    message = str(error.value)
    assert message.startswith(f"{path}: ")
    for part in (
        "unknown name 'nmae' (did you mean 'name'?)",
        "'rate' must be a number, not 'fast'",
        "'tags[1]' must be text, not 1",
        "'inner.count' must be a whole number, not True",
        "'inner.mode' cannot be 'fats' (did you mean 'fast'?)",
        "'name' is missing",
    ):
        assert part in message
    assert "\n" not in message


def test_what_a_dataclass_says_of_itself_is_told_with_its_place(tmp_path):
    path = write(tmp_path, 'name = "x"\n[inner]\ncount = 0\n')
    with pytest.raises(RecipeError, match="inner: count must be at least 1"):
        read_recipe(path, Outer)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('name = "x"\neither = [1]\n', "'either' must be a whole number or text"),
        ('name = "x"\ninner = 3\n', "'inner' must be a table, not 3"),
        ('name = "x"\ntags = "a"\n', "'tags' must be a list, not 'a'"),
        ("name = ", "not a readable TOML file"),
    ],
)
def test_wrong_types_and_broken_files_are_told(tmp_path, text, message):
    with pytest.raises(RecipeError, match=message.replace("[", r"\[")):
        read_recipe(write(tmp_path, text), Outer)


def test_a_missing_recipe_is_named(tmp_path):
    with pytest.raises(RecipeError, match=r"gone\.toml: no such recipe file"):
        read_recipe(tmp_path / "gone.toml", Outer)


def test_assignments_are_what_a_file_of_them_would_hold(tmp_path):
    lines = ["train.steps=120", "embed.beats.options.random_weights = 0", "train.margin=0.3",
             'train.freeze=["a.*"]', "score.normalize=density", "rate = inf"]  # fmt: skip
    values = read_assignments(lines)
    path = write(
        tmp_path,
        "rate = inf\n[train]\nsteps = 120\nmargin = 0.3\nfreeze = ['a.*']\n"
        "[embed.beats.options]\nrandom_weights = 0\n[score]\nnormalize = 'density'\n",
    )
    assert values == read_content(path)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("x=1", 1), ("x=1.5", 1.5), ("x=true", True), ("x=[1, 2]", [1, 2]), ("x='2'", "2"),
        ("x=plain text", "plain text"), ("x=", ""), ("x=a=b", "a=b"), ("x=True", "True"),
        ("x=\u00fc \U0001f600", "\u00fc \U0001f600"),
    ],
)  # fmt: skip
def test_a_value_is_toml_or_text_as_it_stands(text, value):
    assert read_assignments([text]) == {"x": value}


@pytest.mark.parametrize("text", ["x", "=1", "a b=1", "", "a..b=1"])
def test_what_is_no_assignment_is_told(text):
    with pytest.raises(RecipeError, match="is not of the form name=value"):
        read_assignments([text])


def test_changes_are_laid_over_table_by_table():
    content = {"a": 1, "t": {"x": 1, "y": {"z": 1}}}
    lay_over(content, {"b": 2, "t": {"x": 3, "y": {"w": 2}}})
    assert content == {"a": 1, "b": 2, "t": {"x": 3, "y": {"z": 1, "w": 2}}}


def test_options_go_with_what_they_are_of():
    recipe = {"score": {"detector": "mean", "options": {"of": ["varmin"]}, "standardize": True}}
    lay_over(recipe, {"score": {"detector": "mean"}})
    assert recipe["score"]["options"] == {"of": ["varmin"]}
    lay_over(recipe, {"score": {"detector": "varmin", "options": {"around": 4}}})
    assert recipe["score"] == {"detector": "varmin", "options": {"around": 4}, "standardize": True}
    lay_over(recipe, {"score": {"detector": "nearest"}})
    assert recipe["score"] == {"detector": "nearest", "standardize": True}


def test_a_changed_recipe_is_checked_as_a_whole():
    recipe = Outer("x", options={"a": 1}, inner=Inner(2))
    changes = {"rate": 2, "options": {"b": 3}, "inner": {"mode": "exact"}}
    expected = Outer("x", 2.0, options={"a": 1, "b": 3}, inner=Inner(2, "exact"))
    assert changed(recipe, changes, "here") == expected
    with pytest.raises(RecipeError, match=r"^here: inner: count must be at least 1$"):
        changed(recipe, {"inner": {"count": 0}}, "here")


def test_numbers_that_are_not_finite_are_written_as_toml_spells_them(tmp_path):
    recipe = Outer("x", float("inf"), options={"least": float("-inf")})
    assert read_recipe(write(tmp_path, recipe_text(recipe)), Outer) == recipe
