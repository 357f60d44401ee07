"""The command that makes one system of several."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from dcase_asd.cli.app import AsJson, app
from dcase_asd.cli.display import Display, say, show_json, show_table

if TYPE_CHECKING:
    from dcase_asd.fusion.fuse import Fused
    from dcase_asd.fusion.result import FusionResult
    from dcase_asd.recipe.fusion import Fusion


LISTS = ("--systems", "--weights", "--always")
"""Options that take several values: repeated, with commas, or with spaces."""
NEGATIVE = r"-\.?\d"
"""Start of a negative number, which is a (wrong) weight and no option."""
NAMES_JOINED = 3
"""A fusion of up to so many systems is called by their names, one of more ``fusion``."""


class Method(StrEnum):
    """How weights are found; the values of `fused_system.Method`."""

    grid = "grid"
    bayesian = "bayesian"
    mean = "mean"
    minimum = "minimum"
    weights = "weights"


class Standardize(StrEnum):
    """Whose statistics standardise scores; the values of `fused_system.Standardization`."""

    train = "train"
    test = "test"


class _ListCommand(TyperCommand):
    """A command whose `LISTS` may be written with spaces: ``--systems a b`` names a and b."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Repeat an option before each value that follows it."""
        return super().parse_args(ctx, list(_repeated(args)))


def _repeated(arguments: Sequence[str]) -> Iterator[str]:
    option, values = "", 0
    for argument in arguments:
        name = argument.partition("=")[0]
        if name in LISTS:
            option, values = name, int("=" in argument)
        elif argument.startswith("-") and values and not re.match(NEGATIVE, argument):
            option = ""
        elif option:
            if values:
                yield option
            values += 1
        yield argument


