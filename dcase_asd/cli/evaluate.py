"""The command that computes an edition's official result, or that of one's own machines."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from dcase_asd.cli.app import EditionName, Machines, Resamples, app
from dcase_asd.cli.display import Display, say, show_json, show_table

if TYPE_CHECKING:
    from dcase_asd.metrics.result import EvaluationReport


STANDARD_OUTPUT = "-"


class _JsonCommand(TyperCommand):
    """A command whose ``--json`` may stand without a file: it prints then."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put standard output in the place of a file that is left out."""
        given = []
        for argument, after in itertools.pairwise([*args, "--"]):
            given.append(argument)
            # A folder is no file to write, but what is evaluated.
            left_out = (after.startswith("-") and after != STANDARD_OUTPUT) or Path(after).is_dir()
            if argument == "--json" and left_out:
                given.append(STANDARD_OUTPUT)
        return super().parse_args(ctx, given)


@app.command(cls=_JsonCommand)
def evaluate(
    target: Annotated[
        Path,
        typer.Argument(help="Run folder, or a folder with the official CSV files of one system."),
    ],
    *,
    edition: EditionName,
    ground_truth: Annotated[
        Path | None,
        typer.Option(
            "--ground-truth",
            help="Labels: folder of the official evaluator, or eval_data_list*.csv; "
            "default: labels are read from file names.",
        ),
    ] = None,
    machine: Machines = None,
    json: Annotated[
        Path | None,
        typer.Option(
            "--json",
            metavar="[FILE]",
            help="Write everything as JSON; without FILE print only that.",
        ),
    ] = None,
    csv: Annotated[Path | None, typer.Option("--csv", help="Write the table as CSV.")] = None,
    markdown: Annotated[
        Path | None, typer.Option("--markdown", help="Write the table as Markdown.")
    ] = None,
    latex: Annotated[Path | None, typer.Option("--latex", help="Write the table as LaTeX.")] = None,
    resamples: Resamples = 1000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the resamples.")] = 0,
) -> None:
    """Compute the official result of a run or of a folder of score files.

    Machines of one's own get AUC and pAUC, each with its bootstrap interval.

    Example: dcase-asd evaluate runs/spectral --edition dcase2025 --json result.json
    """
    from dcase_asd.metrics.evaluate import evaluate_run_or_folder, write_results

    report = evaluate_run_or_folder(
        target, edition, ground_truth, machines=machine or (), resamples=resamples, seed=seed,
        progress=Display(),
    )  # fmt: skip
    to_screen = json == Path(STANDARD_OUTPUT)
    written = write_results(
        report, json=None if to_screen else json, csv=csv, markdown=markdown, latex=latex
    )
    if to_screen:
        show_json(report.to_json())
        return
    show_report(report)
    for path in written:
        say(f"wrote {path}")


def show_report(report: EvaluationReport) -> None:
    """Print a result in the layout of the report's Table 1, and the official score."""
    from dcase_asd.metrics.result import cells_of, columns_of, table_rows

    intervals = report.intervals
    columns = columns_of(report.target, intervals)
    means = "" if report.official else "; means are arithmetic, where a year's are hmean"
    show_table(
        columns,
        [cells_of(row, intervals) for row in table_rows(report.evaluation, intervals)],
        title=f"{report.edition}, percent; labels from {report.labels}{means}",
        numbers=columns[2:],
    )
    say(report.summary())
