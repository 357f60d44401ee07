"""How a plan is shown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dcase_asd.cli.console import say, show_json, show_table

if TYPE_CHECKING:
    from dcase_asd.pipeline import Setup
    from dcase_asd.pipeline.plan import Plan

GIGABYTE = 1e9


def show_plan(
    recipes: Sequence[Path], setup: Setup, out: Path, tflops: float | None, as_json: bool
) -> None:
    """Make a plan and print it."""
    from dcase_asd.pipeline.plan import TFLOPS, plan_recipes

    plan = plan_recipes(recipes, setup, out, TFLOPS if tflops is None else tflops)
    if as_json:
        show_json(plan.to_json())
        return
    _show_systems(plan)
    if plan.submissions:
        show_table(
            ("submission", "edition", "system", "package"),
            [(each.label, each.edition, each.system, each.package) for each in plan.submissions],
        )
    single = [each for each in plan.systems if not each.fuses]
    unknown = [each.name for each in single if each.hours is None]
    if len(unknown) < len(single):
        _show_totals(plan)
    if unknown:
        say(f"not estimated, as they start from no published weights: {', '.join(unknown)}")
    for assumption in plan.assumptions:
        say(f"based on: {assumption}")
    for problem in plan.needed:
        say(f"needed first: {problem}")


def _show_totals(plan: Plan) -> None:
    state = max(each.state or 0.0 for each in plan.systems) / GIGABYTE
    hours, left, disk = (plan.total(name) for name in ("hours", "hours_left", "disk"))
    say(
        f"in all {hours:.1f} GPU hours, of which {left:.1f} are left; {disk / GIGABYTE:.1f} GB of "
        f"disk, and up to {state:.1f} GB more for each system while it is fine-tuned"
    )
    say(
        "GPU hours: (3 x seconds trained on + seconds evaluated and embedded) x operations of the "
        "network in a second of audio / speed; disk: checkpoints and embeddings in float32"
    )


def _show_systems(plan: Plan) -> None:
    numbers = ("train clips", "steps", "clips seen", "GPU h", "left", "GB")
    rows = [
        (
            each.name,
            each.stand.training if not each.fuses else f"fuses {len(each.fuses)}",
            each.stand.embeddings,
            each.stand.scores,
            _count(each.clips),
            _count(each.steps),
            _count(each.seen),
            _figure(each.hours),
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
