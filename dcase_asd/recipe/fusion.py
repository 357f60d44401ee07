"""A system that is a fusion of others: its recipe, in a file or inside a run folder."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from dcase_asd.errors import RecipeError, command, nearest_name
from dcase_asd.recipe.setting import out_of_range, refuse, setting
from dcase_asd.recipe.system import recipe_path
from dcase_asd.recipe.toml import read_content, read_recipe

Method = Literal["grid", "bayesian", "mean", "minimum", "calibrated", "weights"]
Standardization = Literal["train", "test"]

SEARCHES: tuple[Method, ...] = ("grid", "bayesian")
"""Methods that fit weights to development labels; the others need none."""
LABEL_FREE: tuple[Method, ...] = ("mean", "minimum", "calibrated")
"""Methods that neither labels nor the user decide on; their figures stand beside any other's."""
FEWEST_SYSTEMS = 2
SUM_TOLERANCE = 1e-6
"""How far weights in decimals may be off a sum of one, such as 0.333333, 0.333333, 0.333334."""


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


@dataclass(frozen=True)
class Selection:
    """How some of the systems are chosen: the `count` most robust, or the best by dev score."""

    rule: Literal["robust", "best"]
    count: int


@dataclass(frozen=True)
class Fusion:
    """How systems become one: `[fusion]` of a recipe.

    In a run folder's recipe `systems` are run folders, relative to the folder that this one is in.
    """

    systems: tuple[str, ...] = setting(
        text="Systems to fuse: run folders; in a recipe file recipes without .toml, relative to it."
    )
    method: Method = setting(
        "grid",
        "grid and bayesian search the weights with the best development score; mean weights all "
        "alike; minimum takes a clip's smallest standardized score; calibrated turns each score "
        "into the share of normal clips that lie as far out and takes a clip's smallest share, "
        "calibrated once more; weights takes those given.",
    )
    weights: tuple[float, ...] = setting(
        (), "Weight of each system in their order: not negative, summing to 1.", least=None
    )
    step: float = setting(0.1, "Grid step; must divide 1.", least=None)
    budget: int = setting(200, "Most weight vectors that bayesian tries.", least=1)
    patience: int = setting(
        60, "Weight vectors without a better score after which bayesian stops.", least=1
    )
    seed: int = setting(0, "Seed of all random draws.")
    resamples: int = setting(
        200, "Bootstrap samples for the spread of the weights; 0 leaves it out."
    )
    select: str = setting(
        "",
        "robust:2 fuses the two systems whose scores of normal evaluation clips have moved least "
        "from train scores; best:2 the two with the best development scores; default: all.",
    )
    always: tuple[str, ...] = setting((), "Systems that `select` keeps in any case.")
    standardize: Standardization = setting(
        "train",
        "Standardize each system's scores by leave-one-out train scores; or by test scores, which "
        "is transductive and forbidden in the challenge.",
    )
    analysis: bool = setting(
        False,
        "Allow what the challenge forbids, to look at it: the fusion's scores are marked, and "
        "`submit` and `validate` refuse them.",
    )

    def __post_init__(self) -> None:
        problems = [
            *self._system_problems(),
            *self._search_problems(),
            *self._weight_problems(),
            *self._selection_problems(),
        ]
        if self.analysis and self.standardize == "train":
            problems.append("analysis is given, but standardize is 'train', which needs no leave")
        refuse(problems)

    @property
    def names(self) -> tuple[str, ...]:
        """What to call the systems: their last parts, whole where these would be the same."""
        last = [PurePosixPath(system).name for system in self.systems]
        times = Counter(last)
        return tuple(
            system if times[name] > 1 else name
            for system, name in zip(self.systems, last, strict=True)
        )

    @property
    def kept(self) -> tuple[bool, ...]:
        """Which of the systems a selection keeps in any case."""
        return tuple(
            bool({system, name} & set(self.always))
            for system, name in zip(self.systems, self.names, strict=True)
        )

    @property
    def selection(self) -> Selection | None:
        """How systems are chosen; None where all are fused.

        Raises:
            ValueError: `select` is not of the form that it must have.
        """
        rule, _, count = self.select.partition(":")
        match rule, count.isdecimal():
            case "", _ if not self.select:
                return None
            case ("robust" | "best") as known, True:
                return Selection(known, int(count))
        raise ValueError(
            f"select must be robust:N or best:N, such as robust:2, not {self.select!r}"
        )

    @property
    def uses_labels(self) -> bool:
        """Whether labels decide which systems are fused, or with which weights."""
        return self.method in SEARCHES or self.select.startswith("best")

    def _system_problems(self) -> list[str]:
        problems = []
        if len(self.systems) < FEWEST_SYSTEMS:
            what = f"only {self.systems[0]!r}" if self.systems else "no system"
            problems.append(f"{what} is given, and a fusion takes at least two systems")
        twice = [system for system, times in Counter(self.systems).items() if times > 1]
        if twice:
            problems.append(f"{', '.join(map(repr, twice))} is given twice; name each system once")
        return problems

    def _search_problems(self) -> list[str]:
        try:
            parts_of(self.step)
        except ValueError as error:
            return [str(error), *out_of_range(self)]
        return out_of_range(self)

    def _weight_problems(self) -> list[str]:
        if self.method != "weights":
            return [f"weights are given, but the method is {self.method!r}"] if self.weights else []
        if len(self.weights) != len(self.systems):
            return [f"{len(self.weights)} weight(s) for {len(self.systems)} system(s)"]
        problems = []
        if not all(0 <= weight < math.inf for weight in self.weights):
            problems.append(f"weights must be zero or more: {_text(self.weights)}")
        elif abs(math.fsum(self.weights) - 1) > SUM_TOLERANCE:
            problems.append(
                f"weights must sum to 1: {_text(self.weights)} sum to {math.fsum(self.weights):.6g}"
            )
        return problems

    def _selection_problems(self) -> list[str]:
        try:
            selection = self.selection
        except ValueError as error:
            return [str(error)]
        if selection is None:
            return ["always keeps systems in a selection; give select, too"] if self.always else []
        problems = [
            f"always names {name!r}, which is not among the systems "
            f"({nearest_name(name, self.names)})"
            for name in self.always
            if name not in (*self.names, *self.systems)
        ]
        if self.method == "weights":
            problems.append("weights by hand leave nothing to select: leave select or weights out")
        others = self.kept.count(False)
        if len(self.systems) < FEWEST_SYSTEMS:
            return problems
        if not 1 <= selection.count <= others:
            problems.append(
                f"select {self.select!r} asks for {selection.count} of {others} system(s)"
            )
        elif selection.count + self.kept.count(True) < FEWEST_SYSTEMS:
            problems.append(f"select {self.select!r} leaves a single system")
        return problems


