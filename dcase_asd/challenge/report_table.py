"""An evaluation as the table that reports print: metrics of each machine type, then over all."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass

from dcase_asd.challenge.bootstrap import LEVEL, Interval, Intervals
from dcase_asd.challenge.edition import Metric
from dcase_asd.challenge.metrics import Evaluation

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


def as_csv(evaluation: Evaluation, system: str, intervals: Intervals | None = None) -> str:
    """The table as CSV, in percent with two decimals."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns_of(system, intervals))
    writer.writerows(cells_of(row, intervals) for row in table_rows(evaluation, intervals))
    return text.getvalue()


def as_markdown(evaluation: Evaluation, system: str, intervals: Intervals | None = None) -> str:
    """The table as Markdown; a machine's name stands in its first row."""
    table = [columns_of(system, intervals), *_blocks(evaluation, intervals)]
    lines = [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in table]
    rule = f"|---|---|{'---:|' * (len(table[0]) - 2)}"
    return "\n".join([lines[0], rule, *lines[1:]]) + "\n"


def as_latex(evaluation: Evaluation, system: str, intervals: Intervals | None = None) -> str:
    """The table as a LaTeX tabular that needs no package."""
    columns = columns_of(system, intervals)
    lines = [rf"\begin{{tabular}}{{ll{'r' * (len(columns) - 2)}}}", r"\hline"]
    lines.append(rf"{' & '.join(map(_escaped, columns))} \\")
    for cells in _blocks(evaluation, intervals):
        if cells[0]:
            lines.append(r"\hline")
        lines.append(rf"{' & '.join(map(_escaped, cells))} \\")
    return "\n".join([*lines, r"\hline", r"\end{tabular}"]) + "\n"


def _blocks(evaluation: Evaluation, intervals: Intervals | None) -> list[list[str]]:
    """The cells of each row; a machine's name is empty after its first row."""
    rows = table_rows(evaluation, intervals)
    before = ["", *(row.machine for row in rows)]
    return [
        ["" if row.machine == previous else row.machine, *cells_of(row, intervals)[1:]]
        for row, previous in zip(rows, before, strict=False)
    ]


def _escaped(text: str) -> str:
    """Text with LaTeX's special characters; ``AUC_s`` gets a subscript."""
    name, underscore, index = text.partition("_")
    if underscore and name in ("AUC", "pAUC"):
        return f"{name}$_{index}$"
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(special.get(c, f"\\{c}" if c in "&%$#_{}" else c) for c in text)
