"""The command that makes one system of several."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from dcase_asd.cli.app import AsJson, app
from dcase_asd.cli.display import Display, say, show_json, show_table
from dcase_asd.cli.flags import Flags
from dcase_asd.errors import RecipeError
from dcase_asd.recipe.fusion import Fusion

if TYPE_CHECKING:
    from dcase_asd.fusion.fuse import Fused
    from dcase_asd.fusion.result import FusionResult


LISTS = ("--systems", "--weights", "--always")
"""Options that take several values: repeated, with commas, or with spaces."""
NEGATIVE = r"-\.?\d"
"""Start of a negative number, which is a (wrong) weight and no option."""
NAMES_JOINED = 3
"""A fusion of up to so many systems is called by their names, one of more ``fusion``."""


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


def _split(text: str) -> list[str]:
    """Names between commas; a folder that has a comma in its name is one."""
    parts = [text] if Path(text).is_dir() else text.split(",")
    return [part.strip().rstrip("/") or part for part in parts if part.strip()]


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",") if part.strip()]
    except ValueError as error:
        raise typer.BadParameter(
            f"{text!r} are not numbers, such as 0.5,0.3,0.2", param_hint="--weights"
        ) from error


FUSION = Flags(
    Fusion,
    options={
        "systems": {"metavar": "RUN...", "parser": _split},
        "weights": {"metavar": "NUMBER...", "parser": _numbers},
        "select": {"metavar": "RULE:N"},
        "always": {"metavar": "NAME...", "parser": _split},
    },
)


@app.command(cls=_ListCommand)
def fuse(
    runs: Annotated[
        list[str] | None,
        typer.Argument(metavar="RUN...", help="Run folders to fuse, as --systems names them, too."),
    ] = None,
    *,
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
    given: Annotated[dict[str, Any], FUSION],
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

    Systems, weights and names may stand with spaces or commas between them, or one for each flag.

    Scores are standardized for each machine and section, then weighted. Weights are fitted to the
    development set alone and applied to the evaluation set as they are. Beside the score that they
    were fitted to, the table shows the estimate for machines that they were not fitted to.

    Example: dcase-asd fuse runs/a runs/b runs/c --run runs/abc
    """
    from dcase_asd.fusion.fuse import fuse as run_step
    from dcase_asd.fusion.members import newest_common_edition

    if not runs and "systems" not in given:
        raise typer.BadParameter("name the run folders to fuse", param_hint="RUN... or --systems")
    lists = {name: _joined(given.get(name, ())) for name in ("systems", "weights", "always")}
    folders = [Path(each) for each in (*_joined(map(_split, runs or ())), *lists["systems"])]
    lists["systems"] = tuple(map(str, folders))
    method = "weights" if lists["weights"] else Fusion.method
    fusion = _fusion({"method": method, **given, **lists})
    done = run_step(
        folders,
        run or _default_run(folders),
        edition or newest_common_edition(folders),
        fusion,
        ground_truth,
        overwrite=overwrite,
        progress=Display(),
    )
    show_fused(done, as_json)


def _joined(parts: Iterable[Iterable[Any]]) -> tuple[Any, ...]:
    return tuple(itertools.chain.from_iterable(parts))


def _fusion(values: dict[str, Any]) -> Fusion:
    try:
        return Fusion(**values)
    except ValueError as error:
        raise RecipeError(str(error)) from error


def _default_run(runs: Sequence[Path]) -> Path:
    names = [run.name for run in runs]
    joined = len(names) <= NAMES_JOINED and len(set(names)) == len(names)
    return runs[0].parent / ("+".join(names) if joined else "fusion")


def show_fused(done: Fused, as_json: bool) -> None:
    """Print the weights of a fusion and what its figures are worth."""
    if as_json:
        counts = {"scores": str(done.path), "train": done.train, "test": done.test}
        show_json({**counts, "changed": done.changed, **done.result.to_json()})
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
    if result.equal_weights is not None and not result.label_free:  # by an earlier version
        rows.append(("equal weights", f"{100 * result.equal_weights:.2f}"))
    for method, found in result.label_free.items():
        named = "equal weights" if method == "mean" else method
        rows.append((named, f"{100 * found.dev_score:.2f}"))
        if found.out_of_sample not in (None, found.dev_score):
            unseen = f"{100 * found.out_of_sample:.2f}"
            rows.append((f"{named}, leave-one-machine-out estimate", unseen))
    score = "mean of AUC and pAUC" if result.metric == "2020" else "official score"
    count = len(result.machines)
    say(f"{score} over {count} machine type{'s' * (count != 1)}; labels from {result.labels}")
    show_table(("", "percent"), rows, numbers=("percent",))
    if result.label_free and not result.select.startswith("best"):
        say(
            f"equal weights, {' and '.join(list(result.label_free)[1:])} use no label: their "
            "figures are out of sample, unless labels chose checkpoints"
        )


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
    return f"test scores (transductive){', for analysis alone' * result.analysis}"
