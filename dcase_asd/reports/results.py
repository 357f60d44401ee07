"""The part of a report's page that says how good systems are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from dcase_asd.editions.edition import Edition
from dcase_asd.metrics.official import Evaluation
from dcase_asd.metrics.result import METRICS, table_rows
from dcase_asd.reports import page
from dcase_asd.reports.figures.bars import results_figure
from dcase_asd.reports.figures.heat_map import NONE, heat_map
from dcase_asd.reports.gallery import Gallery
from dcase_asd.reports.page import Html, Line
from dcase_asd.reports.read import STAGES, ReportedSystem, Stage

CHANCE = 0.5


def headline(systems: Sequence[ReportedSystem], edition: Edition) -> Html:
    """The scores that systems are ranked by: large of a single one, as a table of several."""
    word = score_word(edition)
    if len(systems) == 1:
        found = [
            (f"{100 * score_of(stage.evaluation):.2f} %", f"{word}, {_with_interval(stage)}")
            for stage in systems[0].stages
            if stage.evaluation is not None
        ]
        return page.tiles(found) if found else Html("")
    stages = [name for name in STAGES if any(_score(each, name) is not None for each in systems)]
    if not stages:
        return Html("")
    scores = [[_score(system, name) for name in stages] for system in systems]
    highest = [
        max(value for value in column if value is not None) for column in zip(*scores, strict=True)
    ]
    lines = [
        Line(
            (system.name,),
            [_percent(value) for value in row],
            frozenset(place for place, value in enumerate(row) if value == highest[place]),
        )
        for system, row in zip(systems, scores, strict=True)
    ]
    titles = [STAGES[name] for name in stages]
    return page.table(["System", *titles], lines, f"{word.capitalize()}, percent; the best in bold")


def score_facts(system: ReportedSystem, edition: Edition) -> list[tuple[str, str]]:
    """The scores of a system with their intervals, as names and values."""
    word = score_word(edition).capitalize()
    return [
        (word, f"{100 * score_of(stage.evaluation):.2f} %, {_with_interval(stage)}")
        for stage in system.stages
        if stage.evaluation is not None
    ]


def score_word(edition: Edition) -> str:
    """What the score is called that systems are compared by."""
    return "mean of AUC and pAUC" if edition.metric == "2020" else "official score"


def _with_interval(stage: Stage) -> str:
    title, of = stage.title.lower(), stage.interval
    if of is None:
        return title
    ends = f"{100 * of.lower:.2f} to {100 * of.upper:.2f}"
    return f"{title} ({100 * of.level:.0f} % interval {ends})"


def _score(system: ReportedSystem, name: str) -> float | None:
    stage = system.stage(name)
    return None if stage is None or stage.evaluation is None else score_of(stage.evaluation)


def _percent(value: float | None) -> str:
    return NONE if value is None else f"{100 * value:.2f}"


def score_of(evaluation: Evaluation) -> float:
    """The official score in [0, 1]; of 2020, which has none, the mean of AUC and pAUC."""
    score = evaluation.official_score
    return evaluation.means["mean"] if score is None else score


def stage_results(systems: Sequence[ReportedSystem], name: str, gallery: Gallery) -> Html:
    """Results of a stage: the report's Table 1 and a picture of it; empty without it."""
    stages = {system.name: stage for system in systems if (stage := system.stage(name))}
    if not stages:
        return Html("")
    title = page.heading(3, next(iter(stages.values())).title)
    found = {
        system: stage.evaluation for system, stage in stages.items() if stage.evaluation is not None
    }
    if not found:
        why = (
            "No result: the labels of these clips are not known. The report shows one "
            "once it is given the ground truth with --ground-truth."
        )
        reasons = [note for stage in stages.values() for note in stage.notes]
        return page.join([title, page.notes(reasons) if reasons else page.paragraph(why, "note")])
    labels = next(stage.labels for stage in stages.values() if stage.evaluation is not None)
    return page.join([title, page.beside([_table(found, labels), _picture(found, name, gallery)])])


def _table(found: Mapping[str, Evaluation], labels: str) -> Html:
    """A block of lines for each machine type and one for the means; a column for each system."""
    columns = [
        {(row.machine, row.metric): row.value for row in table_rows(evaluation)}
        for evaluation in found.values()
    ]
    lines: list[Line] = []
    before = ""
    for machine, metric in _keys(found):
        values = [column.get((machine, metric)) for column in columns]
        highest = max(value for value in values if value is not None)
        new = machine != before
        total = machine == list(_metrics(found).values())[-1]
        best = {place for place, value in enumerate(values) if value == highest}
        lines.append(
            Line(
                (machine if new else "", metric),
                [_percent(value) for value in values],
                frozenset(best) if len(found) > 1 else frozenset(),
                ("total" if total else "first") if new and lines else "",
            )
        )
        before = machine
    bold = "; the best value of a line in bold" if len(found) > 1 else ""
    return page.table(["Machine", "Metric", *found], lines, f"Percent; labels from {labels}{bold}")


def _picture(found: Mapping[str, Evaluation], name: str, gallery: Gallery) -> Html:
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
        figure = results_figure(machines, values)
        return gallery.show(figure, "", f"{name}_results", alt, "Dotted: chance.")
    *_, (key, word) = metrics.items()
    table = np.array(
        [
            [of.machines.get(machine, {}).get(key, np.nan) for machine in machines] + [score_of(of)]
            for of in found.values()
        ]
    )
    spread = (CHANCE, max(CHANCE + 0.1, float(np.nanmax(table))))
    figure = heat_map(
        [*found], [*machines, "all"], table, lambda value: f"{100 * value:.1f}", spread
    )
    listed = ", ".join(f"{system} {100 * score_of(of):.2f}" for system, of in found.items())
    alt = f"{word} of each system and machine type in percent; over all: {listed}."
    caption = f"{word} of each machine type, percent; no colour at chance."
    return gallery.show(figure, "", f"{name}_results", alt, caption)


def _keys(found: Mapping[str, Evaluation]) -> Iterator[tuple[str, str]]:
    """Machine and metric of each line that any of the systems has a value for."""
    rows = {(row.machine, row.metric) for of in found.values() for row in table_rows(of)}
    words = list(_metrics(found).values())
    for machine in (*_machines(found), words[-1]):
        yield from ((machine, word) for word in words if (machine, word) in rows)


def _machines(found: Mapping[str, Evaluation]) -> list[str]:
    return sorted({name for of in found.values() for name in of.machines}, key=str.lower)


def _metrics(found: Mapping[str, Evaluation]) -> dict[str, str]:
    return METRICS[next(iter(found.values())).metric]
