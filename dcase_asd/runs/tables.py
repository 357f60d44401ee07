"""The tables of submitted systems: one for each, and one of all side by side."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dcase_asd.files import write_text
from dcase_asd.fusion.result import FusionResult
from dcase_asd.metrics.result import EvaluationReport, as_csv, as_markdown, table_rows
from dcase_asd.miniature.miniature import MARKER

FOLDER = "results"
"""Folder of the tables, beside the packages."""
GENERATED = "The recordings are generated: these figures say nothing about real machines.\n"


@dataclass(frozen=True)
class Result:
    """A submitted system's results: its label, its evaluations, and of a fusion what was fitted."""

    label: str
    evaluations: Sequence[EvaluationReport]
    fusion: FusionResult | None


def write_tables(out: Path, data: Path, results: Sequence[Result]) -> list[Path]:
    """Write the tables of submitted systems.

    ``<label>.dev.md`` and ``.csv`` hold a system's development results, ``.eval`` those by ground
    truth; ``summary.md`` and ``.csv`` all development results side by side.

    Args:
        out: Folder for packages; the tables go into `FOLDER` below it.
        data: Data folder, which tells whether the recordings are generated.
        results: Of all submitted systems.

    Returns:
        The files, summaries last.

    Raises:
        ArtifactError: A file cannot be written.
    """
    folder = out / FOLDER
    warning = f"\n{GENERATED}" if (data / MARKER).exists() else ""
    written = []
    for result in results:
        for report in result.evaluations:
            stage = "dev" if report.labels == "file names" else "eval"
            path = folder / f"{result.label}.{stage}.md"
            table = as_markdown(report.evaluation, result.label, report.intervals)
            title = f"# {result.label}: {report.edition}, percent; labels from {report.labels}"
            write_text(path, f"{title}\n\n{table}\n{report.summary()}\n{warning}")
            content = as_csv(report.evaluation, result.label, report.intervals)
            write_text(path.with_suffix(".csv"), content)
            written += [path, path.with_suffix(".csv")]
    rows = _side_by_side(results)
    if rows:
        labels = [result.label for result in results]
        summary = folder / "summary.md"
        write_text(summary, _summary(results, rows) + warning)
        write_text(summary.with_suffix(".csv"), _csv(("Machine", "Metric", *labels), rows))
        written += [summary, summary.with_suffix(".csv")]
    return written


def development(evaluations: Sequence[EvaluationReport]) -> EvaluationReport | None:
    """The evaluation on a development set, by file names; None where there is none."""
    return next((each for each in evaluations if each.labels == "file names"), None)


def fitted_rows(results: Sequence[Result]) -> list[tuple[str, str, str, str]]:
    """Label, dev score, leave-one-machine-out estimate, equal weights; in percent."""
    rows = []
    for result in results:
        report, fusion = development(result.evaluations), result.fusion
        left_out = None if fusion is None else fusion.leave_one_machine_out
        score = None if report is None else report.evaluation.score
        equal = None if fusion is None else fusion.equal_weights
        figures = (score, None if left_out is None else left_out.score, equal)
        first, second, third = ("-" if each is None else f"{100 * each:.2f}" for each in figures)
        rows.append((result.label, first, second, third))
    return rows


def _side_by_side(results: Sequence[Result]) -> list[tuple[str, ...]]:
    """Machine, metric and the value of each system, in percent; ``-`` where there is none."""
    columns: list[dict[tuple[str, str], str]] = []
    order: dict[tuple[str, str], None] = {}
    for result in results:
        report = development(result.evaluations)
        rows = [] if report is None else table_rows(report.evaluation)
        columns.append({(row.machine, row.metric): row.percent for row in rows})
        order |= dict.fromkeys(columns[-1])
    return [(*key, *(column.get(key, "-") for column in columns)) for key in order]


def _summary(results: Sequence[Result], rows: list[tuple[str, ...]]) -> str:
    labels = [result.label for result in results]
    seen = ""
    shown = []
    for machine, *others in rows:
        shown.append(("" if machine == seen else machine, *others))
        seen = machine
    lines = [
        "# Development results of the submitted systems, percent",
        "",
        *_markdown(("Machine", "Metric", *labels), shown, numbers=len(labels)),
        "",
        "The score is the official one; of 2020 and one's own machines the mean of AUC and pAUC.",
        "Weights are fitted to the development labels. `left out` is the score of machine types",
        "that were left out of the fit; `equal weights` is that of the same systems' mean.",
        "",
        *_markdown(("System", "score", "left out", "equal weights"), fitted_rows(results), 3),
    ]
    for result in results:
        left_out = None if result.fusion is None else result.fusion.leave_one_machine_out
        if left_out is not None and left_out.chosen:
            last = left_out.last_checkpoints
            known = "" if last is None else f"; with last checkpoints it is {100 * last:.2f}"
            lines += ["", f"{result.label}: labels of left-out machines, too, chose checkpoints or "
                      f"weights of {', '.join(left_out.chosen)}{known}."]  # fmt: skip
        if result.fusion is not None:
            lines += ["", *_weights(result.label, result.fusion)]
    return "\n".join(lines) + "\n"


def _weights(label: str, fusion: FusionResult) -> list[str]:
    alone = fusion.alone or (None,) * len(fusion.systems)
    weights = fusion.weights or (None,) * len(fusion.systems)
    rows = [
        (
            system,
            "-" if weight is None else f"{weight:.3f}",
            "-" if score is None else f"{100 * score:.2f}",
        )
        for system, weight, score in zip(fusion.systems, weights, alone, strict=True)
    ]
    return [
        f"{label}: {fusion.searched}.",
        "",
        *_markdown(("System", "weight", "alone"), rows, 2),
    ]


def _markdown(columns: Sequence[str], rows: Sequence[Sequence[str]], numbers: int) -> list[str]:
    """A table whose last columns hold numbers."""
    rule = ["---"] * (len(columns) - numbers) + ["---:"] * numbers
    return [f"| {' | '.join(cells)} |" for cells in (columns, rule, *rows)]


def _csv(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()
