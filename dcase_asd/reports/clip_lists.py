"""The part of a report that lists the clips of runs, and where their recordings are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dcase_asd.clips.manifest import clips_of_edition, read_manifest
from dcase_asd.editions.edition import Edition
from dcase_asd.embeddings.store import MEMBERS, planned_data
from dcase_asd.errors import ScoresError, TooFewClipsError
from dcase_asd.progress import Progress
from dcase_asd.recipe.fusion import is_fused, member_runs, read_fused_system
from dcase_asd.recipe.system import read_system, recipe_path
from dcase_asd.reports.clips import ANOMALOUS, ClipRow, Sound, clip_cards, in_order, p_values
from dcase_asd.reports.figures.heat_map import NONE
from dcase_asd.reports.figures.style import Gallery
from dcase_asd.reports.machines import Decisions
from dcase_asd.reports.read import STAGES, MachineSection, ReportedSystem
from dcase_asd.reports.results import Line, Table
from dcase_asd.scores.threshold import set_threshold

Recordings = Mapping[tuple[str, str, str], Sound]
"""Stage, machine and file name of a test clip -> its recording."""


def find_recordings(
    systems: Sequence[ReportedSystem], edition: Edition, data: str | Path | None
) -> Recordings:
    """Recordings of test clips.

    Args:
        systems: Whose clips.
        edition: Which edition.
        data: Data folder; None for the one that the first system embedded, else ``data``.

    Raises:
        DataError: The data folder is none, or holds no clip of the edition.
        ArtifactError: Its manifest is missing or damaged.
    """
    first = systems[0].run
    folder = Path(data or _embedded_data(first, edition.name) or "data")
    clips = clips_of_edition(read_manifest(folder), edition.name, folder)
    clips = clips[(clips["role"] == "machine") & (clips["split"] == "test")]
    plain = recipe_path(first).is_file() and not is_fused(first)
    channel = read_system(first).embed.channel if plain else 0
    return {
        (stage, machine, Path(path).name): Sound(folder / path, channel=channel)
        for stage, machine, path in zip(
            clips["stage"], clips["machine"], clips["path"], strict=True
        )
    }


def _embedded_data(run: Path, edition: str) -> Path | None:
    """The data folder that a run, one of its checkpoints or a member of a fusion embedded."""
    found = (planned_data(part, edition) for part in (run, *sorted((run / MEMBERS).glob("*"))))
    known = next(filter(None, found), None)
    if known is None and is_fused(run):
        members = member_runs(run, read_fused_system(run).fusion)
        known = next(filter(None, (_embedded_data(each, edition) for each in members)), None)
    return known


def clip_lists(
    systems: Sequence[ReportedSystem],
    decisions: Decisions,
    recordings: Recordings,
    most: int,
    gallery: Gallery,
    progress: Progress,
) -> list[dict[str, Any]]:
    """The clips of each machine section, the most anomalous first.

    Of one system by score; of several, whose scores have units of their own, by mean p value.

    Args:
        systems: Whose scores.
        decisions: How thresholds are set.
        recordings: As `find_recordings` gives them.
        most: How many clips of each section have a player and a picture; 0 for all.
        gallery: Takes the pictures.
        progress: Where to tell how far it is.

    Returns:
        Of each section ``title``, ``caption``, ``cards`` and ``table``.
    """
    found = []
    for name, stage_title in STAGES.items():
        stages = {each.name: stage for each in systems if (stage := each.stage(name))}
        keys = {
            (section.machine, section.section): stage.label(section)
            for stage in stages.values()
            for section in stage.sections
        }
        for key, label in keys.items():
            judged = {
                system: _judged(section, decisions, label)
                for system, stage in stages.items()
                for section in stage.sections
                if (section.machine, section.section) == key
            }
            rows = _rows(judged, recordings, (name, key[0]))
            below = gallery.below(f"clips_{name}_{key[0]}_section_{key[1]}")
            found.append((f"{label}, {stage_title.lower()}", rows, judged, below))
    lists = []
    total = sum(len(rows[: most or None]) for _, rows, *_ in found)
    with progress.bar("Listening", total, "clips") as advance:
        for title, rows, judged, below in found:
            shown = rows[: most or None]
            lists.append(
                {
                    "title": title,
                    "caption": _caption(len(shown), len(rows), len(judged)),
                    "cards": clip_cards(shown, below, advance),
                    "table": _table(rows, judged),
                }
            )
    return lists


def _judged(section: MachineSection, decisions: Decisions, label: str) -> pd.DataFrame:
    """Test clips by file: ``condition``, ``score``, ``p``, ``threshold`` (NaN where none is)."""
    try:
        limit = set_threshold(
            section.train, section.train_domains, decisions.rule, decisions.quantile, label
        ).value
    except (ScoresError, TooFewClipsError):  # the machine's card says why
        limit = np.nan
    tests = section.tests.set_index("file")
    p = p_values(section.scores(), section.train) if len(section.train) else np.nan
    return tests[["condition", "score"]].assign(p=p, threshold=limit)


def _rows(
    judged: Mapping[str, pd.DataFrame], recordings: Recordings, where: tuple[str, str]
) -> list[ClipRow]:
    """A row for each clip that any system scored, the most anomalous first."""
    single = len(judged) == 1
    table = pd.concat(judged.values())
    clips = table.assign(alarm=table["score"] > table["threshold"]).groupby(level=0)
    columns = (
        clips["condition"].first(), clips["score"].first(), clips["p"].mean(),
        clips["threshold"].first(), clips["alarm"].sum(), clips["threshold"].count(),
    )  # fmt: skip
    rows = []
    for file, *values in zip(columns[0].index, *(each.tolist() for each in columns), strict=True):
        condition, score, p, limit, alarms, limits = values
        verdict = (ANOMALOUS if alarms else "normal") if limits else "no threshold"
        if limits and not single:
            verdict += f" for {alarms or limits} of {limits} systems"
        sound = recordings.get((*where, str(file)))
        rows.append(
            ClipRow(
                file=str(file),
                verdict=verdict,
                score=score if single else None,
                p_value=None if np.isnan(p) else p,
                threshold=limit if single and limits else None,
                condition=condition,
                notes=() if sound else ("Its recording is not in the data folder.",),
                sound=sound,
            )
        )
    return in_order(rows)


def _caption(shown: int, rows: int, systems: int) -> str:
    order = "by score" if systems == 1 else f"by the mean p value of {systems} systems"
    if shown == rows:
        return f"{rows} test clips {order}."
    return f"The {shown} most anomalous of {rows} test clips {order}; more with --most."


def _table(rows: Sequence[ClipRow], judged: Mapping[str, pd.DataFrame]) -> Table:
    """All clips with the numbers of each system."""
    single = len(judged) == 1

    def number(value: float | None) -> str:
        return NONE if value is None or np.isnan(value) else f"{value:.4g}"

    lines = []
    for row in rows:
        each = [table["p"].get(row.file) for table in judged.values()]
        first = [row.score] if single else each
        label = {"anomaly": ANOMALOUS, "": "unknown"}.get(row.condition, row.condition)
        cells = [number(value) for value in (*first, row.p_value)]
        lines.append(Line((row.file, label), cells, words=row.verdict))
    heads = ["Score", "p"] if single else [*(f"p, {name}" for name in judged), "Mean p"]
    return Table(["Clip", "Label", *heads, "Decision"], lines, "Clips, the most anomalous first")
