"""An evaluation as the table that reports print: metrics of each machine type, then over all."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from dcase_asd.editions.edition import Metric, load_edition
from dcase_asd.metrics.bootstrap import LEVEL, Interval, Intervals
from dcase_asd.metrics.official import Evaluation, official_means, score_word
from dcase_asd.metrics.strata import CONDITIONS, Stratum
from dcase_asd.recipe.subset import EVERYTHING, Subset


@dataclass(frozen=True)
class EvaluationReport:
    """What `evaluate` found out about one system.

    Attributes:
        edition: Name of the edition.
        target: Name of the run or of the folder with official files.
        labels: Where the labels are from: ``file names``, or the ground truth by its name.
        evaluation: The official result.
        interval: Bootstrap interval of the official score (2020, and one's own machines: of the
            mean of AUC and pAUC).
        clips: Per machine, section, domain and condition how many clips were evaluated.
        complete: Whether all machines and sections of the stage were evaluated.
        notes: What the user should know of.
        intervals: Of one's own machines, intervals of AUC and pAUC (see `own_intervals`).
        subset: Which machine types and sections were taken of what is scored, or scored; over some
            of them the score is not the official one.
    """

    edition: str
    target: str
    labels: str
    evaluation: Evaluation
    interval: Interval | None
    clips: dict[Stratum, int]
    complete: bool
    notes: tuple[str, ...]
    intervals: Intervals = field(default_factory=dict)
    subset: Subset = EVERYTHING

    @property
    def official(self) -> bool:
        """Whether this is a result of a year of the challenge."""
        return load_edition(self.edition).official

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON values, in full precision; scores in [0, 1]."""
        evaluation, interval = self.evaluation, None
        official = evaluation.official_score
        part: dict[str, Any] = {}
        if self.subset:
            part = {"subset": self.subset.given(), "subset_score": evaluation.score}
        if self.interval is not None:
            of = "subset_score" if part else "means.mean" if official is None else "official_score"
            interval = {"of": of, **asdict(self.interval)}
        intervals = {
            name: {key: asdict(each) for key, each in of_machine.items()}
            for name, of_machine in self.intervals.items()
        }
        own = {"means": intervals.pop("", None), "machines": intervals}
        return {
            "edition": self.edition,
            "target": self.target,
            "official_score": None if part else official,
            **part,
            "confidence_interval": interval,
            **({"confidence_intervals": own} if self.intervals else {}),
            "metric": evaluation.metric,
            "labels": self.labels,
            "complete": self.complete,
            "clips": self._count(),
            "means": evaluation.means,
            "machines": evaluation.machines,
            "sections": [
                {
                    "machine": section.machine,
                    "section": section.section,
                    "domain": section.domain,
                    "clips": self._count(section.machine, section.section, section.domain),
                    **section.result,
                }
                for section in evaluation.sections
            ],
            "official_means": official_means(evaluation) if self.official and not part else None,
            "notes": list(self.notes),
        }

    def summary(self) -> str:
        """The result in one line, in percent; that of one's own machines is AUC and pAUC."""
        evaluation, interval = self.evaluation, self.interval
        resamples = f", {interval.resamples} resamples" if interval else ""
        if self.official:
            word = score_word(evaluation.metric, of_subset=bool(self.subset))
            text = f"{word} {100 * evaluation.score:.2f} %"
            text += f" ({interval.words}{resamples})" if interval else ""
            return f"{text}; {self.subset} alone: not the official score" if self.subset else text
        parts, intervals = [], self.intervals.get("", {})
        for key in ("auc", "pauc"):
            text = f"{METRICS[evaluation.metric][key]} {100 * evaluation.means[key]:.2f} %"
            parts.append(f"{text} ({intervals[key].words})" if key in intervals else text)
        alone = f"; {self.subset} alone" if self.subset else ""
        return f"{' and '.join(parts)}{resamples}{alone}"

    def _count(self, machine: str = "", section: str = "", domain: str = "") -> dict[str, int]:
        """How many clips of each condition; an empty name stands for all."""
        counts = dict.fromkeys(CONDITIONS, 0)
        wanted = (machine, section, domain)
        for (*names, condition), count in self.clips.items():
            if all(name in ("", found) for name, found in zip(wanted, names, strict=True)):
                counts[condition] += count
        return counts


METRICS: dict[Metric, dict[str, str]] = {
    "2020": {
        "auc": "AUC",
        "pauc": "pAUC",
        "auc_source": "AUC_s",
        "auc_target": "AUC_t",
        "mean": "mean",
    },
    "2021": {
        "auc_source": "AUC_s",
        "auc_target": "AUC_t",
        "pauc_source": "pAUC_s",
        "pauc_target": "pAUC_t",
        "hmean": "hmean",
    },
    "2022": {"auc_source": "AUC_s", "auc_target": "AUC_t", "pauc": "pAUC", "hmean": "hmean"},
}
"""Key of a result -> what the table calls it, in the order of the rows; 2020 for one's own
machines, too, where domains may be known."""

MEANS = {"hmean", "mean"}
"""What stands for the machine in the rows over all."""
INTERVAL = f"{100 * LEVEL:.0f} % interval"
"""Heading of the intervals."""


