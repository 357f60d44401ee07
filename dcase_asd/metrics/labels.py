"""Which test clips are anomalous: from file names, or from the organizers' ground-truth files.

Labels are always joined by clip name; the rows of a file may stand in any order.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import pandas as pd

from dcase_asd.clips.name import parse_clip_name, parse_own_name
from dcase_asd.editions.edition import Edition
from dcase_asd.errors import GroundTruthError, ScoresError
from dcase_asd.files import find_below
from dcase_asd.metrics.ground_truth import (
    DATA_FOLDER,
    KEY,
    find_label_list,
    read_evaluator,
    read_label_list,
)
from dcase_asd.metrics.official_files import official_clip_name
from dcase_asd.recipe.subset import EVERYTHING, Subset
from dcase_asd.scores.table import Sections, sections_of


def label_by_names(
    scores: pd.DataFrame, edition: Edition, source: str | Path
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
        GroundTruthError: There is no clip, or no name tells a condition.
    """
    if scores.empty:
        raise GroundTruthError(f"{source}: no scores of test clips of {edition.name}")
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
    scores: pd.DataFrame, truth: pd.DataFrame, source: str | Path, ground_truth: str | Path
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


def in_words(sections: Sections) -> str:
    """Machines and their sections in words: ``fan 00 01, valve 02``."""
    return ", ".join(
        " ".join((machine, *(section for _, section in group)))
        for machine, group in groupby(sorted(sections), key=lambda pair: pair[0])
    )


def labels_from_names(scores: pd.DataFrame, edition: Edition, split: str = "test") -> pd.DataFrame:
    """Read each clip's domain and condition from its file name.

    Args:
        scores: One row per clip with the columns of `KEY` and others.
        edition: Its grammar; names of one's own are allowed in an edition of one's own.
        split: ``test`` or ``train``: which clips they are.

    Returns:
        The same rows with the columns ``domain`` and ``condition``, empty where hidden.

    Raises:
        ClipNameError: A name follows no grammar of the challenge.
        ScoresError: A clip belongs to another section than its row says.
    """
    parse = parse_clip_name if edition.official else parse_own_name
    names = [parse(file, split) for file in scores["file"]]
    for name, (machine, section, file) in zip(
        names, scores[KEY].itertuples(index=False), strict=True
    ):
        if name.section != section:
            raise ScoresError(
                f"{machine} section {section}: {file} is a clip of section {name.section}; "
                "keep each clip with its own section"
            )
    return scores.assign(
        domain=pd.Series([name.domain for name in names], dtype="str", index=scores.index),
        condition=pd.Series([name.condition for name in names], dtype="str", index=scores.index),
    )


def read_ground_truth(folder: str | Path, edition: Edition) -> pd.DataFrame:
    """Read the labels of an evaluation set.

    Args:
        folder: A checkout of the edition's official evaluator (or the folder that holds it), or
            an ``eval_data_list*.csv`` (or the folder that holds it).
        edition: The edition that the labels are of.

    Returns:
        One row per clip with the columns of `ground_truth_files.COLUMNS`, sorted by them.

    Raises:
        GroundTruthError: Nothing is found, it contradicts itself, or it is known to be wrong.
    """
    folder = Path(folder)
    if not folder.exists():
        raise GroundTruthError(
            f"{folder}: no such ground truth; give an official evaluator's folder"
        )
    checkout = None if folder.is_file() else _checkout(folder)
    if checkout is not None:
        rows = read_evaluator(checkout, edition)
    else:
        path = folder if folder.is_file() else find_label_list(folder, edition)
        if path is None:
            raise GroundTruthError(
                f"{folder}: holds neither {DATA_FOLDER}/ nor eval_data_list*.csv; "
                "give the folder of an official evaluator"
            )
        rows = read_label_list(path, edition)
    return rows.sort_values(KEY, ignore_index=True)


