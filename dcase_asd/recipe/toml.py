"""Recipes: strict TOML files that become frozen dataclasses, with all mistakes told at once."""

from __future__ import annotations

import dataclasses
import functools
import json
import tomllib
import types
import typing
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from dcase_asd.errors import RecipeError, nearest_name

T = TypeVar("T")

_INVALID = object()


def read_recipe(path: str | Path, kind: type[T]) -> T:
    """Read a TOML file into a frozen dataclass.

    Fields may be `str`, `int`, `float`, `bool`, a `Literal`, an optional one of these, a
    ``tuple[X, ...]``, a ``dict[str, X]``, `Any`, or another dataclass (a table). A field without
    a default is required. A dataclass may check itself: a `ValueError` from its
    ``__post_init__`` is reported beside the other mistakes.

    Raises:
        RecipeError: One message that lists every unknown name (with the nearest valid one),
            every missing field and every value of a wrong type.
    """
    return recipe_from(read_content(path), kind, str(path))


def recipe_from(content: dict[str, Any], kind: type[T], source: str) -> T:
    """Make a frozen dataclass of TOML that is read already, as `read_recipe` does.

    Raises:
        RecipeError: As `read_recipe`; the message begins with `source`.
    """
    problems: list[str] = []
    recipe = _read_table(content, kind, "", problems)
    if problems:
        raise RecipeError(f"{source}: " + "; ".join(problems))
    return typing.cast("T", recipe)


def read_assignments(texts: Iterable[str]) -> dict[str, Any]:
    """Values given one by one, as an overlay's file would hold them.

    Args:
        texts: Each ``name=value`` or ``table.name=value``, the value in TOML or text as it stands.

    Raises:
        RecipeError: One is not of this form.
    """
    values: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        read: dict[str, Any] = {}
        for written in (text, f"{name} = {_toml(value)}") if equals else ():
            with suppress(tomllib.TOMLDecodeError):
                read = read or tomllib.loads(written)
        if not read:
            raise RecipeError(f"{text!r} is not of the form name=value")
        lay_over(values, read)
    return values


def assignments(values: dict[str, Any]) -> list[str]:
    """Values by name as `read_assignments` reads them back."""
    return [f"{name}={value if isinstance(value, str) else _toml(value)}"
            for name, value in values.items()]  # fmt: skip


OPTIONS_OF = {
    "detector": "options", "plugin": "options", "pooling": "pooling_options",
    "loss": "loss_options",
}  # fmt: skip
"""Names whose value tells what the options in another table are of."""


def lay_over(content: dict[str, Any], changes: dict[str, Any]) -> None:
    """Replace values of a recipe's content by others, also those in tables within tables.

    Options go with what they are of: another detector does not get those of the one before.
    """
    for name, value in changes.items():
        if name in OPTIONS_OF and content.get(name, value) != value:
            content.pop(OPTIONS_OF[name], None)
    for name, value in changes.items():
        if isinstance(value, dict) and isinstance(content.get(name), dict):
            lay_over(content[name], value)
        else:
            content[name] = value


def changed(recipe: T, changes: dict[str, Any], source: str) -> T:
    """A recipe with some of its values replaced, checked as a whole.

    Args:
        recipe: A frozen dataclass.
        changes: As TOML holds them: a table for each dataclass within it.
        source: What the changes are from, which begins a message.

    Raises:
        RecipeError: As `read_recipe`.
    """
    content = tomllib.loads(recipe_text(recipe))
    lay_over(content, changes)
    return recipe_from(content, type(recipe), source)


def problems_of_part(content: dict[str, Any], kind: type, where: str) -> list[str]:
    """What is wrong with a table that gives only some of a dataclass's fields.

    Args:
        content: The table.
        kind: The dataclass; what it checks of its values together is not looked at.
        where: What to put before the names, such as ``train.``.
    """
    hints = get_type_hints(kind)
    names = [field.name for field in dataclasses.fields(kind) if field.init]
    return problems_of_values(content, {name: hints[name] for name in names}, where)


def problems_of_values(content: dict[str, Any], types: dict[str, Any], where: str) -> list[str]:
    """What is wrong with values by name, of which each may be there or not.

    Args:
        content: The values.
        types: Name -> type, as a field of a dataclass may have it; another type takes any value.
        where: What to put before the names.
    """
    problems: list[str] = []
    for name, value in content.items():
        if name in types:
            _read_value(value, types[name], where + name, problems)
        else:
            problems.append(f"unknown name {where + name!r} ({nearest_name(name, types)})")
    return problems


def read_content(path: str | Path) -> dict[str, Any]:
    """Read a TOML file as it stands.

    Raises:
        RecipeError: It is missing or no TOML.
    """
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RecipeError(f"{path}: no such recipe file") from error
    except IsADirectoryError as error:
        within = sorted(Path(path).glob("*.toml"))
        such = f", such as {within[0]}" if within else ""
        raise RecipeError(f"{path}: a folder; give a recipe file{such}") from error
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path}: no text; a recipe is a TOML file") from error
    except (OSError, ValueError) as error:
        raise RecipeError(f"{path}: not a readable TOML file ({error})") from error


