"""Command fit: normal recordings of one machine -> a model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dcase_asd.cli.app import AsJson, app
from dcase_asd.cli.display import Display, say, show_json
from dcase_asd.errors import RecipeError

if TYPE_CHECKING:
    from dcase_asd.monitor.backbones import BackboneChoice
    from dcase_asd.recipe.detector import Detector


@app.command()
def fit(
    recordings: Annotated[
        Path, typer.Argument(help="Folder of normal recordings, looked through with all below it.")
    ],
    *,
    out: Annotated[
        Path | None, typer.Option("--out", help="File to write, such as fan.asd.")
    ] = None,
    update: Annotated[
        Path | None,
        typer.Option(
            "--update",
            help="Model that gets these recordings too; it is replaced unless --out names another "
            "file.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace --out where it exists.")] = False,
    false_alarms: Annotated[
        float | None,
        typer.Option(
            "--false-alarms",
            help="Share of normal recordings that may be called anomalous (0.01).",
            show_default=False,
        ),
    ] = None,
    window: Annotated[
        float | None,
        typer.Option(
            "--window",
            help="Seconds that are judged at once (the usual length of the recordings, 10 at "
            "most).",
            min=0.5,
            max=600.0,
            show_default=False,
        ),
    ] = None,
    sample_rate: Annotated[
        int | None,
        typer.Option(
            "--sample-rate",
            help="Rate in Hz that recordings are heard at (16000, or the lowest of theirs).",
            min=2000,
            max=384000,
            show_default=False,
        ),
    ] = None,
    channel: Annotated[
        int, typer.Option("--channel", min=0, help="Channel of recordings with several, from 0.")
    ] = 0,
    plugin: Annotated[
        str | None,
        typer.Option(
            "--plugin",
            help="Backbone plugin to hear with (see `dcase-asd plugins`); by default the mean and "
            "deviation of a log-mel spectrum, which needs no torch.",
        ),
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option("--checkpoint", help="The plugin's checkpoint: a file, or a published name."),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", help="Option of the plugin, as name=value. May be repeated."),
    ] = None,
    recipe: Annotated[
        Path | None,
        typer.Option(
            "--recipe",
            help="Recipe or run folder whose [embed] and [score] to hear and score with.",
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option("--preset", help="The same of a recipe that `dcase-asd presets` lists."),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            "--exclude",
            help="Recording of the folder to leave out, by the name that a note tells; may be "
            "repeated.",
        ),
    ] = None,
    embed_weights: Annotated[
        bool,
        typer.Option("--embed-weights", help="Put the backbone's weights into the model's file."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Learn how one machine sounds when it is well, from normal recordings with any names.

    The model is one file that `check` compares other recordings with.

    Example: dcase-asd fit recordings/normal --out fan.asd
    """
    from dcase_asd.monitor.monitor import Monitor

    target = out or update
    if target is None:
        raise typer.BadParameter("name the file to write, such as fan.asd", param_hint="--out")
    replaces = force or (out is None) or out == update
    if target.exists() and not replaces:
        raise RecipeError(f"{target}: exists already; give another --out, add to it with --update "
                          f"{target}, or replace it with --force")  # fmt: skip
    given = {"window": window, "sample_rate": sample_rate, "plugin": plugin, "recipe": recipe,
             "preset": preset, "checkpoint": checkpoint, "option": option,
             "channel": channel or None, "false_alarms": false_alarms}  # fmt: skip
    display = Display()
    if update is not None:
        if kept := [name for name, value in given.items() if value is not None]:
            flag = f"--{kept[0].replace('_', '-')}"
            raise typer.BadParameter("a model that is updated keeps its own", param_hint=flag)
        model = Monitor.load(update).update(recordings, display, exclude=exclude or ())
    else:
        if preset is not None:
            from dcase_asd.runs.presets import PREFIX, recipe_file

            if recipe is not None:
                raise typer.BadParameter("names a recipe, too; give one", param_hint="--preset")
            recipe = recipe_file(PREFIX + preset.removeprefix(PREFIX))
        backbone, detector, channel = _backbone(plugin, checkpoint, option, recipe, channel)
        chosen = {} if false_alarms is None else {"false_alarms": false_alarms}
        model = Monitor.fit(
            recordings, sample_rate=sample_rate, window=window, channel=channel,
            backbone=backbone, detector=detector, exclude=exclude or (), progress=display, **chosen,
        )  # fmt: skip
    model.save(target, embed_weights=embed_weights)
    notes, count = model.notes(), len(model.normals.recordings)
    for note in notes:
        display.note(note)
    threshold = model.judge.scorer.calibration.threshold(model.false_alarms)
    if as_json:
        show_json({
            "model": str(target), "recordings": count, "windows": len(model.normals),
            "skipped": [vars(each) for each in model.skipped], "threshold": threshold,
            "false_alarms": model.false_alarms, "notes": notes,
        })  # fmt: skip
    left_out = f", {len(model.skipped)} left out" if model.skipped else ""
    say(
        f"{target}: {count} normal recording(s), {len(model.normals)} window(s) of about "
        f"{model.front.window:.3g} s at {model.front.sample_rate} Hz{left_out}; a score above "
        f"{threshold:.3g} is anomalous"
    )


def _backbone(
    plugin: str | None,
    checkpoint: str | None,
    option: list[str] | None,
    recipe: Path | None,
    channel: int,
) -> tuple[BackboneChoice | None, Detector | None, int]:
    """Backbone and detector that the flags or a recipe name, None for the usual ones; channel."""
    from dcase_asd.recipe.toml import read_assignments

    if recipe is None and plugin is None:
        if checkpoint or option:
            hint = "--checkpoint" if checkpoint else "--option"
            raise typer.BadParameter("of which backbone? name it with --plugin", param_hint=hint)
        return None, None, channel
    from dcase_asd.monitor.backbones import BackboneChoice

    options, detector = read_assignments(option or []), None
    added: dict[str, Any] = {}
    if recipe is not None:
        from dcase_asd.recipe.system import read_system

        system = read_system(recipe)
        if system.train is not None:
            raise RecipeError(
                f"{recipe}: is fine-tuned, so that its backbone is one of its checkpoints; give "
                f"--plugin {system.embed.plugin} --checkpoint with that file in place of --recipe"
            )
        embed, detector = system.embed, system.score
        if embed.far != "none":
            raise RecipeError(
                f"{recipe}: takes out the far one of two microphones, and a model hears one; give "
                "--recipe with a copy that has no far, or another one"
            )
        plugin = plugin or embed.plugin
        checkpoint = checkpoint or embed.checkpoint
        options, channel = embed.options | options, channel or embed.channel
        added = {name: getattr(embed, name) for name in ("pooling", "pooling_options", "bands")}
    assert plugin is not None  # noqa: S101 - one of both was given
    found = BackboneChoice.find(plugin, checkpoint, options)
    return replace(found, **added), detector, channel
