"""All points of a regular lattice on the simplex of weights, in chunks."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, combinations, islice
from math import comb

import numpy as np
from numpy.typing import NDArray

from dcase_asd.detection.neighbors import Array

Steps = NDArray[np.intp]
"""A point of the lattice as whole numbers of steps, (s,)."""

ROUNDING = 1e-9
"""How far a number of steps may be off a whole number, by the rounding of a step such as 0.1."""


def parts_of(step: float) -> int:
    """How many steps make one: 0.1 -> 10.

    Raises:
        ValueError: The step does not divide one.
    """
    parts = round(1 / step) if 0 < step <= 1 else 0
    if not parts or abs(parts * step - 1) > ROUNDING:
        raise ValueError(f"a step of {step:g} does not divide 1; take 0.5, 0.2, 0.1, 0.05, ...")
    return parts


def lattice_size(systems: int, step: float) -> int:
    """How many points the lattice has.

    Raises:
        ValueError: The step does not divide one.
    """
    return comb(parts_of(step) + systems - 1, systems - 1)


def lattice_points(systems: int, step: float, at_once: int = 8192) -> Iterator[Array]:
    """Every vector of weights that are multiples of `step` and sum to one.

    Args:
        systems: Number of weights, s >= 1.
        step: Distance of the lattice's points, a fraction of one.
        at_once: Bounds memory: at most this many points are yielded at once.

    Yields:
        Weights, (at most `at_once`, s); the first point is all the first system, and each point
        comes once.

    Raises:
        ValueError: The step does not divide one.
    """
    parts = parts_of(step)
    # A point is a row of `parts` stars with bars between the systems.
    places = parts + systems - 1
    bars = combinations(range(places), systems - 1)
    size = lattice_size(systems, step)
    for start in range(0, size, at_once):
        count = min(at_once, size - start)
        chosen = np.fromiter(
            chain.from_iterable(islice(bars, count)), dtype=np.intp, count=count * (systems - 1)
        ).reshape(count, systems - 1)
        stars = np.diff(chosen, axis=1, prepend=-1, append=places) - 1
        yield stars[:, ::-1] / parts


def nearest_point(weights: Array, parts: int) -> Steps:
    """The lattice point nearest to weights on the simplex, (s,), in steps that sum to `parts`.

    Rounded down first; the steps that are left go to the largest remainders, then to the first.
    """
    exact = weights * parts
    steps = np.floor(exact + ROUNDING).astype(np.intp)
    left = parts - int(steps.sum())
    steps[np.argsort(steps - exact, kind="stable")[:left]] += 1
    return steps
