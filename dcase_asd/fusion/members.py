"""The systems that are fused: their scores of the same clips, checked and standardized."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dcase_asd.editions.edition import Edition, load_edition
from dcase_asd.errors import GroundTruthError, ScoresError
from dcase_asd.folders import check_runs
from dcase_asd.fusion.objective import OfficialObjective
from dcase_asd.metrics.labels import label_by_names, label_by_truth
from dcase_asd.metrics.ranking import Floats
from dcase_asd.recipe.fusion import Fusion, Standardization
from dcase_asd.recipe.subset import EVERYTHING, Subset
from dcase_asd.scores.calibrate import calibrated_union
from dcase_asd.scores.standardize import SpreadError, standardized
from dcase_asd.scores.table import (
    read_provenance,
    read_scores,
    scored_editions,
    scored_subset,
    scores_path,
)

CLIP = ["stage", "machine", "section", "split", "file"]
"""What tells a scored clip, and the order of a fusion's rows."""
GROUP = ["stage", "machine", "section"]
"""Clips whose scores are standardized together."""


@dataclass
class Members:
    """Several systems' scores of the same clips.

    Attributes:
        names: What to call the systems.
        runs: Their run folders.
        provenances: What made their scores.
        clips: One row per clip with the columns of `CLIP`, sorted by them.
        groups: Number of each clip's stage, machine and section, (clips,).
        scores: Anomaly scores, (systems, clips).
        notes: What was left out, in words.
        analysis: Whether their fusion is for analysis alone.
        caveats: What must be said wherever scores of their fusion are evaluated or submitted.
        subset: Which machine types and sections all of them have scores of.
        reference: The clips whose scores the scale is of, (clips,): train clips or, transductive,
            test clips.
        standardized: Scores on one scale, (systems, clips).
        objective: The official score of weighted sums of these on clips with labels, where known.
        labels: Where the labels are from, in words.
    """

    names: tuple[str, ...]
    runs: tuple[Path, ...]
    provenances: tuple[dict[str, Any], ...]
    clips: pd.DataFrame
    groups: NDArray[np.intp]
    scores: Floats
    notes: list[str]
    analysis: bool = False
    caveats: list[str] = field(default_factory=list)
    subset: Subset = EVERYTHING
    reference: NDArray[np.bool_] = field(init=False)
    standardized: Floats = field(init=False)
    objective: OfficialObjective | None = None
    labels: str | None = None

    def of_split(self, split: str) -> NDArray[np.bool_]:
        """Which clips are of a split, (clips,)."""
        chosen: NDArray[np.bool_] = (self.clips["split"] == split).to_numpy(dtype=bool)
        return chosen

    def calibrated_union(self, systems: Sequence[int]) -> Floats:
        """The union of some systems, of their calibrated scores, (clips,).

        Raises:
            ScoresError: Reference scores of a section are equal, or equal but for one.
        """
        try:
            return calibrated_union(self.scores[list(systems)], self.groups, self.reference)
        except SpreadError as error:
            raise ScoresError(
                f"{self.runs[systems[error.system]]}: {self.where(error.group)}: the train scores "
                "are too few, or too many are equal, to calibrate by; fuse with --method mean"
            ) from error

    def where(self, group: int) -> str:
        """A group in words."""
        first = self.clips.iloc[int(np.argmax(self.groups == group))]
        return f"{first['stage']} {first['machine']} section {first['section']}"


def newest_common_edition(runs: Sequence[str | Path]) -> str:
    """The newest edition that all runs have finished scores of.

    Raises:
        DataError: A run is no folder.
        ScoresError: There is no such edition, or there are several folders of one's own.
    """
    runs = check_runs(runs)
    have = [
        {
            name
            for name in scored_editions(run)
            if scores_path(run, name).with_suffix(".json").exists()
        }
        for run in runs
    ]
    common = sorted(set.intersection(*have)) if have else []
    official = [name for name in common if load_edition(name).official]
    if official:
        return official[-1]
    if len(common) == 1:
        return common[0]
    listed = "; ".join(
        f"{run}: {', '.join(sorted(names)) or 'none'}"
        for run, names in zip(runs, have, strict=True)
    )
    if common:
        raise ScoresError(
            f"the systems share scores of {', '.join(common)}; say which by --edition"
        )
    raise ScoresError(
        f"there is no edition that all systems have scores of ({listed}); "
        "score the same edition with each"
    )


