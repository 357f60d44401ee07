"""What a sweep makes small: one number for each run, from its scores alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dcase_asd.editions.edition import load_edition
from dcase_asd.errors import ScoresError
from dcase_asd.fusion.robustness import normal_shift
from dcase_asd.metrics.evaluate import evaluate_stage
from dcase_asd.scores.table import of_tests, read_scores


def dev_cost(run: Path, edition: str) -> float:
    """The negative official score of the development set, in [-1, 0].

    Raises:
        ScoresError: There are no scores.
        GroundTruthError: Its labels are not known, or not enough.
    """
    tests = of_tests(read_scores(run, edition), run, edition)
    result = evaluate_stage(tests, load_edition(edition), stage="dev", source=run)
    if result.evaluation is None:
        assert result.fault is not None  # noqa: S101 - one of both is there
        raise result.fault
    return -result.evaluation.score


def shift(run: Path, edition: str) -> float:
    """How far scores of normal evaluation clips have moved, the mean over machine types.

    No label is used (see `fusion.robustness`).

    Raises:
        ScoresError: There are no scores of evaluation clips.
        TooFewClipsError: There are too few of a machine.
    """
    scores = read_scores(run, edition)
    scores = scores[scores["stage"] == "eval"]
    if scores.empty:
        raise ScoresError(
            f"{run}: no scores of evaluation clips of {edition}, which --objective robust looks "
            "at; take --objective dev"
        )
    shifts: dict[str, list[float]] = {}
    for (machine, _), rows in scores.groupby(["machine", "section"]):
        train, test = (
            rows.loc[rows["split"] == split, "score"].to_numpy(dtype=np.float64)
            for split in ("train", "test")
        )
        shifts.setdefault(str(machine), []).append(normal_shift(train, test))
    return float(np.mean([np.mean(each) for each in shifts.values()]))
