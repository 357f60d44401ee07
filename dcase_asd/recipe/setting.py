"""A value of a recipe: its default, its range and the text that flags and documents show, once."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from typing import Any

from dcase_asd.recipe.toml import assignments


def setting(
    default: Any = dataclasses.MISSING,
    text: str = "",
    *,
    least: float | None = 0,
    above: float | None = None,
    most: float | None = None,
    unit: str = "",
    group: str = "",
    flag: str = "",
) -> Any:
    """A field of a recipe's dataclass.

    Args:
        default: Its value where a recipe says nothing; a dictionary is copied; none is required.
        text: What it means, as ``--help`` and the documents show it.
        least: Smallest number, also of each in a list; None where the dataclass checks it itself.
        above: A number that it must be larger than, in place of `least`.
        most: Largest number: beyond, a value is of another unit or of no use.
        unit: Unit of `most`, for messages.
        group: Heading of the flags from here on in ``--help``.
        flag: What its flag is called where that is not its name.
    """
    metadata = {"help": text, "least": least, "above": above, "most": most, "unit": unit,
                "group": group, "flag": flag}  # fmt: skip
    if isinstance(default, dict):
        return dataclasses.field(default_factory=default.copy, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def flag_of(of: dataclasses.Field[Any]) -> str:
    """The flag of a field, with its dashes; that of a table gives one value of it."""
    one = of.name if of.default_factory is dataclasses.MISSING else of.name.removesuffix("s")
    return f"--{of.metadata['flag'] or one.replace('_', '-')}"


def as_typed(of: dataclasses.Field[Any], value: Any) -> list[str]:
    """A value as it is typed on the command line, in words."""
    if isinstance(value, bool):
        return [flag_of(of) if value else flag_of(of).replace("--", "--no-", 1)]
    texts = assignments(value) if isinstance(value, dict) else [str(value)]
    return [word for text in texts for word in (flag_of(of), text)]


def out_of_range(recipe: Any, values: dict[str, Any] | None = None) -> list[str]:
    """A sentence for each number of a dataclass that lies beyond the range of its field.

    Args:
        recipe: The dataclass, or one of it.
        values: Values of some of its fields; None takes all that `recipe` has.
    """
    given_values = vars(recipe) if values is None else values
    return [
        f"{field.name} must be {wanted}, not {value}"
        for field in dataclasses.fields(recipe)
        for given in [given_values.get(field.name)]
        for value in (given if isinstance(given, tuple) else (given,))
        if isinstance(value, int | float) and (wanted := _wanted(value, **field.metadata))
    ]


def refuse(problems: Iterable[str]) -> None:
    """Raise one `ValueError` of all problems, where there are any."""
    if told := "; ".join(problems):
        raise ValueError(told)


def range_text(least: float | None, above: float | None, most: float | None, **_: Any) -> str:
    """The range of a number as a table shows it: ``0 to 1``, ``> 0``; empty for any number."""
    lower = f"> {above:g}" if above is not None else "" if least is None else f">= {least:g}"
    if above is None and most is not None:
        return f"{least:g} to {_number(most)}"
    return lower if most is None else f"{lower}, <= {_number(most)}"


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.4g}"


def _wanted(
    value: float, least: float | None, above: float | None, most: float | None, unit: str, **_: Any
) -> str:
    """The range that a value lies beyond; empty where it lies within. NaN lies beyond any."""
    if above is not None and not value > above:
        return f"larger than {above:g}"
    if least is None:
        return ""
    if not value >= least:
        return f"at least {least:g}"
    if most is not None and not value <= most:
        return f"at most {_number(most)} {unit}".rstrip()
    return "" if math.isfinite(value) else "a finite number"
