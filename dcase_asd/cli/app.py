"""The command-line application that every command module adds its commands to."""

from __future__ import annotations

import functools
import inspect
import os
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from dcase_asd import __version__
from dcase_asd.cli.display import Speech
from dcase_asd.cli.flags import Flags
from dcase_asd.errors import DcaseAsdError
from dcase_asd.recipe.subset import Subset

DEBUG = "DCASE_ASD_DEBUG"
"""Environment variable that, set to 1, shows the traceback of an error."""


Data = Annotated[
    Path,
    typer.Option(
        "--data",
        help="Data folder: <data>/dcase2025t2/dev_data/raw/<machine>/…",
        default_factory=lambda: Path("data"),
        show_default="data",
    ),
]
EditionName = Annotated[
    str,
    typer.Option("--edition", help="Year of the challenge, or a folder of one's own below --data."),
]
Run = Annotated[Path, typer.Argument(help="Run folder of a system, as `embed` makes it.")]
RunToWrite = Annotated[
    Path, typer.Option("--run", help="Run folder to write to; its name is the system's.")
]
Device = Annotated[
    str, typer.Option("--device", help="Device to compute on: cpu, cuda, cuda:1, or auto.")
]
Workers = Annotated[
    int, typer.Option("--workers", min=0, help="Threads that read audio for training.")
]
Mlflow = Annotated[
    str,
    typer.Option(
        "--mlflow",
        metavar="DIR|ADDRESS",
        help="Write the recipe and the training history to MLflow, too: a folder, or a server.",
    ),
]
Part = Annotated[dict[str, Any], Flags(Subset)]
Resamples = Annotated[
    int,
    typer.Option(
        "--resamples", min=0, help="Resamples of the bootstrap interval; 0 leaves it out."
    ),
]
Values = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="TABLE.NAME=VALUE",
        help="Value of the recipe, such as train.steps=8000 or embed.batch_size=8; overrides "
        "what else gives it; may be repeated.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print nothing but errors and what --json asks for.")
]
Quantile = Annotated[
    float, typer.Option("--quantile", help="Share of new normal clips below the threshold.")
]
ThresholdRule = Annotated[
    Literal["empirical", "target", "gamma"],
    typer.Option(
        "--threshold-rule",
        help="Set the threshold at the quantile of the train scores; of those of target-domain "
        "clips alone; or of a gamma distribution fitted as the official baseline does, which clips "
        "far out mislead.",
    ),
]


class _App(typer.Typer):
    def command(self, *args: Any, **options: Any) -> Callable[..., Any]:
        """Add a command, with the flags of its recipe and those that every command has."""
        add = super().command(*args, **options)

        def added(function: Callable[..., None]) -> Callable[..., None]:
            add(_complete(function))
            return function

        return added


def _complete(function: Callable[..., None]) -> Callable[..., None]:
    recipes: dict[str, Flags] = {}
    parameters: list[inspect.Parameter] = []
    for each in inspect.signature(function, eval_str=True).parameters.values():
        marks = getattr(each.annotation, "__metadata__", ())
        if marks and isinstance(marks[0], Flags):
            recipes[each.name] = marks[0]
            parameters += marks[0].parameters()
        else:
            parameters.append(each)
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters.append(inspect.Parameter("quiet", keyword, default=False, annotation=Quiet))

    @functools.wraps(function)
    def run(**values: Any) -> None:
        Speech.quiet, Speech.json_alone = values.pop("quiet"), values.get("as_json", False)
        try:
            values |= {name: flags.given(values) for name, flags in recipes.items()}
            function(**values)
        except (DcaseAsdError, OSError):
            if os.environ.get(DEBUG) == "1":
                traceback.print_exc()
            raise
        finally:
            Speech.quiet = Speech.json_alone = False

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    return run


app = _App(
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


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"dcase-asd {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    *,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_show_version, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    pass
