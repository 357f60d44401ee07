"""The trials of a sweep: their recipes, where they run, what they gave."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from dcase_asd.errors import (
    ArtifactError,
    BusyError,
    DcaseAsdError,
    JobError,
    RecipeError,
    TrainingError,
)
from dcase_asd.files import read_json, write_json, write_text
from dcase_asd.progress import Progress
from dcase_asd.recipe.system import System
from dcase_asd.recipe.toml import lay_over, recipe_from, recipe_text
from dcase_asd.runs.cluster import Cluster, Queued, plan_jobs, queue_jobs
from dcase_asd.runs.costs import dev_cost, shift
from dcase_asd.runs.overlay import GIVEN, nested
from dcase_asd.runs.recipes import read_nodes
from dcase_asd.runs.runner import Runner, Setup
from dcase_asd.runs.side_by_side import Fleet, run_side_by_side
from dcase_asd.runs.space import Combination
from dcase_asd.runs.submissions import check_recipes
from dcase_asd.scores.table import scores_path

Method = Literal["grid", "random", "bayesian"]
Objective = Literal["dev", "robust"]

RECIPES = "trials"
"""Folder, in that of a sweep, of the recipes and of `STATE`."""
STATE = "sweep.json"
FAILURES = 3
"""Trials that fail before any succeeds, after which it is the sweep that is wrong."""


@dataclass(frozen=True)
class Search:
    """What a sweep varies and how it looks for the best.

    Attributes:
        values: Each ``table.name=`` and what it takes (see `runs.space`).
        method: ``grid`` takes all combinations, ``random`` draws them, ``bayesian`` has a Gaussian
            process propose them.
        objective: ``dev``, the official score of the development set, or ``robust``, how little
            scores of normal evaluation clips move from train clips, which needs no label.
        budget: Number of trials; 0 takes the whole grid, or `BUDGET`.
        seed: Of random draws.
        edition: Which is scored; empty takes the newest of the recipe, or of the data folder.
    """

    values: tuple[str, ...]
    method: Method = "grid"
    objective: Objective = "dev"
    budget: int = 0
    seed: int = 0
    edition: str = ""


@dataclass
class Trial:
    """A combination of a sweep.

    Attributes:
        name: Of its recipe and run folder.
        values: What it takes.
        cost: What the sweep makes small: the negative dev score, or the shift; None where it was
            not run to its end.
        problem: Why not.
    """

    name: str
    values: Combination
    cost: float | None = None
    problem: str = ""


@dataclass
class Sweep:
    """What a sweep found.

    Attributes:
        folder: Where its runs are.
        edition: Which was scored.
        objective: Of its search.
        trials: In the order of being tried.
        changed: Whether anything was run now.
        queued: Jobs of a cluster in which trials run, or wait to.
    """

    folder: Path
    edition: str
    objective: Objective
    trials: list[Trial] = field(default_factory=list)
    changed: bool = False
    queued: list[Queued] = field(default_factory=list)

    @property
    def best(self) -> Trial | None:
        """The trial of the smallest cost, of equal ones the first; None where none has ended."""
        known = [each for each in self.trials if each.cost is not None]
        return min(known, key=lambda each: each.cost or 0.0, default=None)

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON values."""
        return {
            "folder": str(self.folder),
            "edition": self.edition,
            "objective": self.objective,
            "best": None if self.best is None else self.best.name,
            "trials": [asdict(each) for each in self.trials],
            "changed": self.changed,
            "jobs": [asdict(each) for each in self.queued],
        }


