"""Verdicts of a monitor -> the page of `check`: rows with sounds, heat maps and the nearest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from dcase_asd.audio import read_header, read_span
from dcase_asd.errors import AudioError, printable_name
from dcase_asd.monitor.monitor import Monitor
from dcase_asd.monitor.verdict import Verdict
from dcase_asd.progress import Progress
from dcase_asd.reports.check import write_check_page
from dcase_asd.reports.clips import LONGEST, ClipRow, Sound
from dcase_asd.reports.figures.spectrogram import Map

SHOWN = 50
"""Clips with players and pictures, the most anomalous: about 7.5 MB of 10 s each."""
FAULTS_TOLD = 20
"""Files that could not be checked which are named; the others are counted."""


def write_verdicts(
    path: str | Path,
    monitor: Monitor,
    model: str | Path,
    verdicts: Sequence[Verdict],
    faults: Sequence[str] = (),
    *,
    false_alarms: float,
    progress: Progress | None = None,
) -> Path:
    """Write what a monitor says of files as a page.

    Args:
        path: The page.
        monitor: What judged.
        model: Its file.
        verdicts: Of files, each named by its path.
        faults: What is wrong with files that have no verdict, a sentence each.
        false_alarms: The rate that was asked for.
        progress: Where to tell how far it is.

    Raises:
        DataError: There is no verdict.
        ArtifactError: As `write_check_page`.
    """
    ordered = sorted(verdicts, key=lambda each: (-each.score, each.p_value, each.file))
    told = set.intersection(*(set(each.notes) for each in ordered)) if len(ordered) > 1 else set()
    rows = [_row(each, told) for each in ordered]
    for at, each in enumerate(ordered[:SHOWN]):
        rows[at] = _with_sounds(rows[at], each, monitor.front.channel)
    lost = {row.nearest for row in rows[:SHOWN] if row.nearest_sound is None}
    notes = [*dict.fromkeys([*monitor.notes(), *sorted(told)])]
    if lost:
        notes.append(
            f"{len(lost)} of the nearest normal recordings, such as {min(lost)}, are not shown: no "
            "file with the same samples lies where the model knows it."
        )
    notes += [f"Not checked: {printable_name(each)}" for each in faults[:FAULTS_TOLD]]
    if (rest := len(faults) - FAULTS_TOLD) > 0:
        notes.append(f"Not checked: {rest} more.")
    facts = [
        ("Model", printable_name(str(model))),
        ("Normal recordings", f"{len(monitor.normals.recordings)}"),
        ("False alarms asked for", f"{100 * false_alarms:.3g} %"),
    ]
    return write_check_page(
        path, rows, monitor.judge.scorer.calibration.scores, title=f"Check with {Path(model).name}",
        facts=facts, notes=notes, most=SHOWN, progress=progress,
    )  # fmt: skip


def _row(verdict: Verdict, told: set[str]) -> ClipRow:
    """The row without sounds; notes that are `told` of all clips are left out."""
    return ClipRow(
        printable_name(verdict.file), verdict.verdict, verdict.score, verdict.p_value,
        verdict.threshold, sentence="; also ".join(map(str, verdict.spans)),
        notes=tuple(note for note in verdict.notes if note not in told), nearest=verdict.nearest,
    )  # fmt: skip


def _with_sounds(row: ClipRow, verdict: Verdict, channel: int) -> ClipRow:
    """The row with the clip, the nearest one and where it differs.

    Of a recording longer than `LONGEST` the window that decided is shown.
    """
    heat, path = verdict.heat, Path(verdict.file)
    sound, start, notes = Sound(path, channel=channel), 0.0, row.notes
    if heat.times[-1] > LONGEST:
        try:
            rate, start = read_header(path).sample_rate, float(heat.times[0])
            part = read_span(
                path, round(start * rate), round(float(np.ptp(heat.times)) * rate), channel
            )
        except AudioError:
            start = 0.0  # the page says why it is not shown
        else:
            sound = Sound(part, rate)
            notes = (*notes, f"Shown from {start:.1f} to {heat.times[-1]:.1f} s, which decided.")
    difference = Map(heat.times - start, heat.bands, np.abs(heat.values))
    similar, nearest = verdict.similar, None
    if similar is not None and similar.is_there(channel):
        nearest = Sound(Path(similar.path), channel=channel)
    return replace(row, notes=notes, sound=sound, difference=difference, nearest_sound=nearest)
