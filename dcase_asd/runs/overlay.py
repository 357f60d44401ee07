"""Overlays: one file of changes laid over many recipes, so that all of them run at another scale.

::

    [train]                          # replaces settings of every system that is fine-tuned
    steps = 120
    [multiply]                       # multiplies them, so that systems go on differing in them
    learning_rate = 40
    [embed.beats.options]            # changes how a plugin's systems embed
    random_weights = 0
    [score]                          # replaces settings of how every system is scored
    neighbors = 1
    [fusion]                         # replaces settings of every fusion
    step = 0.25
"""

from __future__ import annotations

import copy
import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dcase_asd.errors import RecipeError, nearest_name
from dcase_asd.recipe.detector import Detector
from dcase_asd.recipe.fusion import Fusion
from dcase_asd.recipe.system import Embedding
from dcase_asd.recipe.toml import problems_of_part, read_content
from dcase_asd.recipe.training import Training
from dcase_asd.registry import installed_plugins

TABLES = ("train", "multiply", "embed", "score", "fusion")


@dataclass(frozen=True)
class Overlay:
    """What to change in recipes; nothing by default.

    Attributes:
        source: The file, for messages.
        tables: Its content, checked.
    """

    source: str = ""
    tables: dict[str, dict[str, Any]] = field(default_factory=dict)

    def over(self, recipe: dict[str, Any]) -> dict[str, Any]:
        """A recipe's content with the changes that concern it.

        A table that the recipe lacks stays away, except how it embeds: what is not fine-tuned is
        not fine-tuned with an overlay either.
        """
        changed = copy.deepcopy(recipe)
        for name in ("train", "fusion"):
            if isinstance(changed.get(name), dict):
                changed[name] |= self.tables.get(name, {})
        if isinstance(changed.get("train"), dict):
            _multiply(changed["train"], self.tables.get("multiply", {}))
        if isinstance(changed.get("embed"), dict):
            _change_embedding(changed["embed"], self.tables.get("embed", {}))
            if scoring := self.tables.get("score"):
                changed["score"] = changed.get("score", {}) | scoring
        return changed


def read_overlay(path: str | Path | None) -> Overlay:
    """Read and check an overlay; None is one that changes nothing.

    Raises:
        RecipeError: All unknown names, with the nearest valid ones, and all values of wrong types.
    """
    if path is None:
        return Overlay()
    content = read_content(path)
    problems = [
        f"unknown table {name!r} ({nearest_name(name, TABLES)})"
        for name in content
        if name not in TABLES
    ]
    tables = {name: value for name, value in content.items() if name in TABLES}
    for name, value in list(tables.items()):
        if isinstance(value, dict):
            problems += _problems(name, value)
        else:
            problems.append(f"{name!r} must be a table, not {value!r}")
    if problems:
        raise RecipeError(f"{path}: " + "; ".join(problems))
    return Overlay(str(path), tables)


def _problems(name: str, table: dict[str, Any]) -> list[str]:
    kinds: dict[str, type] = {"train": Training, "score": Detector, "fusion": Fusion}
    if name in kinds:
        return problems_of_part(table, kinds[name], f"{name}.")
    if name == "multiply":
        return _problems_of_factors(table)
    plugins = [plugin.name for plugin in installed_plugins()]
    problems = []
    for plugin, changes in table.items():
        if plugin not in plugins:
            problems.append(f"no plugin is called {plugin!r} ({nearest_name(plugin, plugins)})")
        elif isinstance(changes, dict):
            problems += problems_of_part(changes, Embedding, f"embed.{plugin}.")
        else:
            problems.append(f"'embed.{plugin}' must be a table, not {changes!r}")
    return problems


def _problems_of_factors(table: dict[str, Any]) -> list[str]:
    numbers = [
        each.name
        for each in dataclasses.fields(Training)
        if isinstance(each.default, int | float) and not isinstance(each.default, bool)
    ]
    problems = [
        f"unknown number 'multiply.{name}' ({nearest_name(name, numbers)})"
        for name in table
        if name not in numbers
    ]
    return problems + [
        f"'multiply.{name}' must be a number, not {value!r}"
        for name, value in table.items()
        if name in numbers and (isinstance(value, bool) or not isinstance(value, int | float))
    ]


def _multiply(train: dict[str, Any], factors: dict[str, float]) -> None:
    defaults = Training()
    for name, factor in factors.items():
        value = train.get(name, getattr(defaults, name))
        if isinstance(value, int | float):  # else reading the recipe tells of it
            product = value * factor
            train[name] = round(product) if isinstance(getattr(defaults, name), int) else product


def _change_embedding(embed: dict[str, Any], of_plugins: dict[str, dict[str, Any]]) -> None:
    changes = of_plugins.get(str(embed.get("plugin")), {})
    options = embed.get("options", {})
    embed |= changes
    if isinstance(options, dict) and "options" in changes:
        embed["options"] = options | changes["options"]
