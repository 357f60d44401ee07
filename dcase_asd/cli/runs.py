"""The command that compares runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dcase_asd.cli.app import AsJson, Resamples, app
from dcase_asd.cli.display import Display, say, show_json, show_table

if TYPE_CHECKING:
    from dcase_asd.reports.leaderboard import Leaderboard

TEXTS = ("run", "differs in")
"""Columns that hold no numbers."""


@app.command()
def runs(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="Folder of run folders.")] = Path(
        "runs"
    ),
    *,
    edition: Annotated[
        str,
        typer.Option("--edition", help="Edition to compare on; default: the newest with scores."),
    ] = "",
    data: Annotated[
        Path,
        typer.Option("--data", help="Data folder, whose ground truth gives eval scores."),
    ] = Path("data"),
    ground_truth: Annotated[
        Path | None,
        typer.Option(
            "--ground-truth",
            help="Labels of the evaluation set, as for `evaluate`; default: those below --data.",
        ),
    ] = None,
    csv: Annotated[Path | None, typer.Option("--csv", help="Write the table as CSV.")] = None,
    resamples: Resamples = 1000,
    as_json: AsJson = False,
) -> None:
    """Compare all runs of a folder: scores, what their recipes differ in, what they cost.

    Beside the best score stands what choosing the best is worth on machines that did not choose it.

    Example: dcase-asd runs runs --edition dcase2025
    """
    from dcase_asd.files import write_text
    from dcase_asd.reports.leaderboard import read_leaderboard

    board = read_leaderboard(
        folder, edition, ground_truth, data=data, resamples=resamples, progress=Display()
    )
    if csv is not None:
        write_text(csv, board.as_csv())
    if as_json:
        show_json(board.to_json())
    show_leaderboard(board)
    if csv is not None:
        say(f"wrote {csv}")


def show_leaderboard(board: Leaderboard) -> None:
    """Print runs, best first, and what the choice of the best is worth."""
    from dcase_asd.editions.edition import load_edition
    from dcase_asd.metrics.official import score_word

    columns, rows = board.table()
    numbers = [name for name in columns if name not in TEXTS]
    explained = f"; {board.explanation}" if board.explanation else ""
    word = score_word(load_edition(board.edition).metric)
    show_table(columns, rows, title=f"{board.edition}, {word}, percent{explained}", numbers=numbers)
