"""How the plan of a run is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dcase_asd.cli.display import say, show_table

if TYPE_CHECKING:
    from dcase_asd.runs.dry_run import Plan

GIGABYTE = 1e9
SMALLEST_TOLD = 0.1
"""In GB."""


def show_plan(plan: Plan) -> None:
    """Print a plan."""
    _show_systems(plan)
    if plan.submissions:
        show_table(
            ("submission", "edition", "system", "package"),
            [(each.label, each.edition, each.system, each.package) for each in plan.submissions],
        )
    _show_totals(plan)
    for assumption in plan.assumptions:
        say(f"based on: {assumption}")
    for problem in plan.needed:
        say(f"needed first: {problem}")


def _show_totals(plan: Plan) -> None:
    trained = [each for each in plan.systems if each.steps]
    measured = [each for each in trained if each.speed is not None]
    if measured:
        left = plan.total("hours_left")
        say(f"{left:.1f} hours of training are left on one device, at the clips/s of train.jsonl")
    if unmeasured := [each.name for each in trained if each.speed is None]:
        say(f"no speed was measured yet, so no hours are told: {', '.join(unmeasured)}")
    if known := [each for each in plan.systems if each.disk is not None]:
        whole = plan.total("disk") / GIGABYTE
        size = f"{whole:.1f}" if whole >= SMALLEST_TOLD else f"less than {SMALLEST_TOLD}"
        line = f"checkpoints and embeddings take {size} GB of disk"
        if state := max(each.state or 0.0 for each in known) / GIGABYTE:
            line += f", and each system up to {state:.1f} GB more while it is fine-tuned"
        say(line)


def _show_systems(plan: Plan) -> None:
    numbers = ("train clips", "steps", "clips seen", "clips/s", "hours left", "GB")
    rows = [
        (
            each.name,
            each.stand.training if not each.fuses else f"fuses {len(each.fuses)}",
            each.stand.embeddings,
            each.stand.scores,
            _count(each.clips),
            _count(each.steps),
            _count(each.seen),
            _figure(each.speed),
            _figure(each.hours_left),
            _figure(None if each.disk is None else each.disk / GIGABYTE),
        )
        for each in plan.systems
    ]
    show_table(("system", "training", "embeddings", "scores", *numbers), rows, numbers=numbers)


def _count(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
