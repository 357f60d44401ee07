"""Command export: a model -> an ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from dcase_asd.cli.app import AsJson, app
from dcase_asd.cli.display import say, show_json
from dcase_asd.errors import RecipeError


@app.command()
def export(
    model: Annotated[Path, typer.Argument(help="Model that `fit` has written, such as fan.asd.")],
    *,
    onnx: Annotated[Path, typer.Option("--onnx", help="File to write, such as fan.onnx.")],
    clips: Annotated[
        Path | None,
        typer.Option(
            "--clips",
            help="Recordings to compare scores on, such as recordings/normal; by default generated "
            "ones that sound like the normal ones.",
        ),
    ] = None,
    precision: Annotated[
        Literal["float32", "fp16", "int8"],
        typer.Option(
            "--precision",
            help="Store the matrices as these; how much that changes scores is measured and told.",
        ),
    ] = "float32",
    force: Annotated[bool, typer.Option("--force", help="Replace --onnx where it exists.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a model as an ONNX graph that takes samples and gives scores, without this program.

    Its input `waveform` is (batch, samples) at the model's rate; its outputs `distance`, `score`
    and `p_value` are (batch, windows). `score` is what `check` prints, which also says when and
    where. onnxruntime runs the graph first: nothing is written where a score differs by over 1e-4
    relative from that of `check`. What can be exported is a model of `fit` without --plugin.

    Example: dcase-asd export fan.asd --onnx fan.onnx
    """
    from dcase_asd.monitor.monitor import Monitor
    from dcase_asd.monitor.onnx import export_monitor

    if onnx.exists() and not force:
        raise RecipeError(f"{onnx}: exists already; give another --onnx, or replace it with "
                          "--force")  # fmt: skip
    done = export_monitor(
        Monitor.load(model), onnx, clips=clips, precision=precision, name=str(model)
    )
    if as_json:
        show_json(done.as_json())
    say(
        f"{onnx}: opset {done.opset}, {done.bytes / 1e6:.2f} MB, {done.milliseconds:.1f} ms for a "
        f"clip of one window; scores of {done.clips} recording(s) differ from those of `check` by "
        f"{done.difference:.1g} relative at most"
    )
    if precision != "float32":
        say(
            f"  stored as {precision}: they differ by {done.change:.2g} at most, "
            f"{done.median_change:.2g} in the median; {done.other_verdicts} verdict(s) change"
        )
    if done.left_out:
        say(
            f"  {len(done.left_out)} recording(s), such as {done.left_out[0]}, were not compared: "
            "they have nothing at high frequencies, and `check` leaves these out, not the graph"
        )
