"""The command that tries many values of a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from dcase_asd.cli.app import AsJson, Data, Device, Workers, app
from dcase_asd.cli.display import Display, say, show_json
from dcase_asd.cli.run import Devices, Jobs, Launch, OverlayFile, pass_on
from dcase_asd.cli.runs import show_leaderboard


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
    workers: Workers = 2,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Run a recipe with many values, each combination a run of its own, and compare them.

    A stopped sweep goes on where it was; `runs` shows its folder again. Beside the best score
    stands what choosing the best is worth on machines that did not choose it.

    Example: dcase-asd sweep submissions/examples/spectral.toml --set score.neighbors=1,2,4
    """
    from dcase_asd.reports.leaderboard import read_leaderboard
    from dcase_asd.runs.runner import Setup
    from dcase_asd.runs.side_by_side import Fleet, device_groups
    from dcase_asd.runs.sweep import Search, run_sweep

    folder = out or Path("runs") / f"{recipe.stem}_sweep"
    search = Search(tuple(values or ()), method, objective, budget, seed, edition)
    setup = Setup(data, folder, device, workers, overlay)
    fleet = Fleet(device_groups(devices), jobs, launch)
    display = Display()
    found = run_sweep(recipe, folder, search, setup, fleet, display, pass_on)
    board = read_leaderboard(folder, found.edition, data=data, progress=display)
    if as_json:
        show_json(found.to_json() | {"leaderboard": board.to_json()})
    show_leaderboard(board)
    best = found.best
    told = ", ".join(f"{name}={value}" for name, value in best.values.items())
    by = "best dev score" if objective == "dev" else f"least shift ({best.cost:.3f}), no label"
    say(f"{folder / best.name}: {by} of {len(found.trials)}: {told}")
    if not found.changed:
        say("all was done already; nothing has changed")
