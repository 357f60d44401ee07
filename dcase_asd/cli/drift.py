"""Command drift: the log of `check --watch` -> whether the normal level of scores has moved."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dcase_asd.cli.app import AsJson, app
from dcase_asd.cli.display import say, show_json
from dcase_asd.errors import RecipeError, command

if TYPE_CHECKING:
    from dcase_asd.monitor.drift import Drift, Log
    from dcase_asd.monitor.monitor import Monitor


@app.command()
def drift(
    model: Annotated[Path, typer.Argument(help="Model that `fit` has written, such as fan.asd.")],
    log: Annotated[Path, typer.Argument(help="Log that `check --watch` has written with it.")],
    *,
    last: Annotated[
        int, typer.Option("--last", min=20, help="Recordings at the end that are compared.")
    ] = 200,
    error_rate: Annotated[
        float,
        typer.Option(
            "--error-rate",
            min=1e-6,
            max=0.5,
            help="Share of logs in which nothing has moved that may be said to have a drift.",
        ),
    ] = 0.01,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Picture to write, such as drift.svg or drift.png."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace --out where it exists.")] = False,
    as_json: AsJson = False,
) -> None:
    """Tell whether the normal level of scores has moved since the model was made.

    The last recordings of the log are compared with the normal ones of the model, by how many score
    below the median of these. Up to a tenth of them may be anomalous without counting as drift, and
    recordings that are like the one before count for less. The model stays as it is: whether it
    shall learn the new level is told by whoever listened to it.

    Example: dcase-asd drift fan.asd fan.log.jsonl --out drift.svg
    """
    import numpy as np

    from dcase_asd.monitor.drift import find_drift, read_log
    from dcase_asd.monitor.monitor import Monitor

    if out is not None:
        _check_picture(out, force)
    monitor = Monitor.load(model)
    read = read_log(log, monitor)
    normal = monitor.judge.scorer.calibration.scores
    found = find_drift(normal, read.scores[-last:], error_rate)
    update = command("fit", "recordings/new-normal", "--update", model).strip("`")
    notes = _notes(log, read, found)
    if out is not None:
        _draw(out, monitor, read, found)
    if as_json:
        moved = found.word in ("higher", "lower")
        show_json({
            "log": str(log), "verdict": found.word, "p_value": found.p_value,
            "error_rate": error_rate, "recordings": len(read.scores), "compared": found.recent,
            "independent": found.alone, "below_normal_median": found.below,
            "found_from": found.found if math.isfinite(found.found) else None,
            "median": float(np.median(read.scores[-last:])),
            "normal_median": float(np.median(normal)),
            "damaged": read.damaged, "failed": read.failed, "others": read.others,
            "update": update if moved else None, "notes": notes,
        })  # fmt: skip
    say(_sentence(found, error_rate))
    for note in notes:
        say(f"  note: {note}")
    if found.word in ("higher", "lower"):
        say(f"  if these sound as they should, the model learns them by `{update}`; it stays as it "
            "is until then")  # fmt: skip
    if out is not None:
        say(f"{out}: written")


def _sentence(found: Drift, error_rate: float) -> str:
    share = (
        f"{100 * found.below:.0f} % of the last {found.recent} recordings score below the median"
    )
    rests = f"{share} of the normal ones, worth {found.alone:.0f} independent recordings"
    if found.word == "cannot tell":
        return f"cannot tell: {rests}, or the normal ones, are too few or too alike; record longer"
    reach = (
        f"a drift of {found.found:.1f} standard deviations would be found in nine of ten cases"
        if math.isfinite(found.found)
        else "so few find no drift reliably"
    )
    what = "no drift is seen" if found.word == "unchanged" else f"the normal level is {found.word}"
    return f"{what}: {rests} (p {found.p_value:.2g}, told from {error_rate:g} on); {reach}"


def _notes(path: Path, log: Log, found: Drift) -> list[str]:
    """What else must be said of a log."""
    from dcase_asd.monitor.drift import ANOMALIES

    odd, notes = int(log.anomalous[-found.recent :].sum()), []
    if odd > ANOMALIES * found.recent:
        notes.append(f"{odd} of the last {found.recent} recordings were called anomalous: a fault "
                     "that lasts looks like a drift; listen to them first")  # fmt: skip
    if log.damaged:
        notes.append(f"{path}: {log.damaged} damaged line(s), the first is line "
                     f"{log.first_damaged}: left out")  # fmt: skip
    if log.failed:
        notes.append(f"{log.failed} recording(s) could not be checked: left out")
    if log.others:
        notes.append(f"{log.others} recording(s) were judged by another model: left out")
    return notes


def _check_picture(out: Path, force: bool) -> None:
    if out.suffix.lower() not in (".svg", ".png"):
        raise RecipeError(f"--out {out}: give a picture's name, such as drift.svg or drift.png")
    if out.exists() and not force:
        raise RecipeError(f"{out}: exists already; give another --out, or replace it with --force")


def _draw(out: Path, monitor: Monitor, log: Log, found: Drift) -> None:
    from dcase_asd.files import replacing
    from dcase_asd.reports.figures.drift import drift_figure
    from dcase_asd.reports.figures.style import drawing, finish

    calibration = monitor.judge.scorer.calibration
    threshold = calibration.threshold(monitor.false_alarms)
    with drawing(), replacing(out) as temporary:
        figure = drift_figure(
            log.scores, log.anomalous, calibration.scores, threshold, found.recent
        )
        picture = finish(figure, out.name, "", "svg" if out.suffix.lower() == ".svg" else "png")
        temporary.write_bytes(picture.file)
