"""Commands about systems: plugins, embed, score."""

from __future__ import annotations

import shlex
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from dcase_asd.cli.app import AsJson, Data, Device, EditionName, Part, Run, RunToWrite, app
from dcase_asd.cli.display import Display, say, show_json, show_table
from dcase_asd.cli.flags import Flags
from dcase_asd.recipe.detector import NEAREST, Detector
from dcase_asd.recipe.fusion import is_fused
from dcase_asd.recipe.setting import as_typed, flag_of
from dcase_asd.recipe.subset import Subset
from dcase_asd.recipe.system import Embedding, System, read_system, recipe_path
from dcase_asd.recipe.toml import recipe_from
from dcase_asd.recipe.training import Training

NEAREST_VALUES = ("neighbors", "domains", "normalize")
"""Values of a recipe that are told of the nearest train clips in any case."""


@app.command()
def plugins(
    check: Annotated[
        bool, typer.Option("--check", help="Import each plugin and say what fails.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List the installed backbone plugins, detectors, losses and augmentations.

    Example: dcase-asd plugins --check
    """
    from dcase_asd.registry import import_problem, installed_plugins
    from dcase_asd.scores.named import installed_detectors
    from dcase_asd.training.named import installed_parts

    rows = [
        each.row("class") | ({"state": import_problem(each.name) or "works"} if check else {})
        for each in installed_plugins()
    ]
    kinds = {"backbone": rows, "detector": installed_detectors(check=check)}
    kinds |= {kind: installed_parts(kind, check=check) for kind in ("loss", "augmentation")}
    if as_json:
        show_json([
            row | {"kind": kind}
            for kind, of in kinds.items()
            for row in of
        ])  # fmt: skip
    if not rows:
        say("no backbone plugin is installed; install dcase-asd again")
    for kind, of in kinds.items():
        if of:
            first = "name" if kind == "backbone" else kind
            show_table([first, *list(of[0])[1:]], [list(row.values()) for row in of])


@app.command()
def embed(
    *,
    data: Data,
    edition: EditionName,
    run: RunToWrite,
    embedding: Annotated[dict[str, Any], Flags(Embedding)],
    training: Annotated[dict[str, Any], Flags(Training, only=("representation",))],
    part: Part,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Embed the train and test clips of an edition with a backbone.

    A stopped run goes on where it was; what is complete and unchanged is not done again.

    Without --plugin a run is embedded as its recipe says, with the flags that are given put in; one
    that was fine-tuned with its chosen checkpoints, of which --representation says what is scored.

    Example: dcase-asd embed --plugin spectral --data data --edition dcase2025 --run runs/spectral
    """
    from dcase_asd.embeddings.embed import embed as run_step
    from dcase_asd.folders import check_run

    before = read_system(run) if recipe_path(run).is_file() else None
    if "plugin" in embedding:
        recipe = recipe_from(embedding, Embedding, "embed")
    elif before is not None:
        fresh: dict[str, Any] = {"pooling_options": {}} if "pooling" in embedding else {}
        recipe = recipe_from(asdict(before.embed) | fresh | embedding, Embedding, str(run))
    else:
        if run.exists():
            check_run(run)
        raise typer.BadParameter(
            "name a backbone, or give a run that has a recipe", param_hint="--plugin"
        )
    # What `score` and `finetune` were told is kept.
    system = System(run.name, recipe) if before is None else replace(before, embed=recipe)
    if training:
        if system.train is None:
            raise typer.BadParameter(
                f"{run} is not fine-tuned; of a backbone as it is an option of the plugin decides, "
                "as in --option representation=cls",
                param_hint="--representation",
            )
        system = replace(system, train=replace(system.train, **training))
    done = run_step(data, run, edition, system, device, Display(), **part)
    if as_json:
        show_json({"run": str(run), **vars(done)})
    say(f"{run}: {done.clips} clips, {done.made} machine(s) embedded, {done.kept} were complete")


@app.command()
def score(
    run: Run,
    *,
    edition: EditionName,
    detector: Annotated[dict[str, Any], Flags(Detector)],
    part: Part,
    as_json: AsJson = False,
) -> None:
    """Score an edition's clips by their distance to the nearest train clips, or another detector.

    Without options it scores as the run's recipe says; options are kept in the recipe. A fusion is
    applied to the scores of its systems again.

    Example: dcase-asd score runs/spectral --edition dcase2025 --normalize density
    """
    from dcase_asd.folders import check_run

    if is_fused(check_run(run)):
        _fuse_again(run, edition, detector, part, as_json)
        return
    from dcase_asd.scores.score import changed_detector
    from dcase_asd.scores.score import score as run_step

    display = Display()
    done = run_step(run, edition, changed_detector(run, detector, display), display, **part)
    if as_json:
        show_json({"scores": str(done.path), "train": done.train, "test": done.test,
                   "changed": done.changed, "detector": asdict(done.detector)})  # fmt: skip
    state = "scored" if done.changed else "were scored already"
    say(f"{done.path}: {done.test} test and {done.train} train clips {state}")
    say(_in_force(run, done.detector, detector))


def _in_force(run: Path, detector: Detector, given: dict[str, Any]) -> str:
    """The options that scores were made with, and which of them an earlier call has left."""
    usual, values = asdict(Detector()), asdict(detector)
    if detector.normalize == "density":
        always = {*NEAREST_VALUES, "density_neighbors"}
    else:
        always = set(NEAREST_VALUES) if detector.detector == NEAREST else set()
        del values["density_neighbors"]
    own = {name for name, value in values.items() if value != usual[name]}
    told = [each for each in fields(Detector) if each.name in always | own]
    words = ", ".join(shlex.join(as_typed(each, values[each.name])) for each in told)
    kept = [each for each in told if each.name in own and each.name not in given]
    if not kept:
        return f"scored with {words}"
    *names, last = map(flag_of, kept)
    flags = f"{', '.join(names)} and {last}" if names else last
    return f"scored with {words}; {flags} as {recipe_path(run)} says"


def _fuse_again(
    run: Path, edition: str, given: dict[str, Any], part: dict[str, Any], as_json: bool
) -> None:
    from dcase_asd.cli.fuse import show_fused
    from dcase_asd.fusion.fuse import fuse_again

    if given:
        raise typer.BadParameter(
            f"{run} is a fusion, which has no distances to score; score its systems so",
            param_hint=flag_of(Detector.__dataclass_fields__[next(iter(given))]),
        )
    if part:
        raise typer.BadParameter(
            f"{run} is a fusion of what its systems are scored on; score these so, and it again",
            param_hint=flag_of(Subset.__dataclass_fields__[next(iter(part))]),
        )
    show_fused(fuse_again(run, edition, Display()), as_json)
