"""Sweeps: one system's recipe with many values, each combination a run of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from dcase_asd.clips.manifest import manifest_path, read_manifest
from dcase_asd.editions.edition import load_edition, official_editions
from dcase_asd.errors import RecipeError
from dcase_asd.files import only_writer, write_text
from dcase_asd.progress import Progress, Silent
from dcase_asd.recipe.subset import EVERYTHING
from dcase_asd.recipe.toml import read_content, recipe_text
from dcase_asd.runs.cluster import Cluster, Queued, plan_jobs, queue_jobs
from dcase_asd.runs.dry_run import Plan, at_speed, measured_speed, plan_recipes
from dcase_asd.runs.recipes import Node, read_nodes
from dcase_asd.runs.requirements import editions_of
from dcase_asd.runs.runner import Runner, Setup
from dcase_asd.runs.side_by_side import Fleet
from dcase_asd.runs.space import Combination, Dimension, draw, grid, propose, read_space
from dcase_asd.runs.trials import RECIPES, Search, Sweep, Trial, Trials, read_trials, system_of

BUDGET = 20
"""Trials where nothing is said and there is no grid to come to an end."""


def run_sweep(
    recipe: str | Path,
    folder: str | Path,
    search: Search,
    setup: Setup,
    fleet: Fleet | None = None,
    progress: Progress | None = None,
    say: Callable[[str], None] = print,
    *,
    cluster: Cluster | None = None,
) -> Sweep:
    """Try combinations of values of a recipe, each as a run below a folder.

    A sweep that was stopped at any moment goes on where it was. Trials that ended are not run
    again; those that failed are. In a queue of Slurm all trials are put at once; called again, it
    judges those that have ended and queues what is missing.

    Args:
        recipe: Recipe of a single system.
        folder: Where the recipes and runs go; a sweep has it to itself.
        search: What is varied, and how.
        setup: Where to read and to compute; its overlay and values are under those of the sweep.
        fleet: Which GPUs, and how many trials at once.
        progress: Where to tell how far it is.
        say: Is given each line of trials that run in processes of their own.
        cluster: Where trials go as jobs; None runs them here.

    Raises:
        RecipeError: The recipe, a value or a combination is wrong, or something is missing.
        LaunchError: A job cannot be queued.
        ArtifactError: The folder holds another sweep, or is written by another process.
        DcaseAsdError: What stopped every one of the first trials.
    """
    folder, progress = Path(folder), progress or Silent()
    wanted = _read(Path(recipe), search, setup, cluster)
    setup = replace(setup, runs=folder, overlay=None, values=(), subset=EVERYTHING)
    with only_writer(folder / RECIPES):
        trials = read_trials(folder, wanted.about)
        wanted.write_clustered(folder / RECIPES)
        Runner(setup, progress).prepare()
        setup = replace(setup, prepared=True)
        edition = _edition(wanted, setup.data)
        found = Sweep(folder, edition, search.objective, trials)
        work = Trials(
            found, wanted.about, wanted.content, setup, fleet or Fleet(), progress, say, cluster
        )
        with progress.bar("Sweep", wanted.count, "trials") as advance:
            advance(sum(each.cost is not None for each in trials))
            work.run([each for each in trials if each.cost is None], search, advance)
            while len(trials) < wanted.count:
                new = wanted.next(trials, work.at_once(wanted.count - len(trials)))
                if not new:
                    progress.note(f"all {len(trials)} combinations were tried; there are no more")
                    break
                work.run(work.add(new), search, advance)
        work.refuse_failure()
    return found


@dataclass
class SweepPlan:
    """What a sweep would do.

    Attributes:
        trials: Those that were tried, then those to come, as far as they are known.
        later: Number of trials whose values depend on what others give.
        plan: How far each trial is, and what it takes.
        jobs: Scripts that a cluster would be sent.
    """

    trials: list[Trial]
    later: int
    plan: Plan
    jobs: list[Queued] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON values."""
        return {
            "trials": [asdict(each) for each in self.trials],
            "later": self.later,
            **self.plan.to_json(),
            "jobs": [asdict(each) for each in self.jobs],
        }


