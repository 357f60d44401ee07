"""The command that fine-tunes a backbone."""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from dcase_asd.cli.app import Data, app
from dcase_asd.cli.display import Display, say
from dcase_asd.cli.embed import plugin_options
from dcase_asd.recipe.training import Training

_GROUPS = {
    "seed": "What is trained on", "steps": "Optimisation", "seconds": "Clips",
    "noise_probability": "Augmentation", "pooling": "Head and loss", "tune": "What is trained",
    "eval_every": "Checkpoints",
}  # fmt: skip
"""The first setting of each group of flags in ``--help``."""


def _with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command a flag for every setting; those that the user wrote come as ``settings``."""
    hints = typing.get_type_hints(Training)
    parameters = list(inspect.signature(command, eval_str=True).parameters.values())[:-1]
    group = ""
    for field in dataclasses.fields(Training):
        group = _GROUPS.get(field.name, group)
        kind = hints[field.name]
        several = typing.get_origin(kind) is tuple
        shown = _shown(field.default)
        text = field.metadata["help"] + (f" ({shown})" if shown else "")
        option = typer.Option(help=text, rich_help_panel=group, show_default=False)
        value: Any = types.GenericAlias(list, typing.get_args(kind)[:1]) if several else kind
        annotation = Annotated[value | None, option]
        parameters.append(
            inspect.Parameter(
                field.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation
            )
        )
    names = {field.name for field in dataclasses.fields(Training)}

    def run(**values: Any) -> None:
        given = {
            # An empty text makes a list empty.
            name: tuple(each for each in value if each != "") if isinstance(value, list) else value
            for name, value in values.items()
            if name in names and value is not None
        }
        others = {name: value for name, value in values.items() if name not in names}
        command(**others, settings=given)

    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    return run


def _shown(default: Any) -> str:
    """A default as ``--help`` shows it."""
    if isinstance(default, tuple):
        return ", ".join(_shown(each) for each in default)
    if isinstance(default, bool):
        return "yes" if default else "no"
    return f"{default:g}" if isinstance(default, float) else str(default)


@app.command()
@_with_settings
def finetune(
    *,
    data: Data,
    run: Annotated[
        Path, typer.Option("--run", help="Run folder to write to; its name is the system's.")
    ],
    plugin: Annotated[
        str | None,
        typer.Option("--plugin", help="Backbone plugin; default: that of the run's recipe."),
    ] = None,
    recipe: Annotated[
        Path | None,
        typer.Option("--recipe", help="A system's recipe to start from, flags override it."),
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option("--checkpoint", help="Weights to start from; default: the plugin's."),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", help="An option of the plugin, name=value; may be repeated."),
    ] = None,
    channel: Annotated[
        int | None,
        typer.Option("--channel", min=0, help="Channel of recordings with several; default: 0."),
    ] = None,
    device: Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:1, or auto.")] = "auto",
    workers: Annotated[
        int, typer.Option("--workers", min=0, help="Processes that read audio.")
    ] = 2,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write the course for TensorBoard, too.")
    ] = False,
    settings: dict[str, Any],
) -> None:
    """Fine-tune a backbone on all train clips, by default as the report did.

    A stopped run goes on where it was, and ends with the weights of an undisturbed one.

    Several GPUs: `accelerate launch -m dcase_asd finetune …`, or

    `torchrun --nproc-per-node 2 -m dcase_asd -- finetune …`; -- keeps --run from torchrun.

    Example: dcase-asd finetune --plugin beats --data data --run runs/beats
    """
    from dcase_asd.training.finetune import finetune as run_step
    from dcase_asd.training.finetune import is_main_process, planned_system

    system = planned_system(
        run,
        recipe,
        plugin=plugin,
        checkpoint=checkpoint,
        options=plugin_options(option or []),
        channel=channel,
        settings=settings,
    )
    done = run_step(
        data, run, system,
        device=device, workers=workers, tensorboard=tensorboard, progress=Display(),
    )  # fmt: skip
    if not is_main_process():
        return
    state = "fine-tuned" if done.changed else "was fine-tuned already"
    say(f"{run}: {state}; scored with {', '.join(path.name for path in done.scored)}")
