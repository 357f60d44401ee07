"""An evaluation as the table that reports print: metrics of each machine type, then over all."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass

from dcase_asd.challenge.edition import Metric
from dcase_asd.challenge.metrics import Evaluation

METRICS: dict[Metric, dict[str, str]] = {
    "2020": {"auc": "AUC", "pauc": "pAUC", "mean": "mean"},
    "2021": {
        "auc_source": "AUC_s",
        "auc_target": "AUC_t",
        "pauc_source": "pAUC_s",
        "pauc_target": "pAUC_t",
        "hmean": "hmean",
    },
    "2022": {"auc_source": "AUC_s", "auc_target": "AUC_t", "pauc": "pAUC", "hmean": "hmean"},
}
"""Key of a result -> what the table calls it, in the order of the rows."""


@dataclass(frozen=True)
class Row:
    """One value of the table, in [0, 1]; the last `machine` is ``hmean`` (2020: ``mean``)."""

    machine: str
    metric: str
    value: float

    @property
    def percent(self) -> str:
        """The value as it is printed: percent with two decimals."""
        return f"{100 * self.value:.2f}"


def table_rows(evaluation: Evaluation) -> list[Row]:
    """The rows of the table: machine types in alphabetical order, then the means over all."""
    names = METRICS[evaluation.metric]
    machines = sorted(evaluation.machines, key=str.lower)
    blocks = [(machine, evaluation.machines[machine]) for machine in machines]
    blocks.append((list(names)[-1], evaluation.means))
    return [
        Row(machine, name, values[key])
        for machine, values in blocks
        for key, name in names.items()
        if key in values
    ]


def as_csv(evaluation: Evaluation, system: str) -> str:
    """The table as CSV, in percent with two decimals."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("Machine", "Metric", system))
    writer.writerows((row.machine, row.metric, row.percent) for row in table_rows(evaluation))
    return text.getvalue()


def as_markdown(evaluation: Evaluation, system: str) -> str:
    """The table as Markdown; a machine's name stands in its first row."""
    rows = [(machine, row.metric, row.percent) for machine, row in _blocks(evaluation)]
    table = [("Machine", "Metric", system), *rows]
    lines = [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in table]
    return "\n".join([lines[0], "|---|---|---:|", *lines[1:]]) + "\n"


def as_latex(evaluation: Evaluation, system: str) -> str:
    """The table as a LaTeX tabular that needs no package."""
    lines = [r"\begin{tabular}{llr}", r"\hline", rf"Machine & Metric & {_escaped(system)} \\"]
    for machine, row in _blocks(evaluation):
        if machine:
            lines.append(r"\hline")
        lines.append(rf"{_escaped(machine)} & {_escaped(row.metric)} & {row.percent} \\")
    return "\n".join([*lines, r"\hline", r"\end{tabular}"]) + "\n"


def _blocks(evaluation: Evaluation) -> list[tuple[str, Row]]:
    """Each row with its machine's name, which is empty after the first row of a machine."""
    rows = table_rows(evaluation)
    before = ["", *(row.machine for row in rows)]
    return [
        ("" if row.machine == previous else row.machine, row)
        for row, previous in zip(rows, before, strict=False)
    ]


def _escaped(text: str) -> str:
    """Text with LaTeX's special characters; ``AUC_s`` gets a subscript."""
    name, underscore, index = text.partition("_")
    if underscore and name in ("AUC", "pAUC"):
        return f"{name}$_{index}$"
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(special.get(c, f"\\{c}" if c in "&%$#_{}" else c) for c in text)
