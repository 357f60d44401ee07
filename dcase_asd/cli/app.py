"""The command-line application that every command module adds its commands to."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="dcase-asd",
    help=(
        "Anomalous sound detection for machine condition monitoring: from normal recordings "
        "to anomaly scores and a packaged DCASE Challenge Task 2 entry."
    ),
    epilog="Start with: dcase-asd demo",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Rule(StrEnum):
    """How a threshold is set; the values of `scores.threshold.ThresholdRule`."""

    empirical = "empirical"
    target = "target"
    gamma = "gamma"


Data = Annotated[
    Path, typer.Option("--data", help="Data folder: <data>/dcase2025t2/dev_data/raw/<machine>/…")
]
EditionName = Annotated[
    str,
    typer.Option("--edition", help="Year of the challenge, or a folder of one's own below --data."),
]
Run = Annotated[Path, typer.Argument(help="Run folder of a system, as `embed` makes it.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]
Quantile = Annotated[
    float, typer.Option("--quantile", help="Share of new normal clips below the threshold.")
]
ThresholdRule = Annotated[
    Rule,
    typer.Option(
        "--threshold-rule",
        help="Quantile of the train scores; of those of target-domain clips alone; or of a gamma "
        "distribution fitted as the official baseline does, which clips far out mislead.",
    ),
]
