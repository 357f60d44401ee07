"""The command that tries many values of a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from dcase_asd.cli.app import AsJson, Data, Device, Workers, app
from dcase_asd.cli.display import Display, say, show_json, show_table
from dcase_asd.cli.jobs import (
    Gpus,
    Launcher,
    Nodes,
    Partition,
    SlurmOptions,
    TimeLimit,
    check_fleet,
    read_cluster,
    show_jobs,
)
from dcase_asd.cli.plan import show_plan
from dcase_asd.cli.run import Devices, Jobs, Launch, OverlayFile, pass_on
from dcase_asd.cli.runs import show_leaderboard

if TYPE_CHECKING:
    from dcase_asd.runs.sweep import SweepPlan


@app.command()
def sweep(
    recipe: Annotated[Path, typer.Argument(help="Recipe of a single system.")],
    *,
    values: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="TABLE.NAME=VALUES",
            help="Values to try: train.learning_rate=1e-5,5e-5 these; train.margin=0.1:0.5 any "
            "between; 1e-6:1e-3:log by factors; 0.1:0.5:5 five for a grid; may be repeated.",
        ),
    ] = None,
    method: Annotated[
        Literal["grid", "random", "bayesian"],
        typer.Option(
            "--method",
            help="grid tries all combinations, random draws them, bayesian has a Gaussian process "
            "propose them.",
        ),
    ] = "grid",
    budget: Annotated[
        int,
        typer.Option("--budget", min=0, help="Number of trials; 0 tries the whole grid, else 20."),
    ] = 0,
    objective: Annotated[
        Literal["dev", "robust"],
        typer.Option(
            "--objective",
            help="dev makes the official dev score large; robust, which needs no label, makes "
            "scores of normal evaluation clips move little from train clips.",
        ),
    ] = "dev",
    edition: Annotated[
        str,
        typer.Option("--edition", help="Edition that trials are compared on; default: the newest."),
    ] = "",
    data: Data,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", help="Folder of the trials' runs; default: runs/NAME_sweep of the recipe."
        ),
    ] = None,
    overlay: OverlayFile = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of all random draws.")] = 0,
    devices: Devices = "",
    jobs: Jobs = 0,
    launch: Launch = "",
    launcher: Launcher = None,
    partition: Partition = "",
    gpus: Gpus = 1,
    nodes: Nodes = 1,
    limit: TimeLimit = "24:00:00",
    slurm: SlurmOptions = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Only list the trials, their values, what they take."),
    ] = False,
    workers: Workers = 2,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Run a recipe with many values, each combination a run of its own, and compare them.

    A stopped sweep goes on where it was; `runs` shows its folder again. Beside the best score
    stands what choosing the best is worth on machines that did not choose it. With --launcher slurm
    the trials are queued; the same command again shows those that have ended.

    Example: dcase-asd sweep submissions/examples/spectral.toml --set score.neighbors=1,2,4
    """
    from dcase_asd.reports.leaderboard import read_leaderboard
    from dcase_asd.runs.runner import Setup
    from dcase_asd.runs.side_by_side import Fleet, device_groups
    from dcase_asd.runs.sweep import plan_sweep, run_sweep
    from dcase_asd.runs.trials import Search

    folder = out or Path("runs") / f"{recipe.stem}_sweep"
    search = Search(tuple(values or ()), method, objective, budget, seed, edition)
    setup = Setup(data, folder, device, workers, overlay)
    fleet = Fleet(device_groups(devices), jobs, launch)
    cluster = read_cluster(launcher, partition, gpus, nodes, limit, slurm or [])
    if cluster is not None:
        check_fleet(fleet)
    if dry_run:
        _show_plan(plan_sweep(recipe, folder, search, setup, fleet, cluster), folder, as_json)
        return
    display = Display()
    found = run_sweep(recipe, folder, search, setup, fleet, display, pass_on, cluster=cluster)
    if found.queued and cluster is not None and cluster.launcher == "slurm":
        show_jobs(found.queued, folder)
    best = found.best
    if best is None:
        if as_json:
            show_json(found.to_json())
        say(f"{folder}: no trial has ended yet; the same command shows those that have")
        return
    board = read_leaderboard(folder, found.edition, data=data, progress=display)
    if as_json:
        show_json(found.to_json() | {"leaderboard": board.to_json()})
    show_leaderboard(board)
    told = ", ".join(f"{name}={value}" for name, value in best.values.items())
    by = "best dev score" if objective == "dev" else f"least shift ({best.cost:.3f}), no label"
    ended = sum(each.cost is not None for each in found.trials)
    say(f"{folder / best.name}: {by} of {ended}: {told}")
    if waiting := sum(each.cost is None and not each.problem for each in found.trials):
        say(f"{waiting} trial(s) have not ended yet; the same command shows those that have")
    if not found.changed:
        say("all was done already; nothing has changed")


def _show_plan(planned: SweepPlan, folder: Path, as_json: bool) -> None:
    if as_json:
        show_json(planned.to_json())
        return
    names = list(planned.trials[0].values)
    rows = [(each.name, *map(str, each.values.values())) for each in planned.trials]
    show_table(("trial", *names), rows)
    if planned.later:
        say(f"{planned.later} more: their values depend on what those before give")
    show_plan(planned.plan)
    if planned.jobs:
        show_jobs(planned.jobs, folder)
