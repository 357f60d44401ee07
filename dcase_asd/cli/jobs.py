"""Flags of jobs of a cluster, and how jobs that were queued are shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from dcase_asd.cli.display import Display, say, show_json, show_table

if TYPE_CHECKING:
    from dcase_asd.runs.cluster import Cluster, Queued
    from dcase_asd.runs.runner import Setup
    from dcase_asd.runs.side_by_side import Fleet

_PANEL: dict[str, Any] = {"rich_help_panel": "Jobs of a cluster"}

Launcher = Annotated[
    Literal["slurm", "local"] | None,
    typer.Option(
        "--launcher",
        help="Queue every system as a job, of Slurm, or here one after another; with --dry-run "
        "show the scripts.",
        **_PANEL,
    ),
]
Partition = Annotated[
    str, typer.Option("--partition", help="Partition of Slurm; default: the cluster's.", **_PANEL)
]
Gpus = Annotated[
    int, typer.Option("--gpus", min=0, help="GPUs of a training, on each node.", **_PANEL)
]
Nodes = Annotated[int, typer.Option("--nodes", min=1, help="Machines of a training.", **_PANEL)]
TimeLimit = Annotated[
    str,
    typer.Option("--time", help="After which a job saves and is queued again.", **_PANEL),
]
SlurmOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--slurm",
        metavar="NAME=VALUE",
        help="Further option of sbatch, such as account=lab or mem=64G; may be repeated.",
        **_PANEL,
    ),
]


def read_cluster(
    launcher: Launcher, partition: str, gpus: int, nodes: int, limit: str, slurm: list[str]
) -> Cluster | None:
    """Where jobs go; None where there is no launcher."""
    if launcher is None:
        given = {"--partition": partition, "--nodes": nodes > 1, "--slurm": slurm}
        if wrong := [flag for flag, value in given.items() if value]:
            raise typer.BadParameter("goes with --launcher slurm", param_hint=", ".join(wrong))
        return None
    from dcase_asd.runs.cluster import OWN, Cluster, read_minutes

    pairs = [each.partition("=") for each in slurm]
    if wrong := [name for name, equals, _ in pairs if not (name and equals)]:
        raise typer.BadParameter(
            f"{wrong[0]!r} is not of the form name=value", param_hint="--slurm"
        )
    if launcher == "local" and nodes > 1:
        raise typer.BadParameter("local jobs have one machine", param_hint="--nodes")
    options = {name.lstrip("-").replace("_", "-"): value for name, _, value in pairs}
    for name in options.keys() & OWN.keys():
        way = f"give {OWN[name]}" if OWN[name] else "every job has its own, so leave it out"
        raise typer.BadParameter(f"{name}: {way}", param_hint="--slurm")
    return Cluster(launcher, partition, gpus, nodes, read_minutes(limit), options)


def check_fleet(fleet: Fleet) -> None:
    """Refuse GPUs of this machine beside those of jobs."""
    if fleet.devices or fleet.jobs:
        raise typer.BadParameter(
            "go with systems of this machine; a job is given its GPUs by --gpus",
            param_hint="--devices, --jobs",
        )


def queue(
    recipes: list[Path],
    setup: Setup,
    fleet: Fleet,
    out: Path,
    cluster: Cluster,
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Queue the jobs of recipes and say which; in a dry run print their scripts."""
    check_fleet(fleet)
    from dcase_asd.runs.cluster import plan_jobs, queue_jobs
    from dcase_asd.runs.submissions import check_recipes

    if not dry_run:
        check_recipes(recipes, setup, Display())
    planned = plan_jobs(recipes, setup, fleet, cluster, out)
    queued = queue_jobs(planned, setup.runs, cluster, dry_run=dry_run)
    if as_json:
        show_json({"jobs": [asdict(each) for each in queued]})
    show_jobs(queued, setup.runs)


def show_jobs(queued: Sequence[Queued], runs: Path) -> None:
    """Say which jobs are queued; of a dry run print the scripts."""
    from dcase_asd.runs.cluster import FOLDER

    if scripts := [each for each in queued if each.script]:
        for each in scripts:
            say(f"### {each.job.name}\n{each.script}")
        return
    rows = [
        (
            each.job.name,
            each.identity if each.new else f"{each.identity} (queued before)",
            ", ".join(each.job.after) or "-",
            f"{each.job.nodes} x {each.job.gpus}",
        )
        for each in queued
    ]
    show_table(("job", "number", "after", "GPUs"), rows)
    say(f"what they say is in {runs / FOLDER}")
