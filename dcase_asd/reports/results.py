"""The part of a report that says how good systems are, and the tables of all its parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcase_asd.editions.edition import Edition, Metric
from dcase_asd.metrics.official import Evaluation, score_word
from dcase_asd.metrics.result import METRICS, table_rows
from dcase_asd.reports.figures.bars import (
    Standing,
    axis_begin,
    results_figure,
    standings_figure,
)
from dcase_asd.reports.figures.heat_map import NONE, heat_map
from dcase_asd.reports.figures.style import Gallery, Picture
from dcase_asd.reports.leaderboard import DIFFERS, SCORES, compare_runs
from dcase_asd.reports.read import STAGES, ReportedSystem, Stage

CHANCE = 0.5


@dataclass(frozen=True)
class Line:
    """A line of a table.

    Attributes:
        heads: Leading cells, which name the line.
        cells: Numbers, as they are written.
        best: Places of the cells to be stressed.
        kind: ``first`` of a group, ``total`` or empty.
        span: How many lines the first head holds for; those below leave theirs out.
        words: A last cell in words; None where the table has no such column.
    """

    heads: Sequence[str]
    cells: Sequence[str]
    best: frozenset[int] = frozenset()
    kind: str = ""
    span: int = 1
    words: str | None = None


@dataclass(frozen=True)
class Table:
    """A table of at least one line; its first line has all heads."""

    columns: Sequence[str]
    lines: Sequence[Line]
    caption: str


def stage_scores(system: ReportedSystem) -> list[tuple[str, str]]:
    """Score of each stage whose labels are known; the stage and its interval in words."""
    found = []
    for stage in system.stages:
        if stage.evaluation is None:
            continue
        words = stage.title.lower()
        if stage.interval is not None:
            words += f" ({stage.interval.words})"
        found.append((f"{_percent(stage.evaluation.score)} %", words))
    return found


def score_title(metric: Metric, systems: Sequence[ReportedSystem] = ()) -> str:
    """What the score is called that systems are compared by, with a capital."""
    word = score_word(metric, of_subset=any(system.subset for system in systems))
    return f"{word[0].upper()}{word[1:]}"


def ranking(systems: Sequence[ReportedSystem], edition: Edition) -> Table | None:
    """The leaderboard of several systems; None where no labels are known."""
    board = compare_runs(systems, edition.name)
    if not any(row.evaluations for row in board.rows):
        return None
    columns, rows = board.table()
    known = {
        column: [score for row in board.rows if (score := row.score(stage)) is not None]
        for column, stage in SCORES.items()
    }
    best = {column: _percent(max(scores)) for column, scores in known.items() if scores}
    worded = columns[-1] == DIFFERS
    lines = [
        Line(
            (name,),
            [NONE if cell == "-" else cell for cell in cells[: len(cells) - worded]],
            frozenset(
                place
                for place, (column, cell) in enumerate(zip(columns[1:], cells, strict=False))
                if cell == best.get(column)
            ),
            words=cells[-1] if worded else None,
        )
        for name, *cells in rows
    ]
    caption = f"{score_title(edition.metric, systems)}, percent; the best in bold"
    caption += f"; {board.explanation}" if board.explanation else ""
    return Table(columns, lines, caption)


def stage_results(
    systems: Sequence[ReportedSystem], name: str, gallery: Gallery
) -> dict[str, Any] | None:
    """Results of a stage: the report's Table 1 and a picture of it.

    Returns:
        None where no system has scores of it; without a table where none has a result, but with
        the notes that say why.
    """
    stages = {system.name: stage for system in systems if (stage := system.stage(name))}
    if not stages:
        return None
    shown: dict[str, Any] = {"title": STAGES[name], "notes": [], "table": None, "picture": None}
    shown["standings"] = None
    found = {
        system: stage.evaluation for system, stage in stages.items() if stage.evaluation is not None
    }
    if found:
        labels = next(stage.labels for stage in stages.values() if stage.evaluation is not None)
        shown["table"] = _table(found, labels)
        span = _span(systems)
        shown["picture"] = _picture(found, name, gallery, span)
        if len(found) > 1:
            word = score_word(
                next(iter(found.values())).metric, of_subset=any(each.subset for each in systems)
            )
            shown["standings"] = _standings(stages, name, gallery, axis_begin(span[0]), word)
    else:
        shown["notes"] = [note for stage in stages.values() for note in stage.notes]
    return shown


def _span(systems: Sequence[ReportedSystem]) -> tuple[float, float]:
    """The smallest and largest value of both stages, by which their pictures have equal axes."""
    stages = [stage for each in systems for stage in each.stages if stage.evaluation is not None]
    values = [stage.interval.lower for stage in stages if stage.interval is not None]
    for stage in stages:
        if stage.evaluation is not None:
            values += [row.value for row in table_rows(stage.evaluation)]
    return float(np.nanmin(values)), float(np.nanmax(values))


def _standings(
    stages: Mapping[str, Stage], name: str, gallery: Gallery, begin: float, word: str
) -> Picture:
    """Scores with their intervals, best first."""
    standings = [
        Standing(system, of.evaluation.score, interval=None if at is None else (at.lower, at.upper))
        for system, of in stages.items()
        if of.evaluation is not None
        for at in (of.interval,)
    ]
    standings.sort(key=lambda each: -each.score)
    listed = ", ".join(f"{each.name} {100 * each.score:.2f}" for each in standings)
    figure = standings_figure(standings, word, begin)
    alt = f"{word[0].upper()}{word[1:]} of each system in percent, best first: {listed}."
    lines = " Lines: intervals of the table above." if standings[0].interval else ""
    return gallery.show(figure, f"{name}_standings", alt, f"Dotted: chance.{lines}")


def _percent(value: float) -> str:
    return NONE if np.isnan(value) else f"{100 * value:.2f}"


def _places(marks: NDArray[np.bool_]) -> frozenset[int]:
    return frozenset(np.flatnonzero(marks).tolist())


def _table(found: Mapping[str, Evaluation], labels: str) -> Table:
    """A block of lines for each machine type and one for the means; a column for each system."""
    columns = [
        {(row.machine, row.metric): row.value for row in table_rows(evaluation)}
        for evaluation in found.values()
    ]
    several = len(found) > 1
    words = list(_metrics(found).values())
    lines: list[Line] = []
    for machine in (*_machines(found), words[-1]):
        metrics = [word for word in words if any((machine, word) in each for each in columns)]
        for number, metric in enumerate(metrics):
            values = np.array([each.get((machine, metric), np.nan) for each in columns])
            cells = list(map(_percent, values))
            best = _places(several & (values == np.nanmax(values)))
            if number:
                lines.append(Line((metric,), cells, best))
                continue
            kind = "total" if machine == words[-1] else "first" if lines else ""
            lines.append(Line((machine, metric), cells, best, kind, span=len(metrics)))
    bold = "; the best value of a line in bold" if several else ""
    return Table(["Machine", "Metric", *found], lines, f"Percent; labels from {labels}{bold}")


def _picture(
    found: Mapping[str, Evaluation], name: str, gallery: Gallery, span: tuple[float, float]
) -> Picture:
    """Every value of a single system, or of several the summary of each machine type."""
    machines = _machines(found)
    metrics = _metrics(found)
    if len(found) == 1:
        ((system, evaluation),) = found.items()
        values = {
            word: np.array([evaluation.machines[each].get(key, np.nan) for each in machines])
            for key, word in metrics.items()
            if any(key in evaluation.machines[each] for each in machines)
        }
        alt = f"Results of {system} for each machine type, as in the table beside."
        figure = results_figure(machines, values, axis_begin(span[0]))
        return gallery.show(figure, f"{name}_results", alt, "Dotted: chance.")
    *_, (key, word) = metrics.items()
    table = np.array(
        [
            [of.machines.get(machine, {}).get(key, np.nan) for machine in machines] + [of.score]
            for of in found.values()
        ]
    )
    spread = (CHANCE, max(CHANCE + 0.1, span[1]))
    figure = heat_map(
        [*found], [*machines, "all"], table, lambda value: f"{100 * value:.1f}", spread
    )
    listed = ", ".join(f"{system} {100 * of.score:.2f}" for system, of in found.items())
    alt = f"{word} of each system and machine type in percent; over all: {listed}."
    caption = f"{word} of each machine type, percent; no color at chance and below."
    return gallery.show(figure, f"{name}_results", alt, caption)


def _machines(found: Mapping[str, Evaluation]) -> list[str]:
    return sorted({name for of in found.values() for name in of.machines}, key=str.lower)


def _metrics(found: Mapping[str, Evaluation]) -> dict[str, str]:
    return METRICS[next(iter(found.values())).metric]
