"""Each year's official result, computed as the official evaluators do.

    2020    per machine ID: AUC and pAUC; arithmetic means; no single score; also one's own machines
    2021    per section and domain: AUC and pAUC on that domain's clips alone
    2022-   per section: AUC of the source and of the target domain, each with its own normal clips
            against ALL anomalous clips of the section, and one pAUC over both domains

The official score of 2021 and of 2022 and later is the harmonic mean of all these values. Values
enter sums in the evaluators' order: machines in ASCII order, then sections.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dcase_asd.clips.name import DOMAINS
from dcase_asd.editions.edition import Metric
from dcase_asd.metrics.ranking import FLOOR, auc_and_pauc, harmonic_mean, harmonic_means
from dcase_asd.metrics.strata import CONDITIONS, Strata, Stratum, build_curves, find_strata

ALL = "all"
"""Key of the means over all machine types, sections and domains."""

COLUMNS = ("auc", "pauc", "precision", "recall", "f1")
"""Columns of the official result files; the last three only with decisions."""


@dataclass(frozen=True)
class SectionResult:
    """Results of one section of a machine (2021: of one domain of it), all in [0, 1].

    `result` holds, as far as they are defined: 2020 ``auc``, ``pauc``; 2021 the same with
    `domain` set; 2022 ``auc`` (of all clips; not scored), ``auc_source``, ``auc_target``,
    ``pauc``. With decisions also ``precision``, ``recall`` and ``f1``, in 2022 of each domain:
    ``precision_source``, … One's own machines have what 2020 has, and ``auc_source`` and
    ``auc_target`` as from 2022 on where a section has both domains.
    """

    machine: str
    section: str
    domain: str
    result: dict[str, float]


@dataclass(frozen=True)
class Evaluation:
    """The official result of one system.

    Attributes:
        metric: Which recipe was followed.
        sections: Values of each section, sorted by machine, (2021: domain,) section.
        machines: Values of each machine type: harmonic means (2020: arithmetic means) over its
            sections. 2020: ``auc``, ``pauc``, ``mean`` of both (one's own machines perhaps with
            ``auc_source``, ``auc_target``). 2021: ``auc``, ``pauc``,
            ``auc_source``, ``auc_target``, ``pauc_source``, ``pauc_target``, ``hmean``. 2022:
            ``auc_source``, ``auc_target``, ``pauc``, ``hmean``.
        means: The same over all machine types and sections (2020: over the machine types).
        official_score: The number that systems were ranked by; None in 2020, whose ranking
            averaged ranks.
        left_out: Sentences about values that are not defined on these clips.
    """

    metric: Metric
    sections: tuple[SectionResult, ...]
    machines: dict[str, dict[str, float]]
    means: dict[str, float]
    official_score: float | None
    left_out: tuple[str, ...] = ()

    @property
    def score(self) -> float:
        """What systems are compared by, in [0, 1]: `score_word` says what it is called."""
        return self.means["mean"] if self.official_score is None else self.official_score


def score_word(metric: Metric, *, of_subset: bool = False) -> str:
    """What the score is called; that of 2020 serves one's own machines, too.

    Args:
        metric: The recipe of the edition.
        of_subset: Whether it is over some machine types or sections, and not the official one.
    """
    if of_subset and metric != "2020":
        return "score of the subset"
    return "mean of AUC and pAUC" if metric == "2020" else "official score"


def evaluate(labelled: pd.DataFrame, metric: Metric, *, strict: bool = True) -> Evaluation:
    """The official result of one system.

    Args:
        labelled: One row per test clip: ``machine``, ``section``, ``file``, ``domain`` (empty where
            not defined), ``condition``, ``score`` and, where there are decisions, ``decision``
            (0 or 1).
        metric: The recipe of the edition.
        strict: Whether a value that is not defined is an error, as for a year of the challenge;
            otherwise it is left out, as for recordings of one's own.

    Raises:
        GroundTruthError: A section lacks normal or anomalous clips that the recipe needs.
    """
    strata = find_strata(labelled)
    curves = build_curves(strata, metric, strict=strict)
    scores = labelled["score"].to_numpy(dtype=np.float64)
    auc, pauc = auc_and_pauc(scores[curves.rows], curves.anomalous, curves.curve)
    values: dict[tuple[str, str, str], dict[str, float]] = {}
    for curve, area, partial in zip(curves.curves, auc.tolist(), pauc.tolist(), strict=True):
        if metric == "2022":
            of_section = values.setdefault((curve.machine, curve.section, ""), {})
            of_section[f"auc_{curve.domain}" if curve.domain else "auc"] = area
            if not curve.domain:
                of_section["pauc"] = partial
        else:
            values[curve.machine, curve.section, curve.domain] = {"auc": area, "pauc": partial}
    if metric == "2020" and not strict:
        _add_domain_values(values, strata, scores)
    if "decision" in labelled:
        _add_decision_values(values, strata, labelled["decision"].to_numpy(), metric)
    sections = [SectionResult(*key, result=found) for key, found in values.items()]
    return aggregate(sections, metric, curves.left_out)


def aggregate(
    sections: Sequence[SectionResult], metric: Metric, left_out: tuple[str, ...] = ()
) -> Evaluation:
    """Means and official score of the values of sections.

    Args:
        sections: Sorted by machine in ASCII order, then (2021: by domain, then) by section: the
            order of the official evaluators, which the last bit of a sum depends on.
        metric: The recipe of the edition.
        left_out: Sentences about values that are not defined.
    """
    machines = {
        machine: _means(list(group), metric)
        for machine, group in groupby(sections, key=lambda section: section.machine)
    }
    if metric == "2020":
        keys = dict.fromkeys(key for of in machines.values() for key in of)
        means = {
            key: float(np.mean([of[key] for of in machines.values() if key in of])) for key in keys
        }
    else:
        means = _means(sections, metric)
    return Evaluation(
        metric=metric, sections=tuple(sections), machines=machines, means=means,
        official_score=means.get("hmean"), left_out=left_out,
    )  # fmt: skip


def _means(sections: Sequence[SectionResult], metric: Metric) -> dict[str, float]:
    if metric == "2020":
        auc, pauc = (float(np.mean(_pooled(sections, key))) for key in ("auc", "pauc"))
        of_domains = {f"auc_{domain}": _pooled(sections, f"auc_{domain}") for domain in DOMAINS}
        known = {key: float(np.mean(pool)) for key, pool in of_domains.items() if pool}
        return {"auc": auc, "pauc": pauc, **known, "mean": (auc + pauc) / 2}
    keys = ("auc", "pauc") if metric == "2021" else ("auc_source", "auc_target", "pauc")
    pools = {key: _pooled(sections, key) for key in keys}
    scored = [value for pool in pools.values() for value in pool]
    if metric == "2022":
        means = {key: harmonic_mean(pool) for key, pool in pools.items() if pool}
        return {**means, "hmean": harmonic_mean(scored)}
    # The evaluator of 2021 sums the rows of a table with both columns; the last bit depends on it.
    table = np.array(list(pools.values())).T.copy()
    domains = np.array([section.domain for section in sections])
    means = dict(zip(keys, harmonic_means(table).tolist(), strict=True))
    for domain in DOMAINS:
        of_domain = harmonic_means(table[domains == domain]).tolist()
        means |= {f"{key}_{domain}": mean for key, mean in zip(keys, of_domain, strict=True)}
    return {**means, "hmean": harmonic_mean(scored)}


def _pooled(sections: Sequence[SectionResult], key: str) -> list[float]:
    return [section.result[key] for section in sections if key in section.result]


def _add_domain_values(
    values: dict[tuple[str, str, str], dict[str, float]],
    strata: Strata,
    scores: NDArray[np.float64],
) -> None:
    """Add the AUC of each domain against all anomalous clips to sections that have both domains."""
    curves = build_curves(strata, "2022", strict=False)
    areas, _ = auc_and_pauc(scores[curves.rows], curves.anomalous, curves.curve)
    found = dict(zip((curve[:3] for curve in curves.curves), areas.tolist(), strict=True))
    for machine, section, _ in [key for key in found if not key[2]]:
        of_domains = {f"auc_{each}": found.get((machine, section, each)) for each in DOMAINS}
        known = {key: area for key, area in of_domains.items() if area is not None}
        if len(known) == len(DOMAINS):
            values[machine, section, ""] |= known


def _add_decision_values(
    values: dict[tuple[str, str, str], dict[str, float]],
    strata: Strata,
    decisions: NDArray[Any],
    metric: Metric,
) -> None:
    """Add precision, recall and F1 of the decisions, each on the clips of one domain alone.

    In 2020, and for one's own machines, on all clips of the section.
    """
    alarms: dict[Stratum, tuple[int, int]] = {}
    for name, rows in zip(strata.names, strata.rows, strict=True):
        whose = name._replace(domain="") if metric == "2020" else name
        alarmed, clips = alarms.get(whose, (0, 0))
        alarms[whose] = alarmed + int(decisions[rows].sum()), clips + len(rows)
    for (machine, section, domain), found in values.items():
        for part in DOMAINS if metric == "2022" else (domain,):
            if not any((machine, section, part, condition) in alarms for condition in CONDITIONS):
                continue
            detected, anomalies = alarms.get(Stratum(machine, section, part, "anomaly"), (0, 0))
            false_alarms, _ = alarms.get(Stratum(machine, section, part, "normal"), (0, 0))
            precision = detected / max(detected + false_alarms, FLOOR)
            recall = detected / max(anomalies, FLOOR)
            ending = f"_{part}" if metric == "2022" else ""
            found[f"precision{ending}"] = precision
            found[f"recall{ending}"] = recall
            found[f"f1{ending}"] = 2.0 * precision * recall / max(precision + recall, FLOOR)


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
    return {name: _rows_means(_rows(group, metric), metric) for name, group in groups.items()}


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


def _rows_means(rows: list[tuple[str, dict[str, float]]], metric: Metric) -> Means:
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