@app.command(cls=_ListCommand)
def fuse(
    *,
    systems: Annotated[
        list[str],
        typer.Option(
            "--systems",
            metavar="RUN...",
            help="Run folders to fuse, with spaces or commas between them, or one each time.",
        ),
    ],
    edition: Annotated[
        str | None,
        typer.Option(
            "--edition",
            help="Year of the challenge, or a folder of one's own; default: the newest that all "
            "systems have scores of.",
        ),
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(
            "--run",
            help="Run folder to write to; default: beside the first system, with their names "
            f"joined by +, or called fusion for more than {NAMES_JOINED}.",
        ),
    ] = None,
    method: Annotated[
        Method | None,
        typer.Option(
            "--method",
            help="grid and bayesian search the weights with the best development score; minimum: "
            "the smallest standardised score; default: grid, or weights where these are given.",
        ),
    ] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(
            "--weights",
            metavar="NUMBER...",
            help="One for each system in their order: not negative, summing to 1.",
        ),
    ] = None,
    step: Annotated[float, typer.Option("--step", help="Of the grid, a fraction of 1.")] = 0.1,
    budget: Annotated[int, typer.Option("--budget", help="Most tries of bayesian.")] = 200,
    patience: Annotated[
        int, typer.Option("--patience", help="Tries without a better one that end bayesian.")
    ] = 60,
    seed: Annotated[int, typer.Option("--seed", help="Of every draw.")] = 0,
    resamples: Annotated[
        int,
        typer.Option("--resamples", help="For the spread of the weights; 0 leaves it out."),
    ] = 200,
    select: Annotated[
        str,
        typer.Option(
            "--select",
            metavar="RULE:N",
            help="robust:2 fuses the two systems whose scores of normal evaluation clips have "
            "moved least from train scores; best:2 the two with the best development scores.",
        ),
    ] = "",
    always: Annotated[
        list[str] | None,
        typer.Option(
            "--always", metavar="NAME...", help="Systems that --select keeps in any case."
        ),
    ] = None,
    standardize: Annotated[
        Standardize,
        typer.Option(
            "--standardize",
            help="By leave-one-out train scores; or by test scores, which is transductive and "
            "forbidden in the challenge.",
        ),
    ] = Standardize.train,
    ground_truth: Annotated[
        Path | None,
        typer.Option(
            "--ground-truth",
            help="Fit and report on these labels (see `evaluate`) instead of the development set.",
        ),
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Replace a fusion with other settings, all its editions."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Fuse the scores of several systems into those of one.

    Scores are standardised for each machine and section, then weighted. Weights are fitted to the
    development set alone and applied to the evaluation set as they are. Beside the score that they
    were fitted to, the table shows the estimate for machines that they were not fitted to.

    Example: dcase-asd fuse --systems runs/a runs/b runs/c --run runs/abc
    """
    from dcase_asd.fusion.fuse import fuse as run_step
    from dcase_asd.fusion.members import newest_common_edition

    runs = [Path(each) for each in _split(systems)]
    given = _numbers(weights or [])
    fusion = _fusion(
        systems=tuple(map(str, runs)),
        method=(method or (Method.weights if given else Method.grid)).value,
        weights=given,
        step=step,
        budget=budget,
        patience=patience,
        seed=seed,
        resamples=resamples,
        select=select,
        always=tuple(_split(always or [])),
        standardize=standardize.value,
    )
    done = run_step(
        runs,
        run or _default_run(runs),
        edition or newest_common_edition(runs),
        fusion,
        ground_truth,
        overwrite=overwrite,
        progress=Display(),
    )
    if as_json:
        show_json(_as_json(done))
    else:
        show_fused(done)


def _fusion(**values: Any) -> Fusion:
    from dcase_asd.errors import RecipeError
    from dcase_asd.recipe.fusion import Fusion

    try:
        return Fusion(**values)
    except ValueError as error:
        raise RecipeError(str(error)) from error


def _split(values: Sequence[str]) -> list[str]:
    """Values between commas; a folder that has a comma in its name is one."""
    parts = [
        part for value in values for part in ([value] if Path(value).is_dir() else value.split(","))
    ]
    return [part.strip().rstrip("/") or part for part in parts if part.strip()]


def _numbers(values: Sequence[str]) -> tuple[float, ...]:
    try:
        return tuple(float(part) for value in values for part in value.split(",") if part.strip())
    except ValueError as error:
        raise typer.BadParameter(
            f"{','.join(values)!r} are not numbers, such as 0.5,0.3,0.2", param_hint="--weights"
        ) from error


def _default_run(runs: Sequence[Path]) -> Path:
    names = [run.name for run in runs]
    joined = len(names) <= NAMES_JOINED and len(set(names)) == len(names)
    return runs[0].parent / ("+".join(names) if joined else "fusion")


def _as_json(done: Fused) -> dict[str, Any]:
    counts = {"scores": str(done.path), "train": done.train, "test": done.test}
    return {**counts, "changed": done.changed, **done.result.to_json()}


def show_fused(done: Fused) -> None:
    """Print the weights of a fusion and what its figures are worth."""
    result = done.result
    _show_systems(result)
    _show_figures(result, fitted=done.fusion.uses_labels)
    _show_robustness(result)
    state = "fused" if done.changed else "were fused already"
    say(f"{done.path}: {done.test} test and {done.train} train clips {state}")


def _show_systems(result: FusionResult) -> None:
    names = result.selected_from or result.systems
    alone = result.alone_before or result.alone
    of = {name: index for index, name in enumerate(result.systems)}
    rows = []
    for index, name in enumerate(names):
        row = [name, "-", "-", "-" if alone is None else f"{100 * alone[index]:.2f}"]
        if name in of and result.weights is not None:
            row[1] = f"{result.weights[of[name]]:.3g}"
        if name in of and result.bootstrap is not None:
            spread = result.bootstrap
            row[2] = f"{spread.lower[of[name]]:.3g} to {spread.upper[of[name]]:.3g}"
        rows.append(row)
    say(f"{result.edition}: {result.searched}; standardised by {_standardised(result)}")
    show_table(
        ("system", "weight", "95 % of resamples", "alone, %"),
        rows,
        numbers=("weight", "95 % of resamples", "alone, %"),
    )


def _show_figures(result: FusionResult, *, fitted: bool) -> None:
    if result.dev_score is None:
        return
    named = "fused, fitted to these labels" if fitted else "fused"
    rows = [(named, f"{100 * result.dev_score:.2f}")]
    left_out = result.leave_one_machine_out
    if left_out is not None:
        only = " of weights alone" if left_out.chosen else ""
        named = f"fused, leave-one-machine-out estimate{only}"
        rows.append((named, f"{100 * left_out.score:.2f}"))
        if left_out.last_checkpoints is not None:
            last = f"{100 * left_out.last_checkpoints:.2f}"
            rows.append(("the same with last checkpoints, which no label chose", last))
    if result.equal_weights is not None:
        rows.append(("equal weights", f"{100 * result.equal_weights:.2f}"))
    score = "mean of AUC and pAUC" if result.metric == "2020" else "official score"
    count = len(result.machines)
    say(f"{score} over {count} machine type{'s' * (count != 1)}; labels from {result.labels}")
    show_table(("", "percent"), rows, numbers=("percent",))


def _show_robustness(result: FusionResult) -> None:
    table = result.robustness
    if table is None:
        return
    say("robustness: how far normal clips have moved from train scores (smaller is better)")
    means = [f"{value:.2f}" for value in table.mean]
    cells = [[f"{value:.2f}" for value in row] for row in table.distance]
    if len(table.systems) <= len(table.machines):  # as few columns as can be
        columns = ("machine", *table.systems)
        rows = [
            [name, *row] for name, row in zip(table.machines, zip(*cells, strict=True), strict=True)
        ]
        rows.append(["mean", *means])
    else:
        columns = ("system", *table.machines, "mean")
        rows = [
            [name, *row, mean] for name, row, mean in zip(table.systems, cells, means, strict=True)
        ]
    show_table(columns, rows, numbers=columns[1:])


def _standardised(result: FusionResult) -> str:
    if result.standardisation == "train":
        return "leave-one-out train scores"
    return "test scores (transductive)"