@dataclass(frozen=True)
class GroundTruth:
    """Labels of test clips, as `read_ground_truth` gives them, and where they are from."""

    rows: pd.DataFrame
    path: Path


def find_ground_truth(
    path: str | Path | None, edition: Edition, subset: Subset = EVERYTHING
) -> GroundTruth | None:
    """The ground truth where one is given, of some machine types and sections or of all.

    Raises:
        GroundTruthError: As `read_ground_truth`; or it has nothing of the subset.
    """
    if path is None:
        return None
    rows = read_ground_truth(path, edition)
    chosen = rows[subset.mask(rows)]
    if chosen.empty and not rows.empty:
        raise GroundTruthError(
            f"{path}: no labels of {subset}, but of {in_words(sections_of(rows))}; name one of "
            "these, or leave --ground-truth out"
        )
    return GroundTruth(chosen, Path(path))


def join_ground_truth(
    scores: pd.DataFrame, truth: pd.DataFrame, source: str = "the scores"
) -> pd.DataFrame:
    """Give each scored clip its domain and condition, by machine, section and name.

    Args:
        scores: One row per clip with the columns of `KEY` and others.
        truth: What `read_ground_truth` returns, of the same machines and sections.
        source: What to call the scores in a message: where they are from.

    Returns:
        The rows of `scores` in their order, with ``domain`` and ``condition``.

    Raises:
        ScoresError: Clips are scored more than once.
        GroundTruthError: The clips differ; names both differences.
    """
    different = clip_differences(
        scores, truth, "scored but not in the ground truth", "in the ground truth but not scored"
    )
    if different:
        raise GroundTruthError(
            f"{source} and the ground truth do not match: {different}; "
            "score every test clip once, or give the ground truth of this edition"
        )
    return join_by_name(scores, truth)


def join_by_name(scores: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """Add another table's columns to scores of the same clips; rows keep the scores' order."""
    names = [official_clip_name(file) for file in scores["file"]]
    keyed = scores.assign(name=pd.Series(names, dtype="str", index=scores.index))
    joined = keyed.merge(
        other.rename(columns={"file": "name"}), on=["machine", "section", "name"], how="left"
    )
    return joined.drop(columns="name").set_axis(scores.index)


def clip_differences(
    left: pd.DataFrame, right: pd.DataFrame, only_left: str, only_right: str
) -> str:
    """Say which clips stand in one table only: how many and which is the first; empty if none.

    Args:
        left: Rows with the columns of `KEY`; an audio file's own suffix does not matter.
        right: The same, with official names and no clip twice.
        only_left: What to say of clips that only the left table has.
        only_right: What to say of clips that only the right table has.

    Raises:
        ScoresError: The left table names a clip twice.
    """
    columns = (left[column].to_list() for column in KEY)
    clips = [(*key, official_clip_name(file)) for *key, file in zip(*columns, strict=True)]
    known = set(zip(*(right[column].to_list() for column in KEY), strict=True))
    (machine, section, file), times = Counter(clips).most_common(1)[0]
    if times > 1:
        raise ScoresError(
            f"{machine} section {section}: {file} is scored more than once; keep one score"
        )
    parts = []
    for lonely, what in ((set(clips) - known, only_left), (known - set(clips), only_right)):
        if lonely:
            machine, section, file = min(lonely)
            parts.append(
                f"{len(lonely)} clip(s) {what}, the first {machine} section {section} {file}"
            )
    return "; ".join(parts)


def _checkout(folder: Path) -> Path | None:
    """The one folder that holds the ground truth, at most one level below `folder`."""
    if folder.name == DATA_FOLDER:
        return folder.parent
    if (folder / DATA_FOLDER).is_dir():
        return folder
    below = [path.parent for path in find_below(folder, f"*/{DATA_FOLDER}") if path.is_dir()]
    if len(below) > 1:
        raise GroundTruthError(
            f"{folder}: {len(below)} folders hold ground truth "
            f"({', '.join(path.name for path in below)}); give one of them"
        )
    return below[0] if below else None
