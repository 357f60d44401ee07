"""Sweeps: one system's recipe with many values, each combination a run of its own."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from dcase_asd.clips.manifest import manifest_path, read_manifest
from dcase_asd.editions.edition import load_edition
from dcase_asd.errors import (
    ArtifactError,
    BusyError,
    DcaseAsdError,
    RecipeError,
    TrainingError,
)
from dcase_asd.files import only_writer, read_json, write_json, write_text
from dcase_asd.progress import Progress, Silent
from dcase_asd.recipe.subset import EVERYTHING
from dcase_asd.recipe.system import System
from dcase_asd.recipe.toml import lay_over, read_content, recipe_from, recipe_text
from dcase_asd.runs.costs import dev_cost, shift
from dcase_asd.runs.overlay import GIVEN, nested
from dcase_asd.runs.recipes import Node, read_nodes
from dcase_asd.runs.requirements import editions_of
from dcase_asd.runs.runner import Runner, Setup
from dcase_asd.runs.side_by_side import Fleet, run_side_by_side
from dcase_asd.runs.space import Combination, draw, grid, propose, read_space
from dcase_asd.runs.submissions import check_recipes

Method = Literal["grid", "random", "bayesian"]
Objective = Literal["dev", "robust"]

RECIPES = "trials"
"""Folder, in that of a sweep, of the recipes and of `STATE`."""
STATE = "sweep.json"
BUDGET = 20
"""Trials where nothing is said and there is no grid to come to an end."""
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
    """

    folder: Path
    edition: str
    objective: Objective
    trials: list[Trial] = field(default_factory=list)
    changed: bool = False

    @property
    def best(self) -> Trial:
        """The trial of the smallest cost, of equal ones the first."""
        known = [each for each in self.trials if each.cost is not None]
        return min(known, key=lambda each: each.cost or 0.0)

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON values."""
        return {
            "folder": str(self.folder),
            "edition": self.edition,
            "objective": self.objective,
            "best": self.best.name,
            "trials": [asdict(each) for each in self.trials],
            "changed": self.changed,
        }


def run_sweep(
    recipe: str | Path,
    folder: str | Path,
    search: Search,
    setup: Setup,
    fleet: Fleet | None = None,
    progress: Progress | None = None,
    say: Callable[[str], None] = print,
) -> Sweep:
    """Try combinations of values of a recipe, each as a run below a folder.

    A sweep that was stopped at any moment goes on where it was. Trials that ended are not run
    again; those that failed are.

    Args:
        recipe: Recipe of a single system.
        folder: Where the recipes and runs go; a sweep has it to itself.
        search: What is varied, and how.
        setup: Where to read and to compute; its overlay and values are under those of the sweep.
        fleet: Which GPUs, and how many trials at once.
        progress: Where to tell how far it is.
        say: Is given each line of trials that run in processes of their own.

    Raises:
        RecipeError: The recipe, a value or a combination is wrong, or something is missing.
        ArtifactError: The folder holds another sweep, or is written by another process.
        DcaseAsdError: What stopped every one of the first trials.
    """
    folder, progress = Path(folder), progress or Silent()
    content = _content(Path(recipe), setup)
    clustered = _clustered(Path(recipe), content, setup)
    space = read_space(search.values)
    combinations = grid(space) if search.method == "grid" else []
    ends = [{each.name: each.ends()[0] for each in space}]
    for values in combinations or ends:
        _system(content, "trial", values, recipe)
    if search.budget and len(combinations) > search.budget:
        raise RecipeError(
            f"the grid has {len(combinations)} combinations and --budget is {search.budget}; give "
            "fewer values, a larger budget, or --method random"
        )
    count = search.budget or len(combinations) or BUDGET
    setup = replace(setup, runs=folder, overlay=None, values=(), subset=EVERYTHING)
    about = {"recipe": content, **asdict(search)}
    if search.method != "grid":  # a longer search goes on with what was found
        del about["budget"]
    with only_writer(folder / RECIPES):
        trials = _read_trials(folder, about)
        for name, text in clustered.items():
            write_text(folder / RECIPES / name, text)
        Runner(setup, progress).prepare()
        setup = replace(setup, prepared=True)
        edition = _edition(search.edition, content, recipe, setup.data)
        found = Sweep(folder, edition, search.objective, trials)
        work = _Trials(found, about, content, setup, fleet or Fleet(), progress, say)
        with progress.bar("Sweep", count, "trials") as advance:
            advance(sum(each.cost is not None for each in trials))
            work.run([each for each in trials if each.cost is None], search, advance)
            while len(trials) < count:
                tried = [each.values for each in trials]
                at_once = min(work.at_once, count - len(trials))
                if search.method == "bayesian":
                    costs = [each.cost for each in trials]
                    new = list(propose(space, tried, costs, search.seed, at_once))
                elif search.method == "random":
                    new = list[Combination]()
                    while len(new) < at_once and (
                        drawn := draw(space, [*tried, *new], search.seed)
                    ):
                        new.append(drawn)
                else:
                    new = combinations[len(trials) : len(trials) + at_once]
                if not new:
                    progress.note(f"all {len(trials)} combinations were tried; there are no more")
                    break
                work.run(work.add(new), search, advance)
        work.refuse_failure()
    return found


@dataclass
class _Trials:
    """Runs trials and keeps what they gave."""

    found: Sweep
    about: dict[str, Any]
    content: dict[str, Any]
    setup: Setup
    fleet: Fleet
    progress: Progress
    say: Callable[[str], None]

    @property
    def at_once(self) -> int:
        """Number of trials that run side by side."""
        return len(self.fleet.places)

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
        for start in range(0, len(trials), self.at_once):
            batch = trials[start : start + self.at_once]
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
        system = _system(self.content, trial.name, trial.values, trial.name)
        system = replace(system, editions=(self.found.edition,))  # the others are not compared
        values = ", ".join(f"{name} = {json.dumps(of)}" for name, of in trial.values.items())
        return f"# A trial of a sweep: {values}\n\n{recipe_text(system)}"

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

    def _judge(self, trial: Trial, problem: str, objective: Objective) -> None:
        """Give a trial its cost; one that failed has the reason in its place.

        Raises:
            TrainingError: The first trials failed, all of them.
        """
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
        if all(each.cost is None for each in self.found.trials):
            self.keep()
            failed = [each for each in self.found.trials if each.problem]
            raise TrainingError(
                f"{self.found.folder}: the first {len(failed)} trial(s) failed, of which "
                f"{failed[-1].name}: {failed[-1].problem}"
            )


def _content(recipe: Path, setup: Setup) -> dict[str, Any]:
    """The content of a system's recipe with the changes of the setup."""
    content = setup.changes().over(read_content(recipe))
    if "fusion" in content or "system" in content:
        what = "a fusion" if "fusion" in content else "a submission's form"
        raise RecipeError(
            f"{recipe}: {what}; a sweep varies one system: give its recipe, and fuse the best runs"
        )
    return content


