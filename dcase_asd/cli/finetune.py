"""The command that fine-tunes a backbone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from dcase_asd.cli.app import AsJson, Data, Device, Mlflow, Part, RunToWrite, Values, Workers, app
from dcase_asd.cli.display import Display, say, show_json
from dcase_asd.cli.flags import Flags
from dcase_asd.recipe.system import Embedding
from dcase_asd.recipe.toml import changed, read_assignments
from dcase_asd.recipe.training import Training


@app.command()
def finetune(
    *,
    data: Data,
    run: RunToWrite,
    recipe: Annotated[
        Path | None,
        typer.Option("--recipe", help="Recipe of a system to start from; flags override it."),
    ] = None,
    embedding: Annotated[
        dict[str, Any], Flags(Embedding, only=("plugin", "checkpoint", "options", "channel", "far"))
    ],
    part: Part,
    values: Values = None,
    device: Device = "auto",
    workers: Workers = 2,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write the training history for TensorBoard, too.")
    ] = False,
    mlflow: Mlflow = "",
    as_json: AsJson = False,
    training: Annotated[dict[str, Any], Flags(Training)],
) -> None:
    """Fine-tune a backbone on all train clips, by default as the report did.

    A stopped run goes on where it was, and ends with the weights of an undisturbed one.

    Several GPUs: `accelerate launch -m dcase_asd finetune …`, or

    `torchrun --nproc-per-node 2 -m dcase_asd -- finetune …`; -- keeps --run from torchrun.

    Without --recipe a run is gone on with as its own recipe says.

    Example: dcase-asd finetune --plugin beats --data data --run runs/beats
    """
    from dcase_asd.training.finetune import finetune as run_step
    from dcase_asd.training.finetune import is_main_process, planned_system

    system = planned_system(run, recipe, **embedding, settings=training)
    if values:
        changes = read_assignments(values)
        if not all(isinstance(each, dict) for each in changes.values()):
            raise typer.BadParameter("takes TABLE.NAME=VALUE", param_hint="--set")
        system = changed(system, changes, "--set")
    done = run_step(
        data, run, system,
        device=device, workers=workers, tensorboard=tensorboard, mlflow=mlflow,
        progress=Display(), **part,
    )  # fmt: skip
    if not is_main_process():
        return
    scored = [path.name for path in done.scored]
    if as_json:
        show_json({"run": run, "changed": done.changed, "scored": scored})
    state = "fine-tuned" if done.changed else "was fine-tuned already"
    say(f"{run}: {state}; scored with {', '.join(scored)}")
