"""Values that a sweep tries: what is written for them, their grid, random and proposed ones.

::

    train.learning_rate=1e-5,5e-5,1e-4     these values
    train.margin=0.1:0.5                   any number from 0.1 to 0.5
    train.learning_rate=1e-6:1e-3:log      any number, each factor of ten alike
    train.margin=0.1:0.5:5                 a grid of five; for other methods any number between
"""

from __future__ import annotations

import itertools
import math
import re
import tomllib
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from dcase_asd.errors import RecipeError
from dcase_asd.runs.overlay import GIVEN, check_values, nested, read_values

_RANGE = re.compile(r"([^:,\[\]\"']+):([^:]+?)(?::(\d+))?(:log)?")
DIGITS = 4
"""Significant digits of a number that is drawn: enough to tell systems apart, and to read."""
DRAWS = 1000
"""Draws after which there is taken to be no combination that was not tried."""
INITIAL = 5
"""Random combinations before a Gaussian process proposes any."""

Combination = dict[str, Any]
"""Full name of a recipe's value -> what a trial takes."""


@dataclass(frozen=True)
class Choices:
    """A value that is one of several."""

    name: str
    values: tuple[Any, ...]

    def grid(self) -> tuple[Any, ...]:
        """All of them."""
        return self.values

    ends = grid

    def draw(self, generator: np.random.Generator) -> Any:
        """One of them."""
        return self.values[int(generator.integers(len(self.values)))]


@dataclass(frozen=True)
class Range:
    """A number between two others; `points` of a grid, 0 where none was given."""

    name: str
    low: float
    high: float
    points: int
    log: bool
    whole: bool

    def grid(self) -> tuple[Any, ...]:
        """Points in equal steps, or in equal factors.

        Raises:
            RecipeError: Nothing says how many.
        """
        if not self.points:
            ends = f"{self.low:g}:{self.high:g}"
            raise RecipeError(
                f"{GIVEN}: {self.name}={ends} has no points for a grid; say how many, such as "
                f"{self.name}={ends}:5, list them, or take --method random"
            )
        spaced = np.geomspace if self.log else np.linspace
        found = spaced(self.low, self.high, self.points).tolist()
        return tuple(dict.fromkeys(map(self.clean, found)))

    def ends(self) -> tuple[Any, ...]:
        """The smallest and the largest number."""
        return self.low, self.high

    def draw(self, generator: np.random.Generator) -> Any:
        """A random number, uniform or log-uniform."""
        if self.whole and not self.log:
            return int(generator.integers(int(self.low), int(self.high) + 1))
        if self.log:
            ends = math.log(self.low), math.log(self.high)
            return self.clean(math.exp(generator.uniform(*ends)))
        return self.clean(generator.uniform(self.low, self.high))

    def clean(self, value: float) -> float | int:
        """A number as recipes hold it: whole where both ends are, else of a few digits."""
        if self.whole:
            return round(value)
        return min(max(float(f"{value:.{DIGITS}g}"), self.low), self.high)


Dimension = Choices | Range


def read_space(texts: Iterable[str]) -> list[Dimension]:
    """Read what a sweep tries.

    Raises:
        RecipeError: A text has another form, a name is unknown or given twice, a value is of a
            wrong type, or a range has no numbers in it.
    """
    space = [_read(text) for text in texts]
    if not space:
        raise RecipeError(f"nothing is varied; give values with {GIVEN} train.margin=0.1,0.2,0.3")
    seen: set[str] = set()
    for each in space:
        if each.name in seen:
            raise RecipeError(f"{GIVEN}: {each.name} is given twice; list all its values in one")
        seen.add(each.name)
        for value in each.ends():
            check_values(nested(each.name, value))
    return space


def grid(space: Sequence[Dimension]) -> list[Combination]:
    """All combinations, the last value changing fastest.

    Raises:
        RecipeError: A range has no points.
    """
    names = [each.name for each in space]
    points = itertools.product(*(each.grid() for each in space))
    return [dict(zip(names, values, strict=True)) for values in points]


