"""The command that computes an edition's official result, or that of one's own machines."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from dcase_asd.cli.app import EditionName, Part, Resamples, app
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
    targets: Annotated[
        list[Path],
        typer.Argument(
            metavar="TARGET...",
            help="Run folder, or a folder with the official CSV files of one system; several "
            "stand side by side.",
        ),
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
    part: Part,
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
    """Compute the official result of runs or of folders of score files.

    Machines of one's own get AUC and pAUC, each with its bootstrap interval.

    Example: dcase-asd evaluate runs/spectral --edition dcase2025 --json result.json
    """
    from dcase_asd.metrics.evaluate import evaluate_run_or_folder, write_results
    from dcase_asd.reports.read import names_of

    if len({target.resolve() for target in targets}) < len(targets):
        raise typer.BadParameter("names a folder twice", param_hint="TARGET")
    reports = [
        replace(
            evaluate_run_or_folder(
                target,
                edition,
                ground_truth,
                **part,
                resamples=resamples,
                seed=seed,
                progress=Display(),
            ),
            target=name,
        )
        for target, name in zip(targets, names_of(targets), strict=True)
    ]
    results = reports[0] if len(reports) == 1 else reports
    to_screen = json == Path(STANDARD_OUTPUT)
    written = write_results(
        results, json=None if to_screen else json, csv=csv, markdown=markdown, latex=latex
    )
    if to_screen:
        values = [each.to_json() for each in reports]
        show_json(values[0] if len(reports) == 1 else values)
        return
    show_report(*reports)
    for path in written:
        say(f"wrote {path}")


def show_report(*reports: EvaluationReport) -> None:
    """Print results in the layout of the report's Table 1, and the official score of each."""
    from dcase_asd.metrics.result import result_table

    report, table = reports[0], result_table(reports)
    means = "" if report.official else "; means are arithmetic, where a year's are hmean"
    alone = f"; {report.subset} alone" if report.subset else ""
    show_table(
        table.columns,
        table.rows,
        title=f"{report.edition}, percent; labels from {report.labels}{alone}{means}",
        numbers=table.columns[2:],
    )
    for each in reports:
        say(f"{each.target}: {each.summary()}" if len(reports) > 1 else each.summary())
