"""The command that draws pictures and writes a page."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from dcase_asd.cli.app import AsJson, EditionName, Quantile, Rule, ThresholdRule, app
from dcase_asd.cli.display import Display, say, show_json


class Form(StrEnum):
    """Format of single pictures; the values of `reports.figures.style.PictureFormat`."""

    png = "png"
    svg = "svg"


@app.command()
def report(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Run folders with scores; several are compared."),
    ],
    *,
    edition: EditionName,
    ground_truth: Annotated[
        Path | None,
        typer.Option(
            "--ground-truth",
            help="Labels of the evaluation set, as for evaluate; without it its clips are shown "
            "unlabelled.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Folder to write to; else report/EDITION in the run folder, of several here.",
        ),
    ] = None,
    form: Annotated[
        Form, typer.Option("--format", help="Of the single pictures beside the page.")
    ] = Form.svg,
    machine: Annotated[
        list[str] | None,
        typer.Option("--machine", help="Only this machine type; may be given several times."),
    ] = None,
    quantile: Quantile = 0.9,
    rule: ThresholdRule = Rule.empirical,
    resamples: Annotated[
        int,
        typer.Option("--resamples", min=0, help="Of the bootstrap interval; 0 leaves it out."),
    ] = 1000,
    as_json: AsJson = False,
) -> None:
    """Show scores, results, fusion and training as pictures and one page.

    The page is a single file that needs no network: send it, print it, read it on a phone. The
    pictures lie beside it, for slides and papers.

    Example: dcase-asd report runs/spectral --edition dcase2025 --out report
    """
    from dcase_asd.reports.report import report as step

    done = step(
        runs,
        edition,
        ground_truth,
        out,
        picture_format=form.value,
        machines=machine or (),
        quantile=quantile,
        rule=rule.value,
        resamples=resamples,
        progress=Display(),
    )
    if as_json:
        show_json(
            {
                "page": str(done.page),
                "pictures": [str(path) for path in done.pictures],
                "changed": done.changed,
            }
        )
        return
    state = "written" if done.changed else "unchanged"
    say(f"{done.page}: {state}, with {len(done.pictures)} {form.value.upper()} pictures beside it")
