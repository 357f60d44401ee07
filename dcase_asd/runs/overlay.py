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
    [data]                           # replaces which clips every system takes
    machines = ["fan"]

Single values can be given beside it, as a recipe's own tables hold them: ``train.steps=120``.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from dcase_asd.errors import RecipeError, nearest_name
from dcase_asd.recipe.detector import Detector
from dcase_asd.recipe.fusion import Fusion
from dcase_asd.recipe.subset import Subset
from dcase_asd.recipe.system import Embedding
from dcase_asd.recipe.toml import lay_over, problems_of_part, read_assignments, read_content
from dcase_asd.recipe.training import Training
from dcase_asd.registry import installed_plugins

TABLES = ("train", "multiply", "embed", "score", "fusion", "data")
PARTS: dict[str, type] = {
    "embed": Embedding,
    "train": Training,
    "score": Detector,
    "fusion": Fusion,
    "data": Subset,
}
"""Tables of a recipe that single values may be given of."""
OF_EVERY_SYSTEM = ("score", "data")
"""Tables that count for a single system whether its recipe has them or not."""
GIVEN = "--set"
"""What single values are called in messages: the flag that they come from."""


@dataclass(frozen=True)
class Overlay:
    """What to change in recipes; nothing by default.

    Attributes:
        source: Where the changes are from, for messages.
        tables: The file's content, checked.
        values: Single values by table and name, which come after those of the file.
    """

    source: str = ""
    tables: dict[str, dict[str, Any]] = field(default_factory=dict)
    values: dict[str, dict[str, Any]] = field(default_factory=dict)

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
            for name in OF_EVERY_SYSTEM:
                if values := self.tables.get(name):
                    changed[name] = changed.get(name, {}) | values
        for name, value in self.values.items():
            if name in changed or (name in OF_EVERY_SYSTEM and "embed" in changed):
                lay_over(changed, {name: copy.deepcopy(value)})
        return changed


def read_overlay(path: str | Path | None, values: Iterable[str] = ()) -> Overlay:
    """Read and check an overlay and single values; None and no value change nothing.

    Args:
        path: The file.
        values: Each ``table.name=value``.

    Raises:
        RecipeError: All unknown names, with the nearest valid ones, and all values of wrong types.
    """
    given = read_values(values)
    if path is None:
        return Overlay(GIVEN if given else "", {}, given)
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
    return Overlay(f"{path} and {GIVEN}" if given else str(path), tables, given)


def read_values(texts: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Read and check single values of recipes.

    Args:
        texts: Each ``table.name=value``, the value in TOML or text as it stands.

    Returns:
        Table -> name -> value.

    Raises:
        RecipeError: As `read_overlay`.
    """
    return check_values(read_assignments(texts))


def nested(name: str, value: Any) -> dict[str, Any]:
    """A single value as TOML holds it: ``a.b.c`` is c in the table b in the table a."""
    for part in reversed(name.split(".")):
        value = {part: value}
    return cast("dict[str, Any]", value)


def check_values(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Check single values of recipes that are read already.

    Raises:
        RecipeError: As `read_overlay`.
    """
    problems = []
    for name, value in found.items():
        if name not in PARTS:
            problems.append(f"unknown table {name!r} ({nearest_name(name, PARTS)})")
        elif isinstance(value, dict):
            problems += problems_of_part(value, PARTS[name], f"{name}.")
        else:
            problems.append(f"{name!r} is a table; give a value of it, such as {name}.name=value")
    if problems:
        raise RecipeError(f"{GIVEN}: " + "; ".join(problems))
    return found


def _problems(name: str, table: dict[str, Any]) -> list[str]:
    if name in PARTS and name != "embed":
        return problems_of_part(table, PARTS[name], f"{name}.")
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