@dataclass(frozen=True)
class FusedSystem:
    """A system that is made of others' scores."""

    name: str = setting(text="Name of the system and of its run folder.")
    fusion: Fusion = setting(text="How the other systems become one.")
    editions: tuple[str, ...] = setting(
        (), "Editions to run on; default: all that the data folder holds."
    )


def is_fused(path: str | Path) -> bool:
    """Whether a recipe, or a run folder's, is that of a fusion; not so where there is no recipe.

    Raises:
        RecipeError: The recipe is no readable TOML file.
    """
    path = Path(path)
    if path.is_dir():
        path = recipe_path(path)
        if not path.is_file():
            return False
    return "fusion" in read_content(path)


def read_fused_system(path: str | Path) -> FusedSystem:
    """Read a fusion's recipe, or the one inside a run folder.

    Raises:
        RecipeError: The recipe is wrong (all mistakes are listed), missing, or of a single system.
    """
    path = Path(path)
    if path.is_dir():
        path = recipe_path(path)
    if not is_fused(path):
        raise RecipeError(
            f"{path}: no recipe of a fusion (it has no [fusion]); "
            f"make one with {command('fuse', '--systems', 'runs/a', 'runs/b')}"
        )
    return read_recipe(path, FusedSystem)


def member_runs(run: str | Path, fusion: Fusion) -> list[Path]:
    """The run folders that a fusion's run folder names."""
    return [Path(os.path.normpath(Path(run).parent / system)) for system in fusion.systems]


def _text(weights: Sequence[float]) -> str:
    return ", ".join(f"{weight:g}" for weight in weights)
