"""What a fusion is worth: fitted, on machine types that were left out, and beside plain ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from dcase_asd.errors import ScoresError
from dcase_asd.fusion.batched_ranking import weighted_sums
from dcase_asd.fusion.bayesian import bayesian_search
from dcase_asd.fusion.members import Development, Floats
from dcase_asd.fusion.objective import OfficialObjective
from dcase_asd.fusion.result import (
    LeaveOneMachineOut,
    LeftOutMachine,
    Robustness,
    Weights,
    WeightSpread,
)
from dcase_asd.fusion.robustness import select
from dcase_asd.fusion.search import Objectives, evaluate_column, grid_searches, grid_work
from dcase_asd.fusion.spread import weight_spread
from dcase_asd.progress import Progress
from dcase_asd.recipe.fusion import SEARCHES, Fusion

SPREAD_STEP = 0.05
"""Step of the lattice that resamples are searched on where the weights are not on one."""


@dataclass(frozen=True)
class Fit:
    """Which systems are fused, and how.

    Attributes:
        systems: Their numbers, ascending.
        weights: One for each of them; None takes the smallest score.
        searched: How the weights were found, in words.
    """

    systems: tuple[int, ...]
    weights: Floats | None
    searched: str

    def fuse(self, scores: Floats) -> Floats:
        """One system's scores of several's, (systems, clips) -> (clips,)."""
        chosen = scores[list(self.systems)]
        if self.weights is None:
            smallest: Floats = chosen.min(axis=0)
            return smallest
        total: Floats = weighted_sums(self.weights[None], chosen)[0]
        return total


def plain_fit(systems: Sequence[int], fusion: Fusion) -> Fit:
    """The weights of a method that searches none."""
    chosen = tuple(systems)
    if fusion.method == "minimum":
        return Fit(chosen, None, "smallest standardised score of each clip")
    if fusion.method == "weights":
        return Fit(chosen, np.array(fusion.weights), "weights given by hand")
    return equal_fit(chosen)


def equal_fit(systems: Sequence[int]) -> Fit:
    """All systems alike."""
    return Fit(tuple(systems), np.full(len(systems), 1 / len(systems)), "equal weights")


def fit_columns(
    objectives: Objectives,
    columns: int,
    systems: Sequence[int],
    fusion: Fusion,
    progress: Progress,
) -> list[Fit]:
    """The best weights by each of several objectives.

    Args:
        objectives: Scores of candidates, (m, systems) -> (m, columns).
        columns: How many objectives there are.
        systems: Numbers of the systems.
        fusion: Which search, of which size.
        progress: Where to tell how far it is.
    """
    if fusion.method not in SEARCHES:
        return [plain_fit(systems, fusion)] * columns
    count = len(systems)
    if fusion.method == "grid":
        with progress.bar(
            "Searching weights", grid_work(columns, count, fusion.step), "steps"
        ) as advance:
            found = grid_searches(objectives, columns, count, fusion.step, advance)
    else:
        with progress.bar("Searching weights", columns * fusion.budget, "candidates") as advance:
            found = [
                bayesian_search(
                    evaluate_column(objectives, column),
                    count,
                    fusion.budget,
                    fusion.seed,
                    fusion.patience,
                    advance,
                )
                for column in range(columns)
            ]
    return [Fit(tuple(systems), each.weights, each.method) for each in found]


def spread_of_weights(
    objective: OfficialObjective, weights: Floats, fusion: Fusion, progress: Progress
) -> WeightSpread:
    """How fitted weights vary over bootstrap samples of the labelled clips.

    Clips are drawn again within each machine type, section, domain and condition.

    Args:
        objective: Of the fused systems.
        weights: As they were found.
        fusion: Of which lattice, how many samples, which seed.
        progress: Where to tell how far it is.
    """
    generator = np.random.default_rng(fusion.seed)
    resampled = (objective.resampled(generator).scores for _ in range(fusion.resamples))
    step = fusion.step if fusion.method == "grid" else SPREAD_STEP
    with progress.bar("Resampling", fusion.resamples, "samples") as advance:
        found = weight_spread(resampled, weights, step, advance)
    mean, std, lower, upper = (
        tuple(values.tolist()) for values in (found.mean, found.deviation, found.lower, found.upper)
    )
    return WeightSpread(fusion.resamples, found.method, mean, std, lower, upper)


@dataclass(frozen=True)
class Figures:
    """Official scores in [0, 1] of a fusion; see `fusion.result.FusionResult`."""

    dev_score: float
    leave_one_machine_out: LeaveOneMachineOut | None
    equal_weights: float
    alone: tuple[float, ...]
    bootstrap: WeightSpread | None
    notes: tuple[str, ...]


def fit_all(
    scores: Floats,
    fusion: Fusion,
    development: Development | None,
    robustness: Robustness | None,
    progress: Progress,
) -> list[Fit]:
    """The fusion, and where labels decide on it, one that is fitted without each machine type.

    A selection by dev scores is made again for each machine type that is left out, so that its
    labels take no part in what is fused for it.

    Args:
        scores: Standardised scores of all systems, (systems, clips).
        fusion: As the user asked for it.
        development: Labelled clips; needed where labels decide.
        robustness: Of all systems; needed for a selection by it.
        progress: Where to tell how far it is.

    Raises:
        ScoresError: There are no evaluation scores for a selection by robustness.
    """
    selection = fusion.selection
    systems = tuple(range(len(scores)))
    if selection is not None and selection.rule == "robust":
        if robustness is None:
            raise ScoresError(
                f"select {fusion.select!r} compares evaluation scores with train scores, and there "
                "are no evaluation scores; score the evaluation set, or select best:N"
            )
        systems = select(robustness.mean, fusion.kept, selection.count)
    if development is None or not fusion.uses_labels:
        return [plain_fit(systems, fusion)]
    columns = 1 + len(development.machines) if len(development.machines) > 1 else 1
    selected = [systems] * columns
    if selection is not None and selection.rule == "best":
        alone = _left_out(development.objective(scores))(np.eye(len(scores)))
        selected = [select((-column).tolist(), fusion.kept, selection.count) for column in alone.T]
    fits: dict[int, Fit] = {}
    for chosen in dict.fromkeys(selected):
        wanted = [column for column, of in enumerate(selected) if of == chosen]
        objectives = _columns(development.objective(scores[list(chosen)]), wanted)
        found = fit_columns(objectives, len(wanted), chosen, fusion, progress)
        fits |= dict(zip(wanted, found, strict=True))
    return [fits[column] for column in range(columns)]


def compute_figures(
    scores: Floats,
    names: Sequence[str],
    fits: Sequence[Fit],
    fusion: Fusion,
    development: Development,
    progress: Progress,
) -> Figures:
    """The figures of a fusion.

    Args:
        scores: Standardised scores of all systems, (systems, clips).
        names: Of all systems.
        fits: Of `fit_all`.
        fusion: As the user asked for it.
        development: Labelled clips.
        progress: Where to tell how far it is.
    """
    fit, *without = fits
    fused = np.stack([fit.fuse(scores), equal_fit(fit.systems).fuse(scores)])
    dev_score, equal = development.objective(fused).scores(np.eye(2)).tolist()
    left_out = leave_one_machine_out(scores, names, without, development) if without else None
    searched = fusion.method in SEARCHES
    spread = None
    if searched and fusion.resamples and fit.weights is not None:
        objective = development.objective(scores[list(fit.systems)])
        spread = spread_of_weights(objective, fit.weights, fusion, progress)
    notes = []
    if fusion.uses_labels and left_out is None:
        notes.append(
            f"{development.machines[0]} is the only machine type with labels, so that there is no "
            "estimate for machine types that were left out of the fit"
        )
    if searched and left_out is not None and left_out.score <= left_out.equal_weights:
        notes.append(
            "fitted weights do not beat equal ones on machine types that were left out "
            f"({100 * left_out.score:.2f} against {100 * left_out.equal_weights:.2f} %): "
            "--method mean is the safer choice"
        )
    return Figures(
        dev_score=dev_score,
        leave_one_machine_out=left_out,
        equal_weights=equal,
        alone=tuple(development.objective(scores).scores(np.eye(len(scores))).tolist()),
        bootstrap=spread,
        notes=tuple(notes),
    )


def leave_one_machine_out(
    scores: Floats, names: Sequence[str], without: Sequence[Fit], development: Development
) -> LeaveOneMachineOut:
    """The official score where each machine type's clips are fused as was fitted on the others.

    The AUCs and pAUCs of all machine types, each computed with weights of its own, enter one
    official score as they would with common weights: one harmonic mean over all of them (2020: the
    mean over machine types).
    """
    # Each fit counts as a system; machine type j takes the j-th alone.
    objective = development.objective(np.stack([fit.fuse(scores) for fit in without]))
    terms = np.diagonal(objective.machine_terms(np.eye(len(without))))[None]
    equal = development.objective(
        np.stack([equal_fit(fit.systems).fuse(scores) for fit in without])
    )
    machines = {
        machine: LeftOutMachine(
            systems=tuple(names[system] for system in fit.systems),
            weights=as_weights(fit),
            score=float(objective.combined(terms, [number])[0]),
        )
        for number, (machine, fit) in enumerate(zip(objective.machines, without, strict=True))
    }
    return LeaveOneMachineOut(
        score=float(objective.combined(terms)[0]),
        equal_weights=equal.held_out_score(np.eye(len(without))),
        machines=machines,
    )


def as_weights(fit: Fit) -> Weights | None:
    """A fit's weights as they are written down."""
    return None if fit.weights is None else tuple(fit.weights.tolist())


def _left_out(objective: OfficialObjective) -> Callable[[Floats], Floats]:
    """Scores on all machine types and, where there are several, without each, (m, columns)."""
    if len(objective.machines) > 1:
        return objective.scores_left_out
    return lambda weights: objective.scores(weights)[:, None]


def _columns(objective: OfficialObjective, wanted: list[int]) -> Callable[[Floats], Floats]:
    scores = _left_out(objective)
    return lambda weights: scores(weights)[:, wanted]
