"""Which scored clips can be evaluated, and with which labels; what is left out is said."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

import pandas as pd

from dcase_asd.challenge.edition import Edition
from dcase_asd.challenge.ground_truth import join_ground_truth, labels_from_names
from dcase_asd.errors import GroundTruthError

Sections = set[tuple[str, str]]
"""Machine types with their sections."""


def label_by_names(
    scores: pd.DataFrame, edition: Edition, source: Path
) -> tuple[pd.DataFrame, list[str]]:
    """Development clips with the condition that their names tell.

    Args:
        scores: One row per test clip: ``machine``, ``section``, ``file`` and, where it is known,
            ``stage``; of several stages the development set counts.
        edition: Its grammar of names.
        source: Where the scores are from, for messages.

    Returns:
        The clips of a known condition, with ``domain`` and ``condition``; sentences about others.

    Raises:
        GroundTruthError: No name tells a condition.
    """
    if "stage" in scores and (scores["stage"] == "dev").any():
        scores = scores[scores["stage"] == "dev"]
    labelled = labels_from_names(scores, edition)
    blind = labelled[labelled["condition"] == ""]
    if len(blind) == len(labelled):
        raise GroundTruthError(
            f"{source}: no test clip of {edition.name} tells its condition in its name, as "
            f"{blind.iloc[0]['file']} does not; give the labels with --ground-truth"
        )
    notes = []
    if not blind.empty:
        notes.append(
            f"{len(blind)} clip(s) without a condition in their names are left out "
            f"({in_words(sections_of(blind))}); --ground-truth gives labels to them"
        )
    return labelled[labelled["condition"] != ""], notes


def label_by_truth(
    scores: pd.DataFrame, truth: pd.DataFrame, source: Path, ground_truth: Path
) -> tuple[pd.DataFrame, list[str]]:
    """The clips of the machines and sections that a ground truth covers, with its labels.

    Args:
        scores: One row per test clip: ``machine``, ``section`` and ``file``.
        truth: What `ground_truth.read_ground_truth` returns.
        source: Where the scores are from, for messages.
        ground_truth: Where the labels are from, for messages.

    Returns:
        The clips covered, with ``domain`` and ``condition``; sentences about the others.

    Raises:
        ScoresError: Clips are scored more than once.
        GroundTruthError: It covers none of the sections, or other clips of one.
    """
    covered = sections_of(truth)
    keys = zip(scores["machine"], scores["section"], strict=True)
    inside = pd.Series([key in covered for key in keys], index=scores.index, dtype=bool)
    if not inside.any():
        raise GroundTruthError(
            f"{ground_truth}: labels of {in_words(covered) or 'other machines'}, but scored "
            f"are {in_words(sections_of(scores))}; give the ground truth of this edition"
        )
    notes = []
    if not inside.all():
        notes.append(
            f"{int((~inside).sum())} clip(s) that the ground truth does not cover are left out "
            f"({in_words(sections_of(scores[~inside]))})"
        )
    return join_ground_truth(scores[inside], truth, str(source)), notes


def sections_of(rows: pd.DataFrame) -> Sections:
    """The machines and sections of a table."""
    return set(zip(rows["machine"], rows["section"], strict=True))


def in_words(sections: Sections) -> str:
    """Machines and their sections in words: ``fan 00 01, valve 02``."""
    return ", ".join(
        " ".join((machine, *(section for _, section in group)))
        for machine, group in groupby(sorted(sections), key=lambda pair: pair[0])
    )
