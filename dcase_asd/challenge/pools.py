"""Which clips are ranked against each other, so that one ranking gives the values of all curves."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dcase_asd.challenge.curves import DOMAINS, Curve, Strata
from dcase_asd.challenge.edition import Metric
from dcase_asd.challenge.exact_ranking import ANOMALY, Kinds
from dcase_asd.challenge.ranking import Integers

ALL = 1
"""Kind of every normal clip where domains have no values of their own."""

KINDS = {domain: number for number, domain in enumerate(DOMAINS, start=1)}
"""Kind of each domain's normal clips; those of no domain are of the next one, which no curve has to
itself."""


class Pool(NamedTuple):
    """The clips of one ROC curve or of several with the same anomalous clips.

    Attributes:
        machine: Their machine type.
        rows: Rows of the table.
        kinds: Kind of each, as for `exact_ranking.values_of_rows`.
        counted: Kinds whose AUC counts for the official score, beside the pAUC of all clips.
    """

    machine: str
    rows: Integers
    kinds: Kinds
    counted: tuple[int, ...]


def draw_pools(curves: Sequence[Curve], strata: Strata, metric: Metric) -> list[Pool]:
    """The clips of all curves of an evaluation.

    Args:
        curves: In the order of `curves.draw_curves`: from 2022 on a section's curve of all clips
            before those of its domains.
        strata: Of the labelled clips.
        metric: The year's recipe.
    """
    if metric != "2022":
        return [_pool(curve, (ALL,), [ALL] * len(curve.strata), strata) for curve in curves]
    sections: defaultdict[tuple[str, str], list[Curve]] = defaultdict(list)
    for curve in curves:
        sections[curve.machine, curve.section].append(curve)
    pools = []
    for whole, *of_domains in sections.values():
        counted = tuple(KINDS[curve.domain] for curve in of_domains)
        domains = [strata.names[number].domain for number in whole.strata]
        kinds = [KINDS.get(domain, len(KINDS) + 1) for domain in domains]
        pools.append(_pool(whole, counted, kinds, strata))
    return pools


def _pool(curve: Curve, counted: tuple[int, ...], normal: list[int], strata: Strata) -> Pool:
    """The clips of a curve; `normal` is the kind that normal clips of each stratum are of."""
    kinds = [
        ANOMALY if strata.names[number].condition == "anomaly" else kind
        for number, kind in zip(curve.strata, normal, strict=True)
    ]
    rows = [strata.rows[number] for number in curve.strata]
    return Pool(
        machine=curve.machine,
        rows=np.concatenate(rows),
        kinds=np.repeat(np.array(kinds, dtype=np.uint8), [len(part) for part in rows]),
        counted=counted,
    )
