"""Commands that run everything: run, demo."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dcase_asd.cli.app import Data, app
from dcase_asd.cli.console import Display, say
from dcase_asd.cli.evaluation import show_report
from dcase_asd.cli.submission import show_validation

if TYPE_CHECKING:
    from dcase_asd.steps.validate import Validation

Device = Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:1, or auto.")]


@app.command()
def run(
    recipe: Annotated[Path, typer.Argument(help="A system's recipe, or a submission's form.")],
    data: Data,
    runs: Annotated[Path, typer.Option("--runs", help="Folder of the run folders.")] = Path("runs"),
    out: Annotated[Path, typer.Option("--out", help="Folder for packages.")] = Path(
        "submissions/dist"
    ),
    device: Device = "auto",
) -> None:
    """Run all of a recipe: prepare, embed, score, evaluate.

    A submission's form is packaged and checked too. What is complete and unchanged is not done
    again, so a stopped run goes on where it was.

    Example: dcase-asd run submissions/systems/spectral.toml --data data
    """
    from dcase_asd.pipeline import is_submission, run_recipe, run_submission

    if is_submission(recipe):
        submission = run_submission(recipe, data, runs, out, device=device, progress=Display())
        done = submission.system
    else:
        submission, done = None, run_recipe(recipe, data, runs, device, Display())
    for report in done.evaluations:
        show_report(report)
    if not done.evaluations:
        say(f"{done.run}: scored; no clip's condition is known, so there is nothing to evaluate")
    if submission is not None:
        _finish(submission.validation)


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(help="Where data, runs and package go.")] = Path("demo"),
    data_only: Annotated[
        bool, typer.Option("--data-only", help="Only generate the recordings, into FOLDER itself.")
    ] = False,
) -> None:
    """Run the whole pipeline on a generated miniature of the challenge.

    The sounds are generated and stand for no real machine: the figures show that the pipeline
    works, and nothing about a detector.

    Example: dcase-asd demo
    """
    from dcase_asd.pipeline import DEMO_EDITION, make_demo_data, run_demo

    say("The sounds of this demo are generated; its figures say nothing about real machines.")
    if data_only:
        made = make_demo_data(folder, Display())
        say(f"{folder}: {sum(made.clips.values())} clips of {', '.join(made.clips)}")
        return
    # That the miniature is a part of each edition needs no saying here.
    done = run_demo(folder, Display(notes=False))
    shown, *others = sorted(done.system.evaluations, key=lambda each: each.edition != DEMO_EDITION)
    for report in others:
        say(f"{report.edition}, labels from {report.labels}: {report.summary()}")
    show_report(shown)
    _finish(done.validation)


def _finish(validation: Validation) -> None:
    show_validation(validation)
    if not validation.accepted():
        raise typer.Exit(1)
