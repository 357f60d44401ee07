"""What a fusion found out about an edition: its weights and how far they can be trusted."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from dcase_asd.errors import RecipeError
from dcase_asd.files import read_json, write_json
from dcase_asd.recipe.toml import recipe_from

Weights = tuple[float, ...]
"""One weight for each of the fused systems, in their order."""


@dataclass(frozen=True)
class LeftOutMachine:
    """A machine type that the weights were not fitted on.

    Attributes:
        systems: The systems that were fused without it (a selection by labels is made again).
        weights: Of these systems; None for a minimum.
        score: Official score of this machine type alone, in [0, 1].
    """

    systems: tuple[str, ...]
    weights: Weights | None
    score: float


@dataclass(frozen=True)
class LeaveOneMachineOut:
    """What the score is on machine types that the weights were not fitted on, in [0, 1].

    Attributes:
        score: Official score of all machine types, each fused with the weights that were fitted
            on the others.
        equal_weights: The same of equal weights, which differs from their dev score only where
            systems were selected by labels.
        machines: Machine type -> what was fitted without it.
        chosen: Systems whose checkpoints or weights the labels of all machine types have chosen,
            so that `score` is too high.
        last_checkpoints: As `score`, where these systems have their last checkpoints, which no
            label chose; None where that is not known, or there are no such systems.
    """

    score: float
    equal_weights: float
    machines: dict[str, LeftOutMachine]
    chosen: tuple[str, ...] = ()
    last_checkpoints: float | None = None


@dataclass(frozen=True)
class LabelFree:
    """What the fused systems are worth where no label decides how they are fused, in [0, 1].

    Attributes:
        dev_score: Official score.
        out_of_sample: The same where no label has selected the systems: the dev score, or with a
            selection by labels that of machine types that it was made without; None where there
            is no other machine type. Whether labels chose a system's checkpoints does not count.
    """

    dev_score: float
    out_of_sample: float | None


@dataclass(frozen=True)
class WeightSpread:
    """How the weights vary when they are fitted to resamples of the labelled clips.

    Attributes:
        resamples: Number of samples.
        searched: How the weights of each sample were found, in words.
        mean: Of each weight.
        std: Standard deviation of each weight.
        lower: The 2.5th percentile of each weight.
        upper: The 97.5th percentile of each weight.
    """

    resamples: int
    searched: str
    mean: Weights
    std: Weights
    lower: Weights
    upper: Weights


@dataclass(frozen=True)
class Robustness:
    """How far each system's scores of normal evaluation clips have moved from its train scores.

    Attributes:
        systems: All systems that were given.
        machines: Machine types of the evaluation set.
        distance: Of each system (rows) and machine type (columns), see
            `fusion.robustness.normal_shift`; smaller is more robust.
        mean: Of each system over the machine types.
    """

    systems: tuple[str, ...]
    machines: tuple[str, ...]
    distance: tuple[tuple[float, ...], ...]
    mean: tuple[float, ...]


@dataclass(frozen=True)
class FusionResult:
    """A fusion of one edition; scores are official scores in [0, 1] (2020: see `metric`).

    What was not or could not be computed is None.

    Attributes:
        edition: Name of the edition.
        fingerprint: Of the systems' scores, the labels and the settings.
        metric: ``2020`` (mean of AUC and pAUC), ``2021`` or ``2022`` (harmonic means).
        method: As in the recipe.
        searched: How the weights were found, in words.
        step: Grid step; None where no grid was searched.
        seed: Seed of all random draws.
        standardisation: Scores that each system's are standardized by: those of ``train`` clips,
            or of ``test (transductive)``.
        labels: What the figures are computed with: ``file names of the development set``, or a
            ground truth by its name.
        ground_truth: Path of the ground truth, where one was given.
        machines: Machine types that the figures are over.
        systems: The fused systems.
        weights: Theirs; None for a minimum.
        selected_from: All systems that were given, where some were selected.
        dev_score: Official score of the fusion, on the labels that its weights were fitted to.
        leave_one_machine_out: The same on machine types that were left out of the fit.
        equal_weights: Official score of the mean of the fused systems.
        alone: Official score of each fused system alone.
        alone_before: Official score of each system in `selected_from` alone.
        bootstrap: The spread of the weights.
        robustness: Of all systems that were given.
        notes: What the user should know of.
        select: How some of the systems were selected, as in the recipe.
        label_free: ``mean``, ``minimum`` and ``calibrated`` -> what the same systems are worth
            fused so; empty in results of earlier versions.
        analysis: Whether the scores are for analysis alone.
    """

    edition: str
    fingerprint: str
    metric: Literal["2020", "2021", "2022"]
    method: str
    searched: str
    step: float | None
    seed: int
    standardisation: str
    labels: str | None
    ground_truth: str | None
    machines: tuple[str, ...]
    systems: tuple[str, ...]
    weights: Weights | None
    selected_from: tuple[str, ...] | None
    dev_score: float | None
    leave_one_machine_out: LeaveOneMachineOut | None
    equal_weights: float | None
    alone: tuple[float, ...] | None
    alone_before: tuple[float, ...] | None
    bootstrap: WeightSpread | None
    robustness: Robustness | None
    notes: tuple[str, ...]
    select: str = ""
    label_free: dict[str, LabelFree] = field(default_factory=dict)
    analysis: bool = False

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON values, in full precision."""
        return asdict(self)


def fusion_path(run: str | Path, edition: str) -> Path:
    """Where a run keeps what its fusion of an edition found out."""
    return Path(run) / "fusion" / f"{edition}.json"


def write_fusion(run: str | Path, result: FusionResult) -> None:
    """Write a fusion's result; the marker of its scores, written later, makes it complete."""
    write_json(fusion_path(run, result.edition), result.to_json())


def read_fusion(run: str | Path, edition: str) -> FusionResult | None:
    """Read a fusion's result; None where there is none, or one of another form."""
    path = fusion_path(run, edition)
    try:
        return recipe_from(read_json(path) or {}, FusionResult, str(path))
    except RecipeError:
        return None