def content_hash(run: Path, edition: str) -> str:
    """A hash of a run's scores as they stand on disk, with what made them.

    Raises:
        ScoresError: There are no finished scores.
    """
    made_of = read_provenance(run, edition)
    path = scores_path(run, edition)
    if not path.is_file():
        raise ScoresError(f"{path}: not found; score again")
    content = hashlib.sha256(path.read_bytes()).hexdigest()
    return f"{made_of.get('fingerprint')} {made_of.get('parameters')} {content}"


def read_members(
    runs: Sequence[Path],
    fusion: Fusion,
    edition: Edition,
    truth: pd.DataFrame | None,
    ground_truth: Path | None,
) -> Members:
    """Read the scores of several runs of an edition, standardize them, and find the labelled clips.

    Train clips that some of the systems have no leave-one-out score of are left out and said.

    Args:
        runs: Run folders, in the order of `fusion.systems`.
        fusion: How they are fused.
        edition: Whose rules are followed.
        truth: Labels that are taken instead of those in the names of development clips.
        ground_truth: Where they are from.

    Raises:
        ScoresError: Scores are missing, not finite, or equal over a whole section; the systems
            scored different test clips; or a clip belongs to another section than its row says.
        GroundTruthError: There are no labels where they decide on the fusion, or a ground truth
            does not fit.
    """
    provenances = tuple(read_provenance(run, edition.name) for run in runs)
    tables = [read_scores(run, edition.name).set_index(CLIP)["score"].sort_index() for run in runs]
    subsets = [scored_subset(run, edition.name) for run in runs]
    _check_same_tests(runs, [table.index for table in tables], subsets)
    if fusion.standardize == "train":
        _check_train(runs, [table.index for table in tables])
    common = tables[0].index
    for table in tables[1:]:
        common = common.intersection(table.index, sort=True)
    notes = []
    for run, table in zip(runs, tables, strict=True):
        alone = table.index.difference(common)
        if len(alone):
            notes.append(
                f"{run}: {len(alone)} train clip(s) without a leave-one-out score of every system "
                f"are left out, the first {_in_words(alone[0])}"
            )
    clips = common.to_frame(index=False)
    groups = np.asarray(clips.groupby(GROUP, sort=True).ngroup(), dtype=np.intp)
    scores = np.stack([table.loc[common].to_numpy(dtype=np.float64) for table in tables])
    members = Members(fusion.names, tuple(runs), provenances, clips, groups, scores, notes)
    _check_not_constant(members)
    members.subset = next(filter(None, subsets), EVERYTHING)
    if members.subset:
        notes.append(f"{members.subset} alone: no figure here is of the official score")
    members.analysis = fusion.analysis or any(made.get("analysis") for made in provenances)
    members.reference = members.of_split(fusion.standardize)
    members.standardized = _standardize(members, fusion.standardize)
    _find_labels(members, fusion, edition, truth, ground_truth)
    members.caveats += [
        f"{name}: {sentence}"
        for name, made in zip(members.names, provenances, strict=True)
        for sentence in made.get("caveats", ())
    ]
    if fusion.standardize == "test":
        members.caveats.append(
            "the fusion's scores are standardised by those of test clips, which is transductive"
        )
    if members.analysis:
        members.caveats.append("the fusion is for analysis alone, and may not be submitted")
    return members


def _check_same_tests(
    runs: Sequence[Path], indexes: Sequence[pd.Index[Any]], subsets: Sequence[Subset]
) -> None:
    """Refuse systems whose test clips differ, with both differences of each pair."""
    tests = [index[index.get_level_values("split") == "test"] for index in indexes]
    differences = []
    for run, clips in zip(runs[1:], tests[1:], strict=True):
        for only, missing, found in (
            (runs[0], run, tests[0].difference(clips)),
            (run, runs[0], clips.difference(tests[0])),
        ):
            if len(found):
                differences.append(
                    f"{len(found)} in {only} but not in {missing}, the first {_in_words(found[0])}"
                )
    if differences:
        differences += [
            f"{run} scored {each} alone" for run, each in zip(runs, subsets, strict=True) if each
        ]
        alike = "machines and sections of the " if any(subsets) else ""
        raise ScoresError(
            f"the systems scored different test clips: {'; '.join(differences)}; "
            f"embed and score each system on the same {alike}data folder"
        )
    if not len(tests[0]):
        raise ScoresError(f"{runs[0]}: holds no test clip; embed and score test/ folders")