def _clustered(recipe: Path, content: dict[str, Any], setup: Setup) -> dict[str, str]:
    """Recipes of the embeddings that trials cluster: name of the file beside theirs -> text."""
    (node,) = read_nodes([recipe], setup.changes())
    found = {f"{each.name}.toml": recipe_text(each.recipe) for each in node.members}
    for name in found:
        content["train"]["pseudo_run"] = name
    return found


def _system(content: dict[str, Any], name: str, values: Combination, source: str | Path) -> System:
    """The system of a combination.

    Raises:
        RecipeError: Its values do not go together, or are of a table that the recipe lacks.
    """
    changed = copy.deepcopy(content) | {"name": name}
    for of, value in values.items():
        table = of.partition(".")[0]
        if table not in changed and table != "score":
            raise RecipeError(
                f"{source}: the recipe has no [{table}], which {GIVEN} {of}=… is a value of; add "
                "that table"
            )
        lay_over(changed, nested(of, value))
    told = ", ".join(f"{of}={value}" for of, value in values.items())
    return recipe_from(changed, System, f"{source} with {told}")


def _edition(wanted: str, content: dict[str, Any], source: str | Path, data: Path) -> str:
    """The edition that trials are compared on."""
    if wanted:
        return load_edition(wanted).name
    system = _system(content, "trial", {}, source)
    clips = system.subset.select(read_manifest(data), manifest_path(data))
    return max(editions_of(Node(Path(source), system), clips, system.editions))


def _read_trials(folder: Path, about: dict[str, Any]) -> list[Trial]:
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
