"""What the best of several systems is worth on machine types that did not choose it.

The best of many systems on the clips that it was chosen with looks better than it is: some of its
lead is luck. Here each machine type is scored with the system that is best on all the others, as
leave-one-out cross-validation does (S. Varma and R. Simon, BMC Bioinformatics 7:91, 2006).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dcase_asd.metrics.official import Evaluation, aggregate


@dataclass(frozen=True)
class Choice:
    """The best of several systems.

    Attributes:
        best: Which has the best score; of equal ones the first.
        score: Its score on the clips that chose it, in [0, 1]; optimistic.
        left_out: Score of the choice on machine types that were left out of it, in [0, 1]; None
            where there is only one, or systems were evaluated on different sections.
        chosen: Machine type -> which system was best on all others.
    """

    best: int
    score: float
    left_out: float | None
    chosen: dict[str, int]


def choose_best(evaluations: Sequence[Evaluation]) -> Choice:
    """Choose the best of some systems, at least one, and estimate what that choice is worth.

    Args:
        evaluations: Of all systems, with the same metric.
    """
    metric = evaluations[0].metric
    scores = [each.score for each in evaluations]
    best = scores.index(max(scores))
    sections = [[(each.machine, each.section, each.domain) for each in of.sections]
                for of in evaluations]  # fmt: skip
    machines = list(evaluations[0].machines)
    if len(machines) == 1 or any(each != sections[0] for each in sections):
        return Choice(best, scores[best], None, {})
    chosen = {}
    for machine in machines:
        others = [
            aggregate([each for each in of.sections if each.machine != machine], metric).score
            for of in evaluations
        ]
        chosen[machine] = others.index(max(others))
    held_out = [
        section
        for machine in machines
        for section in evaluations[chosen[machine]].sections
        if section.machine == machine
    ]
    return Choice(best, scores[best], aggregate(held_out, metric).score, chosen)
