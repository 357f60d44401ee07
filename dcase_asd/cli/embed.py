"""Commands about systems: plugins, embed, score."""

from __future__ import annotations

import tomllib
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from dcase_asd.cli.app import AsJson, Data, EditionName, Run, app
from dcase_asd.cli.display import Display, say, show_json, show_table

if TYPE_CHECKING:
    from dcase_asd.recipe.detector import Detector


@app.command()
def plugins(
    check: Annotated[
        bool, typer.Option("--check", help="Import each one and say what fails.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List the installed backbone plugins.

    Example: dcase-asd plugins --check
    """
    from dcase_asd.registry import import_problem, installed_plugins

    rows = [
        {"name": each.name, "package": each.package, "version": each.version, "class": each.target}
        | ({"state": import_problem(each.name) or "works"} if check else {})
        for each in installed_plugins()
    ]
    if as_json:
        show_json(rows)
    elif rows:
        show_table(list(rows[0]), [list(row.values()) for row in rows])
    else:
        say("no backbone plugin is installed; install dcase-asd again")


@app.command()
def embed(
    data: Data,
    *,
    edition: EditionName,
    run: Annotated[
        Path, typer.Option("--run", help="Run folder to write to; its name is the system's.")
    ],
    plugin: Annotated[
        str | None,
        typer.Option(
            "--plugin",
            help="Backbone plugin (see `dcase-asd plugins`); default: as the run's recipe says, "
            "with its checkpoint, options, channel and batch size.",
        ),
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option("--checkpoint", help="Checkpoint file or folder; default: the plugin's."),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", help="An option of the plugin, name=value; may be repeated."),
    ] = None,
    channel: Annotated[
        int | None,
        typer.Option("--channel", min=0, help="Channel of recordings with several; default: 0."),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option("--batch-size", min=1, help="Clips computed at once; default: 16."),
    ] = None,
    representation: Annotated[
        Literal["dense", "pooled", "cls"] | None,
        typer.Option(
            "--representation",
            help="Of a fine-tuned run: dense layer, what goes into it, or the backbone's class "
            "token; default: as its recipe says.",
        ),
    ] = None,
    device: Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:1, or auto.")] = "auto",
) -> None:
    """Embed the train and test clips of an edition with a backbone.

    A stopped run goes on where it was; what is complete and unchanged is not done again.

    A run that was fine-tuned is embedded with its chosen checkpoints, without --plugin.

    Example: dcase-asd embed --plugin spectral --data data --edition dcase2025 --run runs/spectral
    """
    from dcase_asd.embeddings.embed import embed as run_step
    from dcase_asd.folders import check_run
    from dcase_asd.recipe.system import Embedding, System, read_system, recipe_path

    named = {
        "checkpoint": checkpoint,
        "options": plugin_options(option or []) or None,
        "channel": channel,
        "batch_size": batch_size,
    }
    given: dict[str, Any] = {name: value for name, value in named.items() if value is not None}
    before = read_system(run) if recipe_path(run).is_file() else None
    if plugin is not None:
        recipe = Embedding(plugin, **given)
    elif before is not None:
        recipe = replace(before.embed, **given)
    else:
        if run.exists():
            check_run(run)
        raise typer.BadParameter(
            "name a backbone, or give a run that has a recipe", param_hint="--plugin"
        )
    # What `score` and `finetune` were told is kept.
    system = System(run.name, recipe) if before is None else replace(before, embed=recipe)
    if representation is not None:
        if system.train is None:
            raise typer.BadParameter(
                f"{run} is not fine-tuned; of a backbone as it is an option of the plugin decides, "
                "as in --option representation=cls",
                param_hint="--representation",
            )
        system = replace(system, train=replace(system.train, representation=representation))
    done = run_step(data, run, edition, system, device, Display())
    say(f"{run}: {done.clips} clips, {done.made} machine(s) embedded, {done.kept} were complete")


@app.command()
def score(
    run: Run,
    *,
    edition: EditionName,
    neighbors: Annotated[
        int | None, typer.Option("--neighbors", min=1, help="Nearest train clips to average over.")
    ] = None,
    domains: Annotated[
        str | None,
        typer.Option("--domains", help="pooled: all train clips; minimum: each domain by itself."),
    ] = None,
    normalize: Annotated[
        str | None,
        typer.Option(
            "--normalize", help="none; domain: by leave-one-out scores; density: local density."
        ),
    ] = None,
    density_neighbors: Annotated[
        int | None, typer.Option("--density-neighbors", min=1, help="K of the local density.")
    ] = None,
) -> None:
    """Score an edition's clips by their distance to the nearest train clips.

    Without options it scores as the run's recipe says; options are kept in the recipe. A fusion is
    applied to the scores of its systems again.

    Example: dcase-asd score runs/spectral --edition dcase2025 --normalize density
    """
    from dcase_asd.folders import check_run
    from dcase_asd.recipe.fusion import is_fused

    given = {
        "neighbors": neighbors,
        "domains": domains,
        "normalize": normalize,
        "density_neighbors": density_neighbors,
    }
    given = {name: value for name, value in given.items() if value is not None}
    if is_fused(check_run(run)):
        _fuse_again(run, edition, given)
        return
    from dcase_asd.scores.score import changed_detector
    from dcase_asd.scores.score import score as run_step

    done = run_step(run, edition, changed_detector(run, given), Display())
    state = "scored" if done.changed else "were scored already"
    say(f"{done.path}: {done.test} test and {done.train} train clips {state}")
    say(_in_force(run, done.detector, given))


def _in_force(run: Path, detector: Detector, given: dict[str, Any]) -> str:
    """The options that scores were made with, and which of them an earlier call has left."""
    from dcase_asd.recipe.detector import Detector
    from dcase_asd.recipe.system import recipe_path

    options, usual = asdict(detector), asdict(Detector())
    if detector.normalize != "density":
        del options["density_neighbors"]
    told = ", ".join(f"--{name.replace('_', '-')} {value}" for name, value in options.items())
    kept = [name for name in options if name not in given and options[name] != usual[name]]
    names = " and ".join(f"--{name.replace('_', '-')}" for name in kept)
    return f"scored with {told}" + (f"; {names} as {recipe_path(run)} says" if kept else "")


def _fuse_again(run: Path, edition: str, given: dict[str, Any]) -> None:
    from dcase_asd.cli.fuse import show_fused
    from dcase_asd.fusion.fuse import fuse_again

    if given:
        flag = next(iter(given)).replace("_", "-")
        raise typer.BadParameter(
            f"{run} is a fusion, which has no distances to score; score its systems so",
            param_hint=f"--{flag}",
        )
    show_fused(fuse_again(run, edition, Display()))


def plugin_options(pairs: list[str]) -> dict[str, Any]:
    """Options given as name=value, the value in TOML, or text as it stands."""
    options: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (name and equals):
            raise typer.BadParameter(
                f"{pair!r} is not of the form name=value", param_hint="--option"
            )
        try:
            options[name] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            options[name] = value
    return options
