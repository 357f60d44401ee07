"""How far a system is, by what its run folder holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dcase_asd.embeddings.kept import embedding_folders, read_kept
from dcase_asd.embeddings.store import planned_markers, planned_subset
from dcase_asd.errors import DcaseAsdError
from dcase_asd.recipe.fusion import FusedSystem
from dcase_asd.recipe.subset import EVERYTHING, Subset
from dcase_asd.recipe.system import System
from dcase_asd.scores.table import scored_subset, scores_path

DONE, TO_DO, NOT_PART = "done", "to do", "-"


@dataclass(frozen=True)
class Status:
    """How far a system is.

    Attributes:
        training: ``done``, ``to do``, the step that it is at, or ``-`` where it has no training.
        embeddings: Likewise, the share of machines.
        scores: ``done`` or ``to do``.
        trained: Share of the training that is done, in [0, 1].
    """

    training: str
    embeddings: str
    scores: str
    trained: float


def status_of(
    run: str | Path,
    system: System | FusedSystem,
    editions: Sequence[str],
    subset: Subset = EVERYTHING,
) -> Status:
    """How far a system is on some editions, or on a subset of them."""
    scored = all(
        scores_path(run, edition).with_suffix(".json").is_file()
        and subset.within(scored_subset(run, edition))
        for edition in editions
    )
    scores = DONE if scored and editions else TO_DO
    if isinstance(system, FusedSystem):
        return Status(NOT_PART, NOT_PART, scores, trained=1.0)
    training, trained = NOT_PART, 1.0
    if system.train is not None:
        kept = read_kept(run)
        step = max((each.step for each in kept.checkpoints), default=0) if kept else 0
        trained = step / system.train.steps
        training = f"step {step:,} of {system.train.steps:,}" if step else TO_DO
        if kept is not None and kept.finished:
            training, trained = DONE, 1.0
    present, planned = _machines(run, editions, subset) if trained == 1 else (0, 0)
    embeddings = TO_DO
    if present:
        embeddings = DONE if present == planned else f"{present} of {planned} machines"
    return Status(training, embeddings, scores, trained)


def _machines(run: str | Path, editions: Sequence[str], subset: Subset) -> tuple[int, int]:
    """Machines that are embedded, and that should be, over all checkpoints and editions.

    Those of an edition of which a subset is embedded, and more is asked for, are not counted.
    """
    try:
        folders = embedding_folders(run)
    except DcaseAsdError:  # a checkpoint is gone; running the system tells of it
        return 0, 0
    present = planned = 0
    for folder in folders:
        for edition in editions:
            markers = planned_markers(folder, edition)
            if markers is None or not subset.within(planned_subset(folder, edition)):
                planned += 1
                continue
            planned += len(markers)
            present += sum(marker.is_file() for marker in markers)
    return present, planned