@dataclass
class Trials:
    """Runs trials and keeps what they gave."""

    found: Sweep
    about: dict[str, Any]
    content: dict[str, Any]
    setup: Setup
    fleet: Fleet
    progress: Progress
    say: Callable[[str], None]
    cluster: Cluster | None = None

    @property
    def queues(self) -> bool:
        """Whether trials only wait in a queue when this has ended."""
        return self.cluster is not None and self.cluster.launcher == "slurm"

    def at_once(self, left: int) -> int:
        """Number of trials that run side by side, of those that are left."""
        return left if self.queues else min(len(self.fleet.places), left)

    def add(self, combinations: Sequence[Combination]) -> list[Trial]:
        """Write recipes of new trials."""
        first = len(self.found.trials) + 1
        name = self.content.get("name", "trial")
        new = [
            Trial(f"{name}_{number:03}", values)
            for number, values in enumerate(combinations, start=first)
        ]
        self.found.trials += new
        return new

    def run(self, trials: Sequence[Trial], search: Search, advance: Callable[[int], None]) -> None:
        """Run trials, side by side where there are several places for them."""
        size = max(self.at_once(len(trials)), 1)
        for start in range(0, len(trials), size):
            batch = trials[start : start + size]
            for each in batch:
                write_text(self.path(each), self.text(each))
            self.keep()
            self._check(batch)
            for each, problem in zip(batch, self._run(batch), strict=True):
                self._judge(each, problem, search.objective)
            self.keep()
            advance(len(batch))

    def path(self, trial: Trial) -> Path:
        """A trial's recipe."""
        return self.found.folder / RECIPES / f"{trial.name}.toml"

    def text(self, trial: Trial) -> str:
        """The text of a trial's recipe."""
        system = self.system(trial)
        values = ", ".join(f"{name} = {json.dumps(of)}" for name, of in trial.values.items())
        return f"# A trial of a sweep: {values}\n\n{recipe_text(system)}"

    def system(self, trial: Trial) -> System:
        """A trial's system, on the edition that is compared."""
        system = system_of(self.content, trial.name, trial.values, trial.name)
        return replace(system, editions=(self.found.edition,))

    def keep(self) -> None:
        """Write what the trials gave."""
        trials = [asdict(each) for each in self.found.trials]
        write_json(self.found.folder / RECIPES / STATE, {"sweep": self.about, "trials": trials})

    def _check(self, batch: Sequence[Trial]) -> None:
        """Check before the first trials that nothing is missing."""
        if not self.found.changed:
            check_recipes([self.path(each) for each in batch], self.setup, self.progress)
            self.found.changed = True

    def _run(self, batch: Sequence[Trial]) -> list[str]:
        """Run trials; returns what went wrong with each."""
        recipes = [self.path(each) for each in batch]
        if self.cluster is not None:
            return self._queue(batch, self.cluster)
        if self.fleet:
            try:
                run_side_by_side(recipes, self.setup, self.fleet, self.say, keep_going=True)
            except TrainingError as error:
                return [str(error)] * len(batch)
            return [""] * len(batch)
        problems = []
        for node in read_nodes(recipes):
            problems.append("")
            try:
                Runner(self.setup, self.progress).run(node, (self.found.edition,))
            except BusyError:
                raise
            except DcaseAsdError as error:
                problems[-1] = str(error)
        return problems

    def _queue(self, batch: Sequence[Trial], cluster: Cluster) -> list[str]:
        """Queue the jobs of trials that have no scores yet; local ones have ended then."""
        problems = []
        for trial in batch:
            problems.append("")
            if self._is_scored(trial):
                continue
            jobs = plan_jobs([self.path(trial)], self.setup, self.fleet, cluster, Path())
            try:
                self.found.queued += queue_jobs(jobs, self.setup.runs, cluster)
            except JobError as error:
                problems[-1] = str(error)
        return problems

    def _is_scored(self, trial: Trial) -> bool:
        path = scores_path(self.found.folder / trial.name, self.found.edition)
        return path.with_suffix(".json").is_file()

    def _judge(self, trial: Trial, problem: str, objective: Objective) -> None:
        """Give a trial its cost; one that failed has the reason in its place.

        Raises:
            TrainingError: The first trials failed, all of them.
        """
        if self.queues and not self._is_scored(trial):
            return  # its jobs wait, or run
        run = self.found.folder / trial.name
        measure = dev_cost if objective == "dev" else shift
        try:
            trial.cost, trial.problem = measure(run, self.found.edition), ""
        except DcaseAsdError as error:
            trial.problem = problem or str(error)
            self.progress.note(f"{trial.name}: failed: {trial.problem}")
            if sum(bool(each.problem) for each in self.found.trials) >= FAILURES:
                self.refuse_failure()

    def refuse_failure(self) -> None:
        """Stop where no trial has come to its end.

        Raises:
            TrainingError: With what was wrong with the last.
        """
        failed = [each for each in self.found.trials if each.problem]
        if failed and all(each.cost is None for each in self.found.trials):
            self.keep()
            raise TrainingError(
                f"{self.found.folder}: the first {len(failed)} trial(s) failed, of which "
                f"{failed[-1].name}: {failed[-1].problem}"
            )


def system_of(
    content: dict[str, Any], name: str, values: Combination, source: str | Path
) -> System:
    """The system of a combination.

    Raises:
        RecipeError: Its values do not go together, or are of a table that the recipe lacks.
    """
    changed, given = copy.deepcopy(content) | {"name": name}, dict[str, Any]()
    for of, value in values.items():
        table = of.partition(".")[0]
        if table not in changed and table != "score":
            raise RecipeError(
                f"{source}: the recipe has no [{table}], which {GIVEN} {of}=… is a value of; add "
                "that table"
            )
        lay_over(given, nested(of, value))
    lay_over(changed, given)
    told = ", ".join(f"{of}={value}" for of, value in values.items())
    return recipe_from(changed, System, f"{source} with {told}")


def read_trials(folder: Path, about: dict[str, Any]) -> list[Trial]:
    """The trials of a folder.

    Raises:
        ArtifactError: They are of another sweep.
    """
    before = read_json(folder / RECIPES / STATE)
    if before is None:
        return []
    after = json.loads(json.dumps(about))
    if before["sweep"] != after:
        was = before["sweep"]
        names = [name for name in was.keys() | after.keys() if was.get(name) != after.get(name)]
        raise ArtifactError(
            f"{folder}: holds another sweep, whose {', '.join(sorted(names))} differ; give another "
            "folder with --out, or the same flags to go on with that one"
        )
    return [Trial(**each) for each in before["trials"]]
