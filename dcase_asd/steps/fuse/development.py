"""The labelled clips that weights are fitted to, and figures computed with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dcase_asd.challenge.curves import draw_curves, find_strata
from dcase_asd.challenge.edition import Edition, Metric
from dcase_asd.challenge.labelling import label_by_names, label_by_truth
from dcase_asd.challenge.official_objective import OfficialObjective
from dcase_asd.errors import GroundTruthError
from dcase_asd.fused_system import Fusion
from dcase_asd.steps.fuse.members import Floats, Members


@dataclass(frozen=True)
class Development:
    """Labelled test clips.

    Attributes:
        labelled: One row per clip, as `metrics.evaluate` takes them, without scores.
        clips: Which of the systems' clips they are, (n,).
        metric: The recipe of the edition.
        strict: Whether each machine and section must have all its values.
        machines: Machine types, in ASCII order.
        source: Where the labels are from, in words.
        notes: What is left out, or is otherwise to be known.
    """

    labelled: pd.DataFrame
    clips: NDArray[np.intp]
    metric: Metric
    strict: bool
    machines: tuple[str, ...]
    source: str
    notes: tuple[str, ...]

    def objective(self, scores: Floats) -> OfficialObjective:
        """The official score of weighted sums of scores, (systems, clips) of all clips."""
        chosen = np.ascontiguousarray(scores[:, self.clips])
        return OfficialObjective(self.labelled, chosen, self.metric, strict=self.strict)


def read_development(
    members: Members, edition: Edition, truth: pd.DataFrame | None, ground_truth: Path | None
) -> Development:
    """The development clips by their names, or what a ground truth has the labels of.

    Args:
        members: The systems.
        edition: Whose rules are followed.
        truth: Labels that are taken instead of those in the names of development clips.
        ground_truth: Where they are from.

    Raises:
        GroundTruthError: There are no labels, or not enough for the edition's official score.
        ScoresError: A clip belongs to another section than its row says.
    """
    tests = members.clips[members.of_split("test")].drop(columns="split")
    if truth is not None and ground_truth is not None:
        labelled, notes = label_by_truth(tests, truth, members.runs[0], ground_truth)
        source = f"the ground truth {ground_truth.resolve().name}"
    else:
        tests = tests[tests["stage"] == "dev"]
        if tests.empty:
            raise GroundTruthError(
                f"{members.runs[0]}: no scores of the development set of {edition.name}"
            )
        labelled, notes = label_by_names(tests, edition, members.runs[0])
        source = "file names of the development set"
    curves = draw_curves(find_strata(labelled), edition.metric, strict=edition.official)
    return Development(
        labelled=labelled.reset_index(drop=True),
        clips=labelled.index.to_numpy(dtype=np.intp),
        metric=edition.metric,
        strict=edition.official,
        machines=tuple(sorted({curve.machine for curve in curves.curves})),
        source=source,
        notes=(*notes, *curves.left_out),
    )


def find_development(
    members: Members,
    edition: Edition,
    fusion: Fusion,
    truth: pd.DataFrame | None,
    ground_truth: Path | None,
) -> tuple[Development | None, list[str]]:
    """The labelled clips; without any, None and why, where the fusion can do without.

    Arguments are those of `read_development`.

    Raises:
        GroundTruthError: There are no labels where they decide on the fusion, or a ground truth
            does not fit.
        ScoresError: As `read_development`.
    """
    try:
        return read_development(members, edition, truth, ground_truth), []
    except GroundTruthError as error:
        if fusion.uses_labels:
            raise GroundTruthError(
                f"{error}; without labels fuse with --method mean, minimum or --weights"
            ) from error
        if ground_truth is not None:
            raise
        return None, [f"there are no figures: {error}"]
