"""Recipes that come with the toolkit: ``preset:NAME`` wherever `run` takes a recipe."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dcase_asd.errors import RecipeError, nearest_name
from dcase_asd.recipe.toml import read_content

PREFIX = "preset:"


@dataclass(frozen=True)
class Preset:
    """A recipe that comes with the toolkit.

    Attributes:
        name: What `run` is told, after ``preset:``.
        recipe: The file: a system's recipe, or the form of a submission.
        about: What it does.
        published: Official scores in percent that its authors published; empty where there are
            none. They were not measured here.
        source: Who published them.
    """

    name: str
    recipe: Path
    about: str
    published: str
    source: str


def presets() -> list[Preset]:
    """All presets, those without weights first."""
    folder = _folder()
    return [
        Preset(name, folder / about.pop("recipe"), **about)
        for name, about in read_content(folder / "presets" / "presets.toml").items()
    ]


def recipe_file(recipe: str | Path) -> Path:
    """The file of a recipe that may be named as ``preset:NAME``.

    Raises:
        RecipeError: No preset has this name.
    """
    if not str(recipe).startswith(PREFIX):
        return Path(recipe)
    name = str(recipe).removeprefix(PREFIX)
    found = {preset.name: preset.recipe for preset in presets()}
    if name not in found:
        hint = nearest_name(name, found)
        raise RecipeError(f"no preset is called {name!r}; {hint} (`dcase-asd presets` lists them)")
    return found[name]


def _folder() -> Path:
    """Where recipes are: beside the package in the repository, inside it when installed."""
    package = Path(__file__).parents[1]
    installed = package / "submissions"
    return installed if installed.is_dir() else package.parent / "submissions"