def draw(space: Sequence[Dimension], tried: Sequence[Combination], seed: int) -> Combination | None:
    """A random combination that was not tried; None where there seems to be none.

    Which one depends on the seed and on how many were tried, so that a sweep that was stopped goes
    on as if it had not been.
    """
    generator = np.random.default_rng([seed, len(tried)])
    for _ in range(DRAWS):
        drawn = {each.name: each.draw(generator) for each in space}
        if drawn not in tried:
            return drawn
    return None


def propose(
    space: Sequence[Dimension],
    tried: Sequence[Combination],
    costs: Sequence[float | None],
    seed: int,
    count: int = 1,
) -> Iterator[Combination]:
    """What a Gaussian process (scikit-optimize's) expects to improve on all that was tried.

    Args:
        space: The values.
        tried: Combinations so far.
        costs: What each of them costs, smaller is better; None where it failed, which counts as
            the worst.
        seed: Of random draws.
        count: How many, which are tried side by side.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a point was tried before: it is drawn again below
        from skopt import Optimizer
        from skopt.space import Categorical, Integer, Real

        dimensions = []
        for each in space:
            prior = "log-uniform" if isinstance(each, Range) and each.log else "uniform"
            if isinstance(each, Choices):
                dimensions.append(Categorical(range(len(each.values))))
            elif each.whole:
                dimensions.append(Integer(int(each.low), int(each.high), prior=prior))
            else:
                dimensions.append(Real(each.low, each.high, prior=prior))
        optimizer = Optimizer(dimensions, random_state=seed, n_initial_points=INITIAL)
        known = [cost for cost in costs if cost is not None]
        if known:
            points = [
                [
                    each.values.index(point[each.name])
                    if isinstance(each, Choices)
                    else point[each.name]
                    for each in space
                ]
                for point in tried
            ]
            optimizer.tell(points, [max(known) if cost is None else cost for cost in costs])
        asked = optimizer.ask(n_points=count)
    taken = list(tried)
    for point in asked:
        found: Combination | None = {
            each.name: each.values[value] if isinstance(each, Choices) else each.clean(value)
            for each, value in zip(space, point, strict=True)
        }
        if found in taken:
            found = draw(space, taken, seed)
        if found is not None:
            taken.append(found)
            yield found


def _read(text: str) -> Dimension:
    name, equals, written = (part.strip() for part in text.partition("="))
    if not (name and equals and written):
        raise RecipeError(
            f"{GIVEN}: {text!r} is not of the form table.name=a,b,c or table.name=low:high"
        )
    ends = _RANGE.fullmatch(written)
    if ends is None:
        return Choices(name, tuple(_values(name, written)))
    low, high = (_number(name, end) for end in ends.group(1, 2))
    # A number of a recipe may be given without a point; an option may be anything.
    fractional = _takes(name, 0.5) and not _takes(name, "")
    whole = isinstance(low, int) and isinstance(high, int) and not fractional
    log = ends.group(4) is not None
    if not low < high or (log and low <= 0):
        wanted = "the first smaller than the second" + (", both above 0" if log else "")
        raise RecipeError(f"{GIVEN}: {name}={written} is no range; give two numbers, {wanted}")
    points = ends.group(3)
    if points is not None and int(points) < 2:  # noqa: PLR2004 - both ends
        raise RecipeError(f"{GIVEN}: {name}={written}: a grid has at least 2 points")
    return Range(name, low, high, int(points or 0), log, whole)


def _values(name: str, written: str) -> list[Any]:
    """A list of values in TOML, or of words without quotes."""
    try:
        found = tomllib.loads(f"values = [{written}]")["values"]
    except tomllib.TOMLDecodeError:
        found = []
        for word in written.split(","):
            value: Any = read_values([f"{name}={word.strip()}"])
            for part in name.split("."):
                value = value[part]
            found.append(value)
    unique: list[Any] = []
    unique += (each for each in found if each not in unique)
    return unique


def _takes(name: str, value: Any) -> bool:
    """Whether a value of this name may be of the type of another."""
    try:
        check_values(nested(name, value))
    except RecipeError:
        return False
    return True


def _number(name: str, text: str) -> float | int:
    with suppress(ValueError):
        return int(text)
    with suppress(ValueError):
        if math.isfinite(number := float(text)):
            return number
    raise RecipeError(f"{GIVEN}: {name}: {text!r} is no number; a range is low:high")
