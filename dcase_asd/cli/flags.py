"""Flags that a command takes from a recipe: one for each field of its dataclass."""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer

from dcase_asd.errors import RecipeError
from dcase_asd.recipe.setting import flag_of, out_of_range
from dcase_asd.recipe.toml import read_assignments


@dataclass(frozen=True)
class Flags:
    """Stands in a command's annotation for the flags of a recipe's fields.

    The parameter takes a dictionary of those that the user gave.

    Attributes:
        kind: Dataclass of the recipe, whose fields are `recipe.setting.setting`.
        only: Fields that become flags; all if empty.
        but: Fields that do not.
        options: Further arguments of a field's `typer.Option`.
    """

    kind: Any
    only: tuple[str, ...] = ()
    but: tuple[str, ...] = ()
    options: dict[str, dict[str, Any]] = field(default_factory=dict)

    def parameters(self) -> Iterator[inspect.Parameter]:
        """A parameter of the command for each field."""
        hints, group = typing.get_type_hints(self.kind), ""
        for each in dataclasses.fields(self.kind):
            group = each.metadata["group"] or group
            if not self._has(each.name):
                continue
            kind = hints[each.name]
            text, shown = each.metadata["help"], shown_default(each)
            if typing.get_origin(kind) is dict:
                kind, text = list[str], f"{text} May be repeated."
            elif typing.get_origin(kind) is tuple:
                item = typing.get_args(kind)[0]
                kind = types.GenericAlias(list, (item,))
            option = typer.Option(
                *([] if kind is bool else [flag_of(each)]),
                help=f"{text} ({shown})" if shown else text,
                rich_help_panel=(not self.only and group) or None,
                show_default=False,
                **self.options.get(each.name, {}),
            )
            yield inspect.Parameter(
                each.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=None,
                annotation=Annotated[kind | None, option],
            )

    def _has(self, name: str) -> bool:
        return name not in self.but and (not self.only or name in self.only)

    def given(self, values: dict[str, Any]) -> dict[str, Any]:
        """Take the fields' values that were given out of those of a command.

        Raises:
            RecipeError: Numbers are out of their ranges.
        """
        found: dict[str, Any] = {}
        hints = typing.get_type_hints(self.kind)
        for each in dataclasses.fields(self.kind):
            name, kind = each.name, hints[each.name]
            value = values.pop(name, None) if self._has(name) else None
            if value is None:
                continue
            if typing.get_origin(kind) is dict:
                try:
                    value = read_assignments(value)
                except RecipeError as error:
                    raise typer.BadParameter(str(error), param_hint=flag_of(each)) from error
            elif isinstance(value, list):  # an empty text makes a list empty
                value = tuple(each for each in value if each != "")
            found[name] = value
        if problems := out_of_range(self.kind, found):
            raise RecipeError("; ".join(problems))
        return found


def shown_default(of: dataclasses.Field[Any]) -> str:
    """A field's default as ``--help`` and the documents show it; empty where there is none."""
    default = of.default
    if default is None or default is dataclasses.MISSING:
        return ""
    if isinstance(default, bool):
        return "yes" if default else "no"
    several = default if isinstance(default, tuple) else (default,)
    return ", ".join(f"{each:g}" if isinstance(each, float) else str(each) for each in several)
