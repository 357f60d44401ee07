"""The rows of means in the result files of the official evaluators, to the last bit."""

from __future__ import annotations

from typing import Literal

import numpy as np

from dcase_asd.challenge.curves import DOMAINS
from dcase_asd.challenge.edition import Metric
from dcase_asd.challenge.metrics import Evaluation, SectionResult
from dcase_asd.challenge.ranking import harmonic_means

ALL = "all"
"""Key of the means over all machine types, sections and domains."""

COLUMNS = ("auc", "pauc", "precision", "recall", "f1")
"""Columns of the official result files; the last three only with decisions."""

Means = dict[str, dict[str, float]]
"""Row (``arithmetic mean``, ``harmonic mean``, ``source harmonic mean``, …) -> column -> mean."""


def official_means(evaluation: Evaluation) -> dict[str, Means]:
    """Means over sections and domains for each machine type and over `ALL` of them.

    A machine's source and target rows of 2022 are not those of that year's script, which splits
    the sections in two halves instead of the domains; later scripts take the domains as done here.
    """
    sections = evaluation.sections
    groups = {
        machine: [section for section in sections if section.machine == machine]
        for machine in evaluation.machines
    }
    groups[ALL] = list(sections)
    metric = evaluation.metric
    return {name: _means(_rows(group, metric), metric) for name, group in groups.items()}


def _rows(sections: list[SectionResult], metric: Metric) -> list[tuple[str, dict[str, float]]]:
    """Domain and values of each row that the means are taken over."""
    if metric != "2022":
        return [(section.domain, section.result) for section in sections]
    return [
        (
            domain,
            {"pauc": section.result["pauc"]}
            | {
                column: section.result[f"{column}_{domain}"]
                for column in COLUMNS
                if f"{column}_{domain}" in section.result
            },
        )
        for domain in DOMAINS
        for section in sections
        if f"auc_{domain}" in section.result
    ]


def _means(rows: list[tuple[str, dict[str, float]]], metric: Metric) -> Means:
    columns = [column for column in COLUMNS if all(column in row for _, row in rows)]
    values = {
        domain: [[row[column] for column in columns] for name, row in rows if domain in ("", name)]
        for domain in ("", *DOMAINS)
    }
    # From 2022 on each column is summed by itself; before, whole rows were added to each other.
    order: Literal["C", "F"] = "F" if metric == "2022" else "C"
    tables = {name: np.array(table, order=order) for name, table in values.items() if table}
    means = {"arithmetic mean": tables[""].mean(axis=0)}
    for domain, table in tables.items():
        means[f"{domain} harmonic mean".strip()] = harmonic_means(table)
    return {
        name: dict(zip(columns, numbers.tolist(), strict=True)) for name, numbers in means.items()
    }
