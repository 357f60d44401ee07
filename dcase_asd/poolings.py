"""Names and parameters of the poolings over time; `backbone.time_pooling` computes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

from dcase_asd.errors import nearest_name

Pooling = Literal["mean", "max", "std", "gem", "gwrp", "rdp", "rdp+gem"]

PARAMETERS: dict[str, tuple[str, ...]] = {
    "gem": ("p",), "gwrp": ("r",), "rdp": ("gamma",), "rdp+gem": ("gamma", "p")
}  # fmt: skip
"""Parameters of the poolings that have some."""
RANGES = {"p": (1e-3, 1e3), "r": (0.0, 1.0), "gamma": (0.0, 1e3)}
"""Least and most value of each parameter."""


def pooling_problems(method: str, parameters: Mapping[str, float]) -> list[str]:
    """A sentence for each parameter that a pooling lacks or that is out of range, and for its name.

    Args:
        method: One of `Pooling`.
        parameters: Its parameters by name.
    """
    if method not in get_args(Pooling):
        return [f"no pooling is called {method!r}; {nearest_name(method, get_args(Pooling))}"]
    has = PARAMETERS.get(method, ())
    problems = []
    for name, value in parameters.items():
        if name not in has:
            there = " and ".join(has) or "none"
            problems.append(f"the pooling {method!r} has no parameter {name!r}; it has {there}")
        elif not RANGES[name][0] <= value <= RANGES[name][1]:
            least, most = RANGES[name]
            problems.append(
                f"{name} = {value:g} of the pooling {method!r} must lie in [{least:g}, {most:g}]"
            )
    return problems
