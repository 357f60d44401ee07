"""The commands that run recipes, and how what they did is shown."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dcase_asd.cli.app import AsJson, Data, Device, Part, Values, Workers, app
from dcase_asd.cli.display import Display, say, show_json, show_table
from dcase_asd.cli.evaluate import show_report
from dcase_asd.cli.jobs import (
    Gpus,
    Launcher,
    Nodes,
    Partition,
    SlurmOptions,
    TimeLimit,
    queue,
    read_cluster,
)
from dcase_asd.cli.plan import show_plan
from dcase_asd.cli.submit import show_validation
from dcase_asd.errors import command
from dcase_asd.recipe.subset import Subset

if TYPE_CHECKING:
    from dcase_asd.runs.runner import Setup, SystemRun
    from dcase_asd.runs.side_by_side import Fleet
    from dcase_asd.runs.submissions import Submissions
    from dcase_asd.submission.validate import Validation


OverlayFile = Annotated[
    Path | None,
    typer.Option("--overlay", help="A file of changes to all recipes: submissions/mini.toml."),
]
Devices = Annotated[
    str,
    typer.Option(
        "--devices", help="GPUs that systems take in turn: 0,1,2,3, or '0,1 2,3' for two each."
    ),
]
Jobs = Annotated[
    int,
    typer.Option("--jobs", min=0, help="Systems at once; 0 runs one on each of --devices."),
]
Launch = Annotated[
    str,
    typer.Option(
        "--launch", help="What starts a training, such as 'accelerate launch --num_processes 2'."
    ),
]


@app.command()
def run(
    recipes: Annotated[
        list[Path],
        typer.Argument(
            metavar="RECIPE", help="Recipes of systems, forms of submissions, or preset:NAME."
        ),
    ],
    *,
    data: Data,
    runs: Annotated[Path, typer.Option("--runs", help="Folder of the run folders.")] = Path("runs"),
    out: Annotated[Path, typer.Option("--out", help="Folder for packages.")] = Path(
        "submissions/dist"
    ),
    overlay: OverlayFile = None,
    values: Values = None,
    part: Part,
    devices: Devices = "",
    jobs: Jobs = 0,
    launch: Launch = "",
    launcher: Launcher = None,
    partition: Partition = "",
    gpus: Gpus = 1,
    nodes: Nodes = 1,
    limit: TimeLimit = "24:00:00",
    slurm: SlurmOptions = None,
    only: Annotated[
        str,
        typer.Option("--only", help="Run only these single systems: beats_01,beats_02, or all."),
    ] = "",
    mini: Annotated[
        bool,
        typer.Option(
            "--mini",
            help="Run tiny networks on generated recordings, in mini/ where no folder is given.",
        ),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace fusions and packaged systems that differ.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Only say what is done, what is to do, what it takes."),
    ] = False,
    tflops: Annotated[
        float | None,
        typer.Option("--tflops", help="Is not needed any more: --dry-run tells measured speeds."),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Only prepare, and check that nothing is missing.")
    ] = False,
    train_only: Annotated[
        bool,
        typer.Option(
            "--train-only",
            help="Only fine-tune, after `prepare`: what `accelerate launch` or torchrun start.",
        ),
    ] = False,
    prepared: Annotated[
        bool, typer.Option("--prepared", help="Do not look through the data folder again.")
    ] = False,
    workers: Workers = 2,
    brief: Annotated[
        bool, typer.Option("--brief", help="One line for each result instead of tables.")
    ] = False,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Run all of a recipe: prepare, fine-tune, embed, score, fuse, evaluate.

    The systems of submissions' forms are packaged and checked, too.
    What is complete and unchanged is not done again: a stopped run goes on.

    Example: dcase-asd run submissions/submission_1.toml --data data --dry-run
    """
    from dcase_asd.runs.recipes import read_all
    from dcase_asd.runs.runner import Setup
    from dcase_asd.runs.side_by_side import Fleet, device_groups

    if mini:
        data, runs, out, overlay = _miniature(recipes, data, runs, out, overlay)
        if not dry_run:
            _generate(recipes, data)
        workers, overwrite = 0, True
    setup = Setup(
        data, runs, device, workers, overlay, prepared, overwrite, tuple(values or ()),
        Subset(**part),
    )  # fmt: skip
    if values or part:
        read_all(recipes, setup.changes())  # that none has the table is told before anything runs
    names = tuple(re.findall(r"[^,\s]+", only))
    fleet = Fleet(device_groups(devices), jobs, launch, names)
    cluster = read_cluster(launcher, partition, gpus, nodes, limit, slurm or [])
    if cluster is not None:
        queue(recipes, setup, fleet, out, cluster, dry_run=dry_run, as_json=as_json)
    elif dry_run:
        if tflops is not None:
            Display().note("--tflops is not needed any more: hours rest on measured clips/s")
        from dcase_asd.runs.dry_run import plan_recipes

        plan = plan_recipes(recipes, setup, out)
        if as_json:
            show_json(plan.to_json())
        else:
            show_plan(plan)
    elif check:
        _show_checked(recipes, setup)
    elif train_only:
        _only_train(recipes, setup)
    else:
        _run_all(recipes, setup, fleet, out, brief=brief, as_json=as_json)