def recipe_text(recipe: Any) -> str:
    """Write a dataclass as TOML that `read_recipe` reads back to an equal one.

    Values that are None are left out, as TOML has no word for them.
    """
    return "\n".join(_table_lines(dataclasses.asdict(recipe), "")).strip("\n") + "\n"


def _read_table(content: dict[str, Any], kind: type, where: str, problems: list[str]) -> Any:
    hints = _hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind) if field.init}
    values: dict[str, Any] = {}
    before = len(problems)
    for name, value in content.items():
        if name not in fields:
            problems.append(f"unknown name {where + name!r} ({nearest_name(name, fields)})")
            continue
        values[name] = _read_value(value, hints[name], where + name, problems)
    for name, field in fields.items():
        required = (
            field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        )
        if required and name not in content:
            problems.append(f"{where + name!r} is missing")
    if len(problems) > before:
        return _INVALID
    try:
        return kind(**values)
    except ValueError as error:
        problems.append(f"{where.rstrip('.') or 'recipe'}: {error}")
        return _INVALID


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    """The types of the fields, which take long to evaluate where there are many tables."""
    return get_type_hints(kind)


def _read_value(value: Any, hint: Any, where: str, problems: list[str]) -> Any:
    origin = get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return _read_union(value, hint, where, problems)
    if origin is Literal:
        return _read_literal(value, hint, where, problems)
    if (origin is tuple and isinstance(value, list)) or (
        origin is dict and isinstance(value, dict)
    ):
        return _read_container(value, hint, where, problems)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type) and isinstance(value, dict):
        return _read_table(value, hint, f"{where}.", problems)
    if _fits(value, hint):
        return float(value) if hint is float else value
    problems.append(f"{where!r} must be {_describe(hint)}, not {value!r}")
    return _INVALID


def _read_union(value: Any, hint: Any, where: str, problems: list[str]) -> Any:
    inner = [each for each in get_args(hint) if each is not type(None)]
    if value is None and type(None) in get_args(hint):  # JSON's null; TOML has none
        return None
    if len(inner) == 1:
        return _read_value(value, inner[0], where, problems)
    for candidate in inner:
        attempt: list[str] = []
        result = _read_value(value, candidate, where, attempt)
        if not attempt:
            return result
    problems.append(f"{where!r} must be {_describe(hint)}, not {value!r}")
    return _INVALID


def _read_literal(value: Any, hint: Any, where: str, problems: list[str]) -> Any:
    choices = get_args(hint)
    if value in choices:
        return value
    hints = nearest_name(str(value), map(str, choices))
    problems.append(f"{where!r} cannot be {value!r} ({hints})")
    return _INVALID


def _read_container(value: Any, hint: Any, where: str, problems: list[str]) -> Any:
    arguments = get_args(hint)
    if isinstance(value, dict):
        return {
            name: _read_value(item, arguments[1], f"{where}.{name}", problems)
            for name, item in value.items()
        }
    return tuple(
        _read_value(item, arguments[0], f"{where}[{index}]", problems)
        for index, item in enumerate(value)
    )


def _fits(value: Any, hint: Any) -> bool:
    """Whether a plain value has a type; a whole number is a number, true and false are not."""
    if hint is Any:
        return True
    if isinstance(value, bool):
        return hint is bool
    return isinstance(hint, type) and isinstance(value, (int, float) if hint is float else hint)


def _describe(hint: Any) -> str:
    words: dict[Any, str] = {
        str: "text", int: "a whole number", float: "a number", bool: "true or false",
        tuple: "a list", dict: "a table",
    }  # fmt: skip
    origin = get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_describe(part) for part in get_args(hint) if part is not type(None))
    return words.get(origin or hint, "a table")


def _table_lines(table: dict[str, Any], prefix: str) -> list[str]:
    plain = {name: value for name, value in table.items() if not isinstance(value, dict)}
    lines = [f"{name} = {_toml(value)}" for name, value in plain.items() if value is not None]
    for name, value in table.items():
        if isinstance(value, dict):
            lines += ["", f"[{prefix}{name}]", *_table_lines(value, f"{prefix}{name}.")]
    return lines


def _toml(value: Any) -> str:
    writers: dict[type, Callable[[Any], str]] = {
        # JSON's strings and lists are TOML's too; booleans are spelt alike.
        str: lambda text: json.dumps(text, ensure_ascii=False),
        float: repr,  # also inf and nan, which JSON spells in another way
        list: lambda items: "[" + ", ".join(map(_toml, items)) + "]",
        tuple: lambda items: "[" + ", ".join(map(_toml, items)) + "]",
        dict: lambda table: "{" + ", ".join(f"{k} = {_toml(v)}" for k, v in table.items()) + "}",
    }
    return writers.get(type(value), json.dumps)(value)
