"""The commands that pre-train a backbone on recordings without labels, and pack these."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from dcase_asd.cli.app import AsJson, Device, Mlflow, Workers, app
from dcase_asd.cli.display import Display, say, show_json, show_table
from dcase_asd.cli.flags import Flags
from dcase_asd.recipe.pretraining import Pretraining


@app.command()
def pretrain(
    *,
    audio: Annotated[
        list[str],
        typer.Option(
            "--audio",
            help="Folder of recordings, shards such as 'shards/{000000..000999}.tar', or a shell "
            "command that prints one, 'pipe:aws s3 cp s3://b/{000000..000999}.tar -'; patterns "
            "(*) are taken; may be repeated.",
        ),
    ],
    run: Annotated[Path, typer.Option("--run", help="Run folder to write to.")],
    device: Device = "auto",
    workers: Workers = 2,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write the training history for TensorBoard, too.")
    ] = False,
    mlflow: Mlflow = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")
    ] = False,
    as_json: AsJson = False,
    settings: Annotated[dict[str, Any], Flags(Pretraining)],
) -> None:
    """Pre-train a backbone on recordings without labels, by default as EAT was.

    A student that sees a fifth of the patches learns to predict a slow copy of itself.

    A stopped run goes on where it was, and ends with the weights of an undisturbed one.

    Several GPUs: `accelerate launch -m dcase_asd pretrain …`

    Then: `dcase-asd embed --plugin fisher --checkpoint <run> …`; see docs/pretraining.md.

    Example: dcase-asd pretrain --plugin fisher --size tiny --audio recordings --run runs/pretrain
    """
    from dcase_asd.training.finetune import is_main_process
    from dcase_asd.training.pretrain import plan_pretraining
    from dcase_asd.training.pretrain import pretrain as run_step
    from dcase_asd.training.pretraining_files import settings_of

    recipe = settings_of(run, settings)
    if dry_run:
        plan = plan_pretraining(audio, run, recipe, Display())
        if as_json:
            show_json(asdict(plan))
        seen, patches = plan.visible
        rows = [
            ("recordings", f"{plan.recordings:,}"),
            ("rate", f"{plan.sample_rate} Hz" if plan.sample_rate else "each recording's own"),
            ("weights of the network", f"{plan.weights:,}"),
            ("masks of a clip (16 kHz)", plan.masks),
            ("patches that the student sees", f"{seen} of {patches}"),
            ("cost of a clip (16 kHz)", f"{plan.gflop:,.1f} GFLOP"),
            ("updates", f"{plan.done:,} of {plan.updates:,} done, {plan.clips} clips each"),
        ]
        show_table(["what", "value"], rows)
        return
    done = run_step(
        audio, run, recipe,
        device=device, workers=workers, tensorboard=tensorboard, mlflow=mlflow,
        progress=Display(),
    )  # fmt: skip
    if not is_main_process():
        return
    if as_json:
        show_json({"run": str(run), "changed": done.changed, "checkpoint": str(done.checkpoint)})
    state = "pre-trained" if done.changed else "was pre-trained already"
    say(f"{run}: {state}; embed with --plugin {recipe.plugin} --checkpoint {run}")


@app.command()
def shards(
    sources: Annotated[
        list[str], typer.Argument(metavar="DIR…", help="Folders of recordings, or shards.")
    ],
    *,
    out: Annotated[
        str, typer.Option("--out", help="Names of the shards: 'shards/{000000..000999}.tar'.")
    ],
    as_json: AsJson = False,
) -> None:
    """Pack recordings into shards for `pretrain`, in random order, each as it is.

    They are tar files of the WebDataset's form. Shards that are there already stay, so that a
    stopped packing goes on.

    Example: dcase-asd shards recordings --out 'shards/{000000..000099}.tar'
    """
    from dcase_asd.training.recordings import write_shards

    done = write_shards(sources, out, Display())
    if as_json:
        show_json({
            "shards": [str(path) for path in done.shards],
            "recordings": done.recordings,
            "skipped": done.skipped,
        })  # fmt: skip
    left_out = f", {done.skipped} left out" if done.skipped else ""
    say(f"{out}: {done.recordings} recordings in {len(done.shards)} shards{left_out}")
