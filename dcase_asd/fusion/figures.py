"""What a fusion is worth: fitted, on machine types that were left out, and beside plain ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dcase_asd.editions.edition import Edition
from dcase_asd.errors import ScoresError
from dcase_asd.fusion.members import Members
from dcase_asd.fusion.objective import OfficialObjective
from dcase_asd.fusion.result import (
    FusionResult,
    LabelFree,
    LeaveOneMachineOut,
    LeftOutMachine,
    Robustness,
    WeightSpread,
)
from dcase_asd.fusion.search import Fit, label_free_fit
from dcase_asd.fusion.spread import weight_spread
from dcase_asd.progress import Progress
from dcase_asd.recipe.fusion import LABEL_FREE, SEARCHES, Fusion

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
    alone: tuple[float, ...] | None = None
    left_out: LeaveOneMachineOut | None = None
    bootstrap: WeightSpread | None = None
    label_free: dict[str, LabelFree] = {}
    notes = [*members.caveats, *members.notes]
    if objective is not None:
        dev_score = _score(members, fit, objective)
        alone = tuple(objective.scores(np.eye(len(members.names))).tolist())
        left_out = leave_one_machine_out(members, without, objective) if without else None
        label_free = _label_free(members, fits, fusion, objective, notes)
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
        equal_weights=label_free["mean"].dev_score if label_free else None,
        label_free=label_free,
        alone=tuple(alone[number] for number in fit.systems) if alone else None,
        alone_before=alone if fusion.select else None,
        bootstrap=bootstrap,
        robustness=robustness,
        notes=tuple(notes),
        select=fusion.select,
        analysis=members.analysis,
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
    score, *alone = _held_out(members, without, objective)
    machines = {
        machine: LeftOutMachine(systems=_names(members, fit), weights=fit.weights, score=own)
        for machine, fit, own in zip(objective.machines, without, alone, strict=True)
    }
    equal = [label_free_fit(fit.systems, "mean") for fit in without]
    return LeaveOneMachineOut(
        score=score, equal_weights=_held_out(members, equal, objective)[0], machines=machines
    )


def _label_free(
    members: Members,
    fits: Sequence[Fit],
    fusion: Fusion,
    objective: OfficialObjective,
    notes: list[str],
) -> dict[str, LabelFree]:
    """What the fused systems are worth fused by each of `LABEL_FREE`; notes say what cannot be."""
    fit, *without = fits
    found: dict[str, LabelFree] = {}
    selected = fusion.selection is not None and fusion.selection.rule == "best"
    for method in LABEL_FREE:
        try:
            score = _score(members, label_free_fit(fit.systems, method), objective)
            unseen: float | None = score
            if selected:  # labels have chosen the systems
                others = [label_free_fit(each.systems, method) for each in without]
                unseen = _held_out(members, others, objective)[0] if others else None
            found[method] = LabelFree(score, unseen)
        except ScoresError as error:
            notes.append(f"there is no figure of --method {method}: {error}")
    return found


def _score(members: Members, fit: Fit, objective: OfficialObjective) -> float:
    """Official score of a fusion."""
    return float(objective.of(fit.fuse(members)[None]).scores(np.eye(1))[0])


def _held_out(members: Members, fits: Sequence[Fit], objective: OfficialObjective) -> list[float]:
    """Official score where each machine type is fused by its own fit; then that of each alone."""
    # Each fit counts as a system; machine type j takes the j-th alone.
    fused = np.stack([fit.fuse(members) for fit in fits])
    return objective.of(fused).held_out_scores(np.eye(len(fits)))


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
