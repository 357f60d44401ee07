"""A system whose scores somebody else's program made: the recipe inside its run folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dcase_asd.recipe.setting import setting
from dcase_asd.recipe.system import recipe_path
from dcase_asd.recipe.toml import read_content, read_recipe

IMPORTED = "imported"
"""What stands in the place of a backbone's name in the provenance of imported scores."""


@dataclass(frozen=True)
class ImportedScores:
    """Where an edition's scores are from; `fingerprint` is that of the scores as they were read."""

    edition: str
    folder: str
    date: str
    fingerprint: str


@dataclass(frozen=True)
class ImportedSystem:
    """A system of which nothing but scores is known."""

    name: str = setting(text="Name of the system and of its run folder.")
    imported: tuple[ImportedScores, ...] = setting(text="Where each edition's scores are from.")


def is_imported(path: str | Path) -> bool:
    """Whether a recipe, or a run folder's, is one of imported scores.

    Raises:
        RecipeError: The recipe is no readable TOML file.
    """
    path = Path(path)
    path = recipe_path(path) if path.is_dir() else path
    return path.is_file() and "imported" in read_content(path)


def read_imported_system(run: str | Path) -> ImportedSystem:
    """Read the recipe of a run folder of imported scores.

    Raises:
        RecipeError: The recipe is wrong or missing.
    """
    return read_recipe(recipe_path(run), ImportedSystem)