@dataclass(frozen=True)
class Row:
    """One value of the table, in [0, 1]; the last `machine` is ``hmean`` (2020: ``mean``).

    `interval` is known of the AUC and pAUC of one's own machines.
    """

    machine: str
    metric: str
    value: float
    interval: Interval | None = None

    @property
    def percent(self) -> str:
        """The value as it is printed: percent with two decimals."""
        return f"{100 * self.value:.2f}"


def table_rows(evaluation: Evaluation, intervals: Intervals | None = None) -> list[Row]:
    """The rows of the table: machine types in alphabetical order, then the means over all."""
    names = METRICS[evaluation.metric]
    machines = sorted(evaluation.machines, key=str.lower)
    blocks = [(machine, machine, evaluation.machines[machine]) for machine in machines]
    blocks.append((list(names)[-1], "", evaluation.means))
    known: Mapping[str, Mapping[str, Interval]] = intervals or {}
    return [
        Row(machine, name, values[key], known.get(whose, {}).get(key))
        for machine, whose, values in blocks
        for key, name in names.items()
        if key in values
    ]


def columns_of(system: str, intervals: Intervals | None) -> list[str]:
    """The headings of the table; with intervals a last one for them."""
    return ["Machine", "Metric", system, *([INTERVAL] if intervals else [])]


def cells_of(row: Row, intervals: Intervals | None) -> list[str]:
    """A row's cells below `columns_of`."""
    shown = [row.interval.percent if row.interval else ""] if intervals else []
    return [row.machine, row.metric, row.percent, *shown]


@dataclass(frozen=True)
class ResultTable:
    """Results as a table: headings and cells, each row with its machine."""

    columns: list[str]
    rows: list[list[str]]

    def csv(self) -> str:
        """The table as CSV, in percent with two decimals."""
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([self.columns, *self.rows])
        return text.getvalue()

    def markdown(self) -> str:
        """The table as Markdown; a machine's name stands in its first row."""
        table = [self.columns, *self._blocks()]
        lines = [
            f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in table
        ]
        rule = f"|---|---|{'---:|' * (len(table[0]) - 2)}"
        return "\n".join([lines[0], rule, *lines[1:]]) + "\n"

    def latex(self) -> str:
        """The table as a LaTeX tabular that needs no package."""
        lines = [rf"\begin{{tabular}}{{ll{'r' * (len(self.columns) - 2)}}}", r"\hline"]
        lines.append(rf"{' & '.join(map(_escaped, self.columns))} \\")
        for cells in self._blocks():
            if cells[0]:
                lines.append(r"\hline")
            lines.append(rf"{' & '.join(map(_escaped, cells))} \\")
        return "\n".join([*lines, r"\hline", r"\end{tabular}"]) + "\n"

    def _blocks(self) -> list[list[str]]:
        """The cells of each row; a machine's name is empty after its first row."""
        before = ["", *(machine for machine, *_ in self.rows)]
        return [
            ["" if machine == previous else machine, *cells]
            for (machine, *cells), previous in zip(self.rows, before, strict=False)
        ]


def result_table(reports: Sequence[EvaluationReport]) -> ResultTable:
    """The table of one result, or of several side by side; ``-`` where one has no such value."""
    if len(reports) == 1:
        (report,) = reports
        return _table(report.evaluation, report.target, report.intervals)
    values = [
        {(row.machine, row.metric): row.percent for row in table_rows(each.evaluation)}
        for each in reports
    ]
    # The means stand last, also where a machine is only in a later system.
    means = [key for key in values[0] if key[0] in MEANS]
    keys = sorted({key[0] for of in values for key in of} - MEANS, key=str.lower)
    metrics = dict.fromkeys(key[1] for of in values for key in of)
    rows = [(machine, name) for machine in keys for name in metrics
            if any((machine, name) in of for of in values)]  # fmt: skip
    return ResultTable(
        ["Machine", "Metric", *(each.target for each in reports)],
        [[*key, *(of.get(key, "-") for of in values)] for key in (*rows, *means)],
    )


def as_csv(evaluation: Evaluation, system: str, intervals: Intervals | None = None) -> str:
    """The table of one system as CSV."""
    return _table(evaluation, system, intervals).csv()


def as_markdown(evaluation: Evaluation, system: str, intervals: Intervals | None = None) -> str:
    """The table of one system as Markdown."""
    return _table(evaluation, system, intervals).markdown()


def as_latex(evaluation: Evaluation, system: str, intervals: Intervals | None = None) -> str:
    """The table of one system as LaTeX."""
    return _table(evaluation, system, intervals).latex()


def _table(evaluation: Evaluation, system: str, intervals: Intervals | None) -> ResultTable:
    rows = [cells_of(row, intervals) for row in table_rows(evaluation, intervals)]
    return ResultTable(columns_of(system, intervals), rows)


def _escaped(text: str) -> str:
    """Text with LaTeX's special characters; ``AUC_s`` gets a subscript."""
    name, underscore, index = text.partition("_")
    if underscore and name in ("AUC", "pAUC"):
        return f"{name}$_{index}$"
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(special.get(c, f"\\{c}" if c in "&%$#_{}" else c) for c in text)
