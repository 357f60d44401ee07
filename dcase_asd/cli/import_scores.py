"""The command that makes a run of official score files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dcase_asd.cli.app import AsJson, EditionName, RunToWrite, app
from dcase_asd.cli.display import Display, say, show_json


@app.command()
def import_scores(
    folder: Annotated[
        Path,
        typer.Argument(help="Folder with the official score files of one system, at any depth."),
    ],
    *,
    run: RunToWrite,
    edition: EditionName,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            help="Data folder, prepared: scores must be of its clips; default: not checked.",
        ),
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Replace other scores that were imported before."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make a run of other people's official score files, to evaluate, report and fuse.

    Files of test clips have the year's names, anomaly_score_<machine>_section_<section>_test.csv,
    with or without _test; files of leave-one-out scores of train clips end in _train.csv. Without
    these, fuse takes --standardize test --analysis, and submit refuses.

    Example: dcase-asd import-scores teams/theirs --run runs/theirs --edition dcase2022
    """
    from dcase_asd.submission.import_scores import import_scores as step

    done = step(folder, run, edition, data, overwrite=overwrite, progress=Display())
    if as_json:
        show_json({"scores": str(done.path), "train": done.train, "test": done.test,
                   "changed": done.changed})  # fmt: skip
    state = "imported" if done.changed else "were imported already"
    say(f"{done.path}: scores of {done.test} test and {done.train} train clips {state}")
