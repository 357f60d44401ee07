"""The command that draws pictures and writes a page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from dcase_asd.cli.app import AsJson, EditionName, Part, Quantile, Resamples, ThresholdRule, app
from dcase_asd.cli.display import Display, say, show_json


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
            help="Labels of the evaluation set, as for `evaluate`; default: its clips are shown "
            "unlabeled.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Folder to write to; default: report/EDITION in the run folder, of several here.",
        ),
    ] = None,
    picture_format: Annotated[
        Literal["png", "svg"],
        typer.Option("--format", help="Format of the single pictures beside the page."),
    ] = "svg",
    part: Part,
    quantile: Quantile = 0.9,
    rule: ThresholdRule = "empirical",
    resamples: Resamples = 1000,
    details: Annotated[
        bool,
        typer.Option(
            "--details",
            help="Show each machine of each system even where these are more than four.",
        ),
    ] = False,
    clips: Annotated[
        bool,
        typer.Option(
            "--clips", help="Begin with the clips, the most anomalous first, to be listened to."
        ),
    ] = False,
    most: Annotated[
        int,
        typer.Option(
            "--most",
            min=0,
            help="Clips of each machine section with a player and a picture, for --clips; 0: all.",
        ),
    ] = 5,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data", help="Data folder with the clips, for --clips; default: that was embedded."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show scores, results, fusion and training as pictures and one page.

    The page is a single file that needs no network: send it, print it, read it on a phone. The
    pictures lie beside it, for slides and papers.

    Example: dcase-asd report runs/spectral --edition dcase2025 --out report
    """
    from dcase_asd.reports.report import report as step

    done = step(
        runs, edition, ground_truth, out, picture_format=picture_format,
        quantile=quantile, rule=rule, resamples=resamples, details=details, clips=clips, data=data,
        most=most, progress=Display(), **part,
    )  # fmt: skip
    if as_json:
        show_json(done)
    state = "written" if done.changed else "unchanged"
    pictures = f"{len(done.pictures)} {picture_format.upper()} pictures"
    say(f"{done.page}: {state}, with {pictures} beside it")
