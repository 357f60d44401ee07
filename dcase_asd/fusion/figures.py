"""What a fusion is worth: fitted, on machine types that were left out, and beside plain ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dcase_asd.editions.edition import Edition
from dcase_asd.fusion.members import Members
from dcase_asd.fusion.objective import OfficialObjective
from dcase_asd.fusion.result import (
    FusionResult,
    LeaveOneMachineOut,
    LeftOutMachine,
    Robustness,
    WeightSpread,
)
from dcase_asd.fusion.search import Fit, equal_fit
from dcase_asd.fusion.spread import weight_spread
from dcase_asd.progress import Progress
from dcase_asd.recipe.fusion import SEARCHES, Fusion

SPREAD_STEP = 0.05
"""Step of the grid that resamples are searched on where the weights are not on one."""


def compute_result(
    members: Members,
    fits: Sequence[Fit],
    robustness: Robustness | None,
    fusion: Fusion,
    *,
    edition: Edition,
    made_of: str,
    ground_truth: str | None,
    progress: Progress,
) -> FusionResult:
    """What a fusion found out, with its figures where there are labels.

    Args:
        members: All systems.
        fits: Of `search.fit_all`.
        robustness: Of all systems.
        fusion: As the user asked for it.
        edition: Which was fused.
        made_of: Fingerprint of the inputs.
        ground_truth: Path of the labels that were given.
        progress: Where to tell how far it is.
    """
    (fit, *without), objective = fits, members.objective
    dev_score: float | None = None
    equal: float | None = None
    alone: tuple[float, ...] | None = None
    left_out: LeaveOneMachineOut | None = None
    bootstrap: WeightSpread | None = None
    notes = [*members.caveats, *members.notes]
    if objective is not None:
        fused = [each.fuse(members.standardized) for each in (fit, equal_fit(fit.systems))]
        dev_score, equal = objective.of(np.stack(fused)).scores(np.eye(2)).tolist()
        alone = tuple(objective.scores(np.eye(len(members.names))).tolist())
        left_out = leave_one_machine_out(members, without, objective) if without else None
        bootstrap = _spread(members, fit, objective, fusion, progress)
        if fusion.uses_labels and left_out is None:
            notes.append(
                f"{objective.machines[0]} is the only machine type with labels, so that "
                "there is no estimate for machine types that were left out of the fit"
            )
    if fusion.method in SEARCHES and left_out and left_out.score <= left_out.equal_weights:
        notes.append(
            "fitted weights do not beat equal ones on machine types that were left out "
            f"({100 * left_out.score:.2f} against {100 * left_out.equal_weights:.2f} %): "
            "--method mean is the safer choice"
        )
    return FusionResult(
        edition=edition.name,
        fingerprint=made_of,
        metric=edition.metric,
        method=fusion.method,
        searched=fit.searched,
        step=fusion.step if fusion.method == "grid" else None,
        seed=fusion.seed,
        standardisation="train" if fusion.standardize == "train" else "test (transductive)",
        labels=members.labels,
        ground_truth=ground_truth,
        machines=objective.machines if objective else (),
        systems=_names(members, fit),
        weights=fit.weights,
        selected_from=members.names if fusion.select else None,
        dev_score=dev_score,
        leave_one_machine_out=left_out,
        equal_weights=equal,
        alone=tuple(alone[number] for number in fit.systems) if alone else None,
        alone_before=alone if fusion.select else None,
        bootstrap=bootstrap,
        robustness=robustness,
        notes=tuple(notes),
        select=fusion.select,
    )


def leave_one_machine_out(
    members: Members, without: Sequence[Fit], objective: OfficialObjective
) -> LeaveOneMachineOut:
    """The official score where each machine type's clips are fused as was fitted on the others.

    Args:
        members: All systems.
        without: What was fitted without each machine type.
        objective: On labelled clips.
    """

    def held_out(fits: Sequence[Fit]) -> list[float]:
        # Each fit counts as a system; machine type j takes the j-th alone.
        fused = np.stack([fit.fuse(members.standardized) for fit in fits])
        return objective.of(fused).held_out_scores(np.eye(len(fits)))

    score, *alone = held_out(without)
    machines = {
        machine: LeftOutMachine(systems=_names(members, fit), weights=fit.weights, score=own)
        for machine, fit, own in zip(objective.machines, without, alone, strict=True)
    }
    equal, *_ = held_out([equal_fit(fit.systems) for fit in without])
    return LeaveOneMachineOut(score=score, equal_weights=equal, machines=machines)


def _spread(
    members: Members, fit: Fit, objective: OfficialObjective, fusion: Fusion, progress: Progress
) -> WeightSpread | None:
    """How searched weights vary over bootstrap samples of the labelled clips.

    Clips are drawn again within each machine type, section, domain and condition.
    """
    if fusion.method not in SEARCHES or not fusion.resamples:
        return None
    of_fused = objective.of(members.standardized[list(fit.systems)])
    generator = np.random.default_rng(fusion.seed)
    resamples = (of_fused.resampled(generator).scores for _ in range(fusion.resamples))
    step = fusion.step if fusion.method == "grid" else SPREAD_STEP
    with progress.bar("Resampling", fusion.resamples, "samples") as advance:
        return weight_spread(resamples, np.array(fit.weights), step, advance)


def _names(members: Members, fit: Fit) -> tuple[str, ...]:
    return tuple(members.names[number] for number in fit.systems)