def plan_sweep(
    recipe: str | Path,
    folder: str | Path,
    search: Search,
    setup: Setup,
    fleet: Fleet | None = None,
    cluster: Cluster | None = None,
) -> SweepPlan:
    """Which recipes a sweep would make, and what running them takes; nothing is written.

    Args:
        recipe: As for `run_sweep`, and so all others.
        folder: Where trials that were run are looked at; their speed, or that of runs beside the
            folder, tells how long the others take.
        search: What is varied, and how.
        setup: Where to read; a manifest is taken where there is one.
        fleet: What starts a training.
        cluster: Where trials would go as jobs.

    Raises:
        RecipeError: As `run_sweep`.
        ArtifactError: The folder holds another sweep.
    """
    folder, fleet = Path(folder), fleet or Fleet()
    wanted = _read(Path(recipe), search, setup, cluster)
    trials = read_trials(folder, wanted.about)
    setup = replace(setup, runs=folder, overlay=None, values=(), subset=EVERYTHING, prepared=True)
    found = Sweep(folder, _edition(wanted, setup.data), search.objective, trials)
    work = Trials(found, wanted.about, wanted.content, setup, fleet, Silent(), print, cluster)
    left, known = max(wanted.count - len(trials), 0), search.method != "bayesian"
    work.add(wanted.next(trials, left if known else work.at_once(left)) if left else [])
    with TemporaryDirectory() as aside:

        def kept(text: str) -> str:
            return text.replace(aside, str(folder / RECIPES))

        paths = [Path(aside) / f"{trial.name}.toml" for trial in trials]
        wanted.write_clustered(Path(aside))
        for path, trial in zip(paths, trials, strict=True):
            write_text(path, work.text(trial))
        plan = plan_recipes(paths, setup, folder)
        jobs: list[Queued] = []
        if cluster is not None:
            planned = plan_jobs(paths, setup, fleet, cluster, folder)
            planned = [replace(job, words=tuple(map(kept, job.words))) for job in planned]
            jobs = queue_jobs(planned, folder, cluster, dry_run=True)
    plan.needed = [kept(text) for text in plan.needed]
    of_trial = {trial.name: trial for trial in trials}
    for index, each in enumerate(plan.systems):
        if each.name not in of_trial:
            continue  # what trials cluster
        trial, speed = of_trial[each.name], each.speed
        system = work.system(trial)
        if speed is None and system.train is not None:
            speed = measured_speed(folder.parent, each.name, system)
        plan.systems[index] = replace(at_speed(each, speed), recipe=work.path(trial))
    return SweepPlan(trials, 0 if known else wanted.count - len(trials), plan, jobs)


@dataclass(frozen=True)
class _Wanted:
    """What a sweep is to do, read and checked."""

    source: Path
    search: Search
    content: dict[str, Any]
    clustered: dict[str, str]
    space: list[Dimension]
    combinations: list[Combination]
    count: int

    @property
    def about(self) -> dict[str, Any]:
        """What tells the sweep from others of its folder."""
        about = {"recipe": self.content, **asdict(self.search)}
        if self.search.method != "grid":  # a longer search goes on with what was found
            del about["budget"]
        return about

    def write_clustered(self, folder: Path) -> None:
        """Write the recipes of the embeddings that trials cluster beside theirs."""
        for name, text in self.clustered.items():
            write_text(folder / name, text)

    def next(self, trials: Sequence[Trial], at_once: int) -> list[Combination]:
        """Combinations that come after some trials; none where all were tried."""
        tried, seed = [each.values for each in trials], self.search.seed
        if self.search.method == "grid":
            return self.combinations[len(trials) : len(trials) + at_once]
        if self.search.method == "bayesian":
            costs = [each.cost for each in trials]
            return list(propose(self.space, tried, costs, seed, at_once))
        new = list[Combination]()
        while len(new) < at_once and (drawn := draw(self.space, [*tried, *new], seed)):
            new.append(drawn)
        return new


def _read(recipe: Path, search: Search, setup: Setup, cluster: Cluster | None) -> _Wanted:
    """Read and check what a sweep is to do, before it writes anything."""
    content = _content(recipe, setup)
    clustered = _clustered(recipe, content, setup)
    space = read_space(search.values)
    combinations = grid(space) if search.method == "grid" else []
    ends = [{each.name: each.ends()[0] for each in space}]
    for values in combinations or ends:
        system_of(content, "trial", values, recipe)
    if search.budget and len(combinations) > search.budget:
        raise RecipeError(
            f"the grid has {len(combinations)} combinations and --budget is {search.budget}; give "
            "fewer values, a larger budget, or --method random"
        )
    if search.method == "bayesian" and cluster is not None and cluster.launcher == "slurm":
        raise RecipeError(
            "--method bayesian proposes values by what trials before gave, and in a queue none has "
            "given anything; take --method random, or queue one job that runs the whole sweep"
        )
    count = search.budget or len(combinations) or BUDGET
    return _Wanted(recipe, search, content, clustered, space, combinations, count)


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


def _edition(wanted: _Wanted, data: Path) -> str:
    """The edition that trials are compared on."""
    if wanted.search.edition:
        return load_edition(wanted.search.edition).name
    system = system_of(wanted.content, "trial", {}, wanted.source)
    if not manifest_path(data).is_file():  # of a plan alone
        return max((load_edition(name).name for name in system.editions),
                   default=official_editions()[-1])  # fmt: skip
    clips = system.subset.select(read_manifest(data), manifest_path(data))
    return max(editions_of(Node(wanted.source, system), clips, system.editions))
