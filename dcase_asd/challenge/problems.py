"""What is wrong with a challenge package, collected rather than raised."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

NAMES_SHOWN = 3
"""How many names of a longer list a message spells out."""


@dataclass(frozen=True)
class Problem:
    """One finding: an ``error`` keeps a package from being accepted, a ``warning`` may not.

    `where` is the path within the package (or the label of a system); `what` says what is wrong
    and how to mend it.
    """

    level: Literal["error", "warning"]
    where: str
    what: str


def error(where: str, what: str) -> Problem:
    """A finding that keeps the package from being accepted."""
    return Problem("error", where, what)


def warning(where: str, what: str) -> Problem:
    """A finding that the author should look at."""
    return Problem("warning", where, what)


def some(names: Iterable[str]) -> str:
    """The first few of some names in order, and how many more there are."""
    ordered = sorted(names)
    shown = ", ".join(ordered[:NAMES_SHOWN])
    return shown + (f" and {len(ordered) - NAMES_SHOWN} more" if len(ordered) > NAMES_SHOWN else "")
