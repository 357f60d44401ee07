"""How far systems are, as their run folders tell; without looking whether inputs have changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dcase_asd.artifacts.checkpoints import embedding_folders, read_kept
from dcase_asd.artifacts.embeddings import planned_markers
from dcase_asd.artifacts.scores import scores_path
from dcase_asd.challenge.edition import Edition
from dcase_asd.challenge.package import TASK_FOLDER, package_name
from dcase_asd.errors import DcaseAsdError
from dcase_asd.fused_system import FusedSystem
from dcase_asd.system import System

DONE, TO_DO, NOT_PART = "done", "to do", "-"


@dataclass(frozen=True)
class Stand:
    """How far a system is.

    Attributes:
        training: ``done``, ``to do``, the step that it is at, or ``-`` where it has no training.
        embeddings: Likewise, the share of machines.
        scores: ``done`` or ``to do``.
        trained: Share of the training that is done, in [0, 1].
        embedded: Share of the machines that are embedded, in [0, 1].
    """

    training: str
    embeddings: str
    scores: str
    trained: float
    embedded: float


def stand_of(run: Path, system: System | FusedSystem, editions: Sequence[str]) -> Stand:
    """How far a system is on some editions."""
    scored = all(scores_path(run, edition).with_suffix(".json").is_file() for edition in editions)
    scores = DONE if scored and editions else TO_DO
    if isinstance(system, FusedSystem):
        return Stand(NOT_PART, NOT_PART, scores, trained=1.0, embedded=1.0)
    training, trained = NOT_PART, 1.0
    if system.train is not None:
        kept = read_kept(run)
        step = max((each.step for each in kept.checkpoints), default=0) if kept else 0
        trained = step / system.train.steps
        training = f"step {step:,} of {system.train.steps:,}" if step else TO_DO
        if kept is not None and kept.finished:
            training, trained = DONE, 1.0
    present, planned = _machines(run, editions) if trained == 1 else (0, 0)
    embeddings = TO_DO
    if present:
        embeddings = DONE if present == planned else f"{present} of {planned} machines"
    return Stand(training, embeddings, scores, trained, present / planned if planned else 0.0)


def _machines(run: Path, editions: Sequence[str]) -> tuple[int, int]:
    """Machines that are embedded, and that should be, over all checkpoints and editions."""
    try:
        folders = embedding_folders(run)
    except DcaseAsdError:  # a checkpoint is gone; running the system tells of it
        return 0, 0
    present = planned = 0
    for folder in folders:
        for edition in editions:
            markers = planned_markers(folder, edition)
            if markers is None:
                planned += 1
                continue
            planned += len(markers)
            present += sum(marker.is_file() for marker in markers)
    return present, planned


def state_of_package(out: Path, label: str, edition: Edition) -> str:
    """Whether a label's system is in its package."""
    package = package_name(label, edition)
    there = (out / package / TASK_FOLDER / label).is_dir()
    return DONE if there and (out / f"{package}.zip").is_file() else TO_DO
