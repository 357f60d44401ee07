"""Which test clips make up which ROC curve, by each year's recipe."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from dcase_asd.clips.name import DOMAINS
from dcase_asd.editions.edition import Metric
from dcase_asd.errors import GroundTruthError
from dcase_asd.metrics.ranking import Booleans, Integers

CONDITIONS = ("normal", "anomaly")


class Stratum(NamedTuple):
    """Test clips that differ in nothing but their scores."""

    machine: str
    section: str
    domain: str
    condition: str


@dataclass(frozen=True)
class Strata:
    """The strata of a table of labelled clips.

    Attributes:
        names: The strata, in the order of their first clips.
        rows: The rows of the table that belong to each, ascending.
    """

    names: tuple[Stratum, ...]
    rows: tuple[Integers, ...]


class Curve(NamedTuple):
    """One ROC curve: of a section, or of one of its domains; `strata` are numbers of `Strata`."""

    machine: str
    section: str
    domain: str
    strata: tuple[int, ...]


@dataclass(frozen=True)
class Curves:
    """The ROC curves of an evaluation.

    Attributes:
        curves: The curves, sorted by machine, section and domain (2021: domain before section).
        rows: Rows of the table, those of the first curve first; a row may belong to several.
        anomalous: Whether each of these clips is anomalous.
        curve: Number of the curve that each of these clips counts for.
        left_out: Sentences about curves that lack normal or anomalous clips.
    """

    curves: tuple[Curve, ...]
    rows: Integers
    anomalous: Booleans
    curve: Integers
    left_out: tuple[str, ...]


def find_strata(labelled: pd.DataFrame) -> Strata:
    """Group clips by machine, section, domain and condition.

    Raises:
        GroundTruthError: A clip has no condition, or there is no clip.
    """
    numbers: defaultdict[tuple[str, ...], int] = defaultdict()
    numbers.default_factory = numbers.__len__  # a new stratum gets the next number
    columns = (labelled[column].to_numpy(dtype=object).tolist() for column in Stratum._fields)
    keys = zip(*columns, strict=True)
    codes = np.fromiter(map(numbers.__getitem__, keys), dtype=np.intp, count=len(labelled))
    names = tuple(Stratum(*key) for key in numbers)
    for name in names:
        if name.condition not in CONDITIONS:
            raise GroundTruthError(
                f"{name.machine} section {name.section}: the condition {name.condition!r} is "
                "neither normal nor anomaly; only clips of a known condition can be evaluated"
            )
    if not names:
        raise GroundTruthError("there is no clip to evaluate; score test clips first")
    order = np.argsort(codes, kind="stable")
    ends = np.cumsum(np.bincount(codes)).tolist()
    return Strata(
        names, tuple(order[start:end] for start, end in zip([0, *ends], ends, strict=False))
    )


def build_curves(strata: Strata, metric: Metric, *, strict: bool = True) -> Curves:
    """The curves that a year's recipe asks for.

    Args:
        strata: Of the labelled clips.
        metric: The year's recipe.
        strict: Whether a curve that cannot be drawn is an error; otherwise it is left out.

    Raises:
        GroundTruthError: A curve lacks normal or anomalous clips (or all of them do).
    """
    members: dict[tuple[str, str], list[int]] = defaultdict(list)
    for number, name in enumerate(strata.names):
        members[name.machine, name.section].append(number)
    curves: list[Curve] = []
    left_out: list[str] = []
    for machine, section, domain in _wanted(sorted(members), metric):
        chosen = tuple(
            number
            for number in members[machine, section]
            if _counts(strata.names[number], domain, metric)
        )
        present = {strata.names[number].condition for number in chosen}
        if len(present) == len(CONDITIONS):
            curves.append(Curve(machine, section, domain, chosen))
            continue
        lacking = " and ".join(condition for condition in CONDITIONS if condition not in present)
        left_out.append(
            f"{machine} section {section}: no {lacking} clip"
            f"{f' of the {domain} domain' if domain else ''}, so this AUC is not defined"
        )
    if left_out and (strict or not curves):
        way_out = "evaluate all test clips of the section, with the right ground truth"
        if not strict:
            way_out = "put recordings into test/ whose names begin with normal, and with anomaly"
        raise GroundTruthError(f"{left_out[0]}; {way_out}")
    parts = [strata.rows[number] for curve in curves for number in curve.strata]
    anomalous = [strata.names[n].condition == "anomaly" for curve in curves for n in curve.strata]
    sizes = [len(part) for part in parts]
    owners = np.repeat(np.arange(len(curves)), [len(curve.strata) for curve in curves])
    return Curves(
        curves=tuple(curves),
        rows=np.concatenate(parts),
        anomalous=np.repeat(anomalous, sizes),
        curve=np.repeat(owners, sizes),
        left_out=tuple(left_out),
    )


def _wanted(sections: list[tuple[str, str]], metric: Metric) -> list[tuple[str, str, str]]:
    """Machine, section and domain of each curve; an empty domain stands for all clips."""
    if metric == "2020":
        return [(*section, "") for section in sections]
    if metric == "2022":
        return [(*section, domain) for section in sections for domain in ("", *DOMAINS)]
    curves = [(*section, domain) for section in sections for domain in DOMAINS]
    return sorted(curves, key=lambda curve: (curve[0], curve[2], curve[1]))


def _counts(name: Stratum, domain: str, metric: Metric) -> bool:
    """Whether a stratum's clips count for the curve of a domain."""
    if not domain or name.domain == domain:
        return True
    return metric == "2022" and name.condition == "anomaly"
