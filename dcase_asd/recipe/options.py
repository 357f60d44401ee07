"""Options of a class or a function: its arguments by their names, annotations and defaults."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from typing import Any, get_type_hints

from dcase_asd.recipe.toml import problems_of_values


def option_types(of: Callable[..., Any], but: Collection[str] = ()) -> dict[str, Any]:
    """The options that a class or a function takes, each with the type that it is annotated with.

    Args:
        of: The class or the function; of a `functools.partial` what it is made of counts.
        but: Arguments that are no options.
    """
    function: Any = getattr(of, "func", of)
    hints = get_type_hints(function.__init__ if inspect.isclass(function) else function)
    return {
        each.name: hints.get(each.name, Any)
        for each in inspect.signature(of).parameters.values()
        if each.name not in but and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
    }


def option_problems(options: dict[str, Any], types: dict[str, Any]) -> list[str]:
    """What is wrong with options, of which each may be there or not."""
    written = {
        name: list(value) if isinstance(value, tuple) else value for name, value in options.items()
    }
    return problems_of_values(written, types, "")


def usage(of: Callable[..., Any], names: Collection[str]) -> str:
    """Options with their defaults, as ``dcase-asd plugins`` shows them."""
    usual = inspect.signature(of).parameters
    return " ".join(
        name
        if usual[name].default is usual[name].empty
        else f"{name}={_shown(usual[name].default)}"
        for name in names
    )


def _shown(value: Any) -> str:
    return ",".join(value) if isinstance(value, tuple) else str(value)