def _miniature(
    recipes: list[Path], data: Path, runs: Path, out: Path, overlay: Path | None
) -> tuple[Path, Path, Path, Path]:
    """Folders and overlay of a miniature; years with two microphones have a folder of their own."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # networks so small are slowest on several
    from dcase_asd.runs.demo import miniature_editions
    from dcase_asd.runs.presets import recipe_file

    mini = Path("mini", *(miniature_editions(recipes) or ()))
    data = mini / "data" if data == Path("data") else data
    runs = mini / "runs" if runs == Path("runs") else runs
    out = mini / "dist" if out == Path("submissions/dist") else out
    above = (parent / "mini.toml" for parent in recipe_file(recipes[0]).resolve().parents)
    overlay = overlay or next((path for path in above if path.is_file()), None)
    if overlay is None:
        raise typer.BadParameter(
            f"there is no mini.toml above {recipes[0]}; give one with --overlay",
            param_hint="--mini",
        )
    return data, runs, out, overlay


def _generate(recipes: list[Path], data: Path) -> None:
    from dcase_asd.runs.demo import make_demo_data, miniature_editions

    make_demo_data(data, Display(), miniature_editions(recipes))


def pass_on(line: str) -> None:
    """Print a line of a process of its own on standard error."""
    print(line, file=sys.stderr, flush=True)


def _show_checked(recipes: list[Path], setup: Setup) -> None:
    from dcase_asd.runs.submissions import check_recipes

    names = check_recipes(recipes, setup, Display())
    say(f"{setup.data}: nothing is missing for {', '.join(names)}")


def _only_train(recipes: list[Path], setup: Setup) -> None:
    from dcase_asd.runs.recipes import is_submission
    from dcase_asd.runs.runner import finetune_recipe

    if any(map(is_submission, recipes)):
        raise typer.BadParameter("takes recipes of systems, not forms", param_hint="RECIPE")
    for recipe in recipes:
        _finetuned(recipe, finetune_recipe(recipe, setup, Display()))


def _run_all(
    recipes: list[Path], setup: Setup, fleet: Fleet, out: Path, *, brief: bool, as_json: bool
) -> None:
    from dcase_asd.runs.recipes import is_submission
    from dcase_asd.runs.runner import run_recipe
    from dcase_asd.runs.side_by_side import run_side_by_side
    from dcase_asd.runs.submissions import check_recipes

    if fleet:
        check_recipes(recipes, setup, Display())
        setup = replace(setup, prepared=True)
        names = run_side_by_side(recipes, setup, fleet, pass_on)
        if fleet.only:
            say(f"{setup.runs}: {', '.join(names)}: done; without --only the rest is made of them")
            return
    forms = [each for each in recipes if is_submission(each)]
    done = [run_recipe(each, setup, Display()) for each in recipes if each not in forms]
    if not as_json:
        for each in done:
            _show_system(each, brief)
    submitted = _run_forms(forms, setup, out) if forms else None
    if as_json:
        _show_json(done, submitted)
    elif submitted is not None:
        _show_submissions(submitted, brief)
    if submitted is not None and not all(each.accepted() for each in submitted.validations):
        raise typer.Exit(1)


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(help="Where data, runs and package go.")] = Path("demo"),
    data_only: Annotated[
        bool, typer.Option("--data-only", help="Only generate the recordings, into FOLDER itself.")
    ] = False,
    editions: Annotated[
        list[str] | None,
        typer.Option(
            "--edition",
            help="With --data-only: editions to generate, of which dcase2026 has a near and a far "
            "microphone. May be repeated. (dcase2020, dcase2024, dcase2025)",
        ),
    ] = None,
) -> None:
    """Run the whole pipeline on a generated miniature of the challenge.

    The sounds are generated and stand for no real machine: the figures show that the pipeline
    works, and nothing about a detector.

    Example: dcase-asd demo
    """
    from dcase_asd.runs.demo import DEMO_EDITION, make_demo_data, run_demo

    say("The sounds of this demo are generated; its figures say nothing about real machines.")
    if editions and not data_only:
        raise typer.BadParameter("goes with --data-only", param_hint="--edition")
    if data_only:
        made = make_demo_data(folder, Display(), editions)
        say(f"{folder}: {sum(made.clips.values())} clips of {', '.join(made.clips)}")
        return
    # That the miniature is a part of each edition needs no saying here.
    done = run_demo(folder, Display(notes=False))
    shown, *others = sorted(done.system.evaluations, key=lambda each: each.edition != DEMO_EDITION)
    for report in others:
        say(f"{report.edition}, labels from {report.labels}: {report.summary()}")
    show_report(shown)
    _finish(done.validation)


def _run_forms(forms: list[Path], setup: Setup, out: Path) -> Submissions:
    from dcase_asd.runs.submissions import run_submissions

    return run_submissions(forms, setup, out, Display())


def _finetuned(recipe: Path, changed: bool) -> None:
    from dcase_asd.training.finetune import is_main_process

    if is_main_process():
        say(f"{recipe}: {'fine-tuned' if changed else 'nothing is left to fine-tune'}")


def _show_system(done: SystemRun, brief: bool) -> None:
    for report in done.evaluations:
        if brief:
            say(f"{done.run}: {report.edition}, labels from {report.labels}: {report.summary()}")
        else:
            show_report(report)
    if not done.evaluations:
        say(f"{done.run}: scored; no clip's condition is known, so there is nothing to evaluate")
    if not done.changed:
        say(f"{done.run}: all was done already; nothing has changed")


def _show_submissions(done: Submissions, brief: bool) -> None:
    if len(done.submissions) == 1:
        _show_system(done.submissions[0].system, brief)
    else:
        _show_fitted(done)
    for validation in done.validations:
        show_validation(validation)
    if done.tables:
        shown = [path.name for path in done.tables if path.suffix == ".md"]
        say(f"{done.tables[0].parent}: tables of results, {', '.join(shown)}")
        _name_the_report([each.system for each in done.submissions])
    if len(done.submissions) > 1 and not any(each.changed for each in done.submissions):
        say("all was done already; nothing has changed")


def _name_the_report(systems: list[SystemRun]) -> None:
    runs: dict[str, list[str]] = {}
    for done in systems:
        for edition in sorted({report.edition for report in done.evaluations}):
            runs.setdefault(edition, []).append(str(done.run))
    for edition, of in runs.items():
        say(f"pictures of all: {command('report', *of, '--edition', edition)}")


def _show_fitted(done: Submissions) -> None:
    from dcase_asd.runs.tables import fitted_rows

    show_table(
        ("submission", "dev score", "left-out machines", "equal weights"),
        fitted_rows(done.results),
        title="scores, percent; left-out machines: of weights fitted without them",
        numbers=("dev score", "left-out machines", "equal weights"),
    )


def _show_json(systems: list[SystemRun], submitted: Submissions | None) -> None:
    submissions = [] if submitted is None else submitted.submissions
    show_json(
        {
            "systems": [_system_json(each) for each in systems],
            "submissions": [
                {
                    "label": each.label,
                    "package": str(each.submitted.archive),
                    **_system_json(each.system),
                    "changed": each.changed,
                }
                for each in submissions
            ],
            "packages": [
                {"package": str(each.package), "errors": each.errors, "warnings": each.warnings}
                for each in (submitted.validations if submitted is not None else [])
            ],
        }
    )


def _system_json(done: SystemRun) -> dict[str, object]:
    return {
        "run": str(done.run),
        "changed": done.changed,
        "evaluations": [report.to_json() for report in done.evaluations],
    }


def _finish(validation: Validation) -> None:
    show_validation(validation)
    if not validation.accepted():
        raise typer.Exit(1)