def _check_train(runs: Sequence[Path], indexes: Sequence[pd.Index[Any]]) -> None:
    """Refuse a system that has test scores of a section, but none of its train clips."""
    for run, index in zip(runs, indexes, strict=True):
        clips = index.to_frame(index=False)
        tests, train = (
            set(clips.loc[clips["split"] == split, GROUP].itertuples(index=False, name=None))
            for split in ("test", "train")
        )
        lacking = sorted(tests - train)
        if lacking:
            stage, machine, section = lacking[0]
            raise ScoresError(
                f"{run}: {stage} {machine} section {section}: no leave-one-out train score is "
                "there, so that scores cannot be standardized; leave this system out, or look at "
                "what it would give with --standardize test --analysis"
            )


def _check_not_constant(members: Members) -> None:
    """Refuse a system that scores all test clips of a section alike."""
    groups, test = members.groups, members.of_split("test")
    for group in np.unique(groups[test]):
        scores = members.scores[:, test & (groups == group)]
        constant = np.flatnonzero(np.ptp(scores, axis=1) == 0)
        if scores.shape[1] > 1 and len(constant):
            run = members.runs[constant[0]]
            raise ScoresError(
                f"{run}: all {scores.shape[1]} test clips of {members.where(int(group))} have the "
                f"score {scores[constant[0], 0]:g}, which tells nothing; look at its embeddings, "
                "or leave this system out"
            )


def _standardize(members: Members, split: Standardization) -> Floats:
    try:
        return standardized(members.scores, members.groups, members.reference)
    except SpreadError as error:
        clips = int((members.reference & (members.groups == error.group)).sum())
        which = "leave-one-out train" if split == "train" else "test"
        what = f"{clips} {which} score(s) are equal" if clips else f"no {which} score is there"
        raise ScoresError(
            f"{members.runs[error.system]}: {members.where(error.group)}: {what}, so that scores "
            "cannot be standardized; look at the embeddings, or leave this system out"
        ) from error


def _find_labels(
    members: Members,
    fusion: Fusion,
    edition: Edition,
    truth: pd.DataFrame | None,
    ground_truth: Path | None,
) -> None:
    """Set the objective of labelled clips; say why there is none, where the fusion can do without.

    Arguments and errors are those of `read_members`.
    """
    try:
        labelled, notes = _label(members, edition, truth, ground_truth)
        clips = labelled.index.to_numpy(dtype=np.intp)
        members.objective = OfficialObjective(
            labelled, members.standardized, edition.metric, strict=edition.official, clips=clips
        )
    except GroundTruthError as error:
        if fusion.uses_labels:
            raise GroundTruthError(
                f"{error}; without labels fuse with --method mean, minimum, calibrated or --weights"
            ) from error
        if ground_truth is not None:
            raise
        members.notes.append(f"there are no figures: {error}")
        return
    members.notes += [*notes, *members.objective.left_out]
    members.labels = "file names of the development set"
    if ground_truth is not None:
        members.labels = f"the ground truth {ground_truth.resolve().name}"
        if fusion.uses_labels:
            members.caveats.append(
                f"the fusion was fitted to the labels of {members.labels}: its figures on these "
                "clips say nothing about clips that nobody has labelled"
            )


def _label(
    members: Members, edition: Edition, truth: pd.DataFrame | None, ground_truth: Path | None
) -> tuple[pd.DataFrame, list[str]]:
    """The test clips that a ground truth, or the names of the development set, tell the labels of.

    Their index are rows of `Members.clips`; sentences say what is left out.
    """
    tests = members.clips[members.of_split("test")].drop(columns="split")
    if truth is not None and ground_truth is not None:
        return label_by_truth(tests, truth, members.runs[0], ground_truth)
    tests = tests[tests["stage"] == "dev"]
    if tests.empty:
        raise GroundTruthError(
            f"{members.runs[0]}: no scores of the development set of {edition.name}"
        )
    return label_by_names(tests, edition, members.runs[0])


def _in_words(clip: tuple[Any, ...]) -> str:
    stage, machine, section, _, file = clip
    return f"{stage} {machine} section {section} {file}"
