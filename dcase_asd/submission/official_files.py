"""A run's evaluation scores -> the score and decision files of a challenge package."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from dcase_asd.editions.edition import Edition
from dcase_asd.errors import ScoresError, command
from dcase_asd.metrics.labels import labels_from_names
from dcase_asd.metrics.official_files import decision_file_name, official_text, score_file_name
from dcase_asd.recipe.imported import is_imported
from dcase_asd.scores.table import read_provenance, scored_subset
from dcase_asd.scores.threshold import ThresholdRule, decide, set_threshold

Key = tuple[str, str, str]
"""Machine, section and domain of a file; the domain is empty except in 2021."""


@dataclass(frozen=True)
class SubmittedFile:
    """One score file: how many clips it names, and how many of them are decided anomalous.

    `threshold` and `anomalies` are None where the edition asks for no decisions.
    """

    machine: str
    section: str
    domain: str
    clips: int
    threshold: float | None
    anomalies: int | None


def official_files(
    run: Path, scores: pd.DataFrame, edition: Edition, quantile: float, rule: ThresholdRule
) -> tuple[dict[str, str], list[SubmittedFile], dict[str, set[str]]]:
    """The score and decision files of a run.

    Args:
        run: Where the scores are from, for messages.
        scores: What `scores.table.read_scores` returns.
        edition: Whose files.
        quantile: Share of new normal clips that the threshold lets pass, in (0, 1).
        rule: How the threshold is set.

    Returns:
        File name -> content, what the score files hold, and caveats of thresholds with the
        sections that they are of.

    Raises:
        ScoresError: There are no evaluation scores, or a threshold cannot be set.
        TooFewClipsError: There are too few train scores to set a threshold by.
    """
    evaluation = scores[scores["stage"] == "eval"]
    by_file = evaluation_scores(scores, edition, run)
    if not by_file:
        raise ScoresError(
            f"{run}: holds no scores of the evaluation set of {edition.name}, which a package is "
            "made of; put its eval_data into the data folder, then prepare, embed and score"
        )
    files: dict[str, str] = {}
    rows: list[SubmittedFile] = []
    caveats: dict[str, set[str]] = {}
    for key, clips in by_file.items():
        machine, section, _ = key
        limit = None
        if edition.submission.decision_file:
            mine = (evaluation["machine"] == machine) & (evaluation["section"] == section)
            train = evaluation[mine & (evaluation["split"] == "train")]
            train = labels_from_names(train, edition, "train")
            if train.empty and is_imported(run):
                raise ScoresError(_no_train_scores(run, edition, machine, section))
            where = f"{run}: {edition.name} {machine} section {section}"
            found = set_threshold(
                train["score"].to_numpy(dtype=np.float64),
                train["domain"].to_numpy(dtype=str),
                rule,
                quantile,
                where,
            )
            limit = found.value
            for caveat in found.caveats:
                caveats.setdefault(caveat, set()).add(f"{machine} section {section}")
        name = score_file_name(edition, *key)
        files[name] = official_text(clips, name)
        anomalies = None
        if limit is not None:
            name = decision_file_name(edition, *key)
            decisions = decide(np.array(list(clips.values())), limit).tolist()
            files[name] = official_text(dict(zip(clips, decisions, strict=True)), name)
            anomalies = sum(decisions)
        rows.append(SubmittedFile(*key, len(clips), limit, anomalies))
    return files, rows, caveats


def _no_train_scores(run: Path, edition: Edition, machine: str, section: str) -> str:
    again = command(
        "import-scores", "FOLDER", "--run", run, "--edition", edition.name, "--overwrite"
    )
    return (
        f"{run}: imported without train scores of {machine} section {section}, which a threshold "
        f"is set by; put files of them, which end in _train.csv, beside the others, then {again}"
    )


def reason_against(run: str | Path, edition: Edition) -> str:
    """Why a run's scores may not be submitted, with a way out; empty where they may be."""
    if subset := scored_subset(run, edition.name):
        again = command("score", run, "--edition", edition.name)
        return (
            f"{run}: scores of {subset} alone, and a package needs every machine of "
            f"{edition.name}; embed, score and, of a fusion, fuse without --machine and --section "
            f"({again}, where all is embedded)"
        )
    if not read_provenance(run, edition.name).get("analysis"):
        return ""
    return (
        f"{run}: a fusion for analysis alone (--analysis): statistics of test clips went into its "
        "scores, which is transductive; fuse with --standardize train, into another --run"
    )


def evaluation_scores(
    scores: pd.DataFrame, edition: Edition, run: Path
) -> dict[Key, dict[str, float]]:
    """A run's scores of evaluation test clips: score file -> clip's file name -> score.

    Args:
        scores: What `scores.table.read_scores` returns.
        edition: Whose files.
        run: Where the scores are from, for messages.

    Raises:
        ScoresError: A clip does not name its domain, by which the edition sorts its files.
    """
    test = scores[(scores["stage"] == "eval") & (scores["split"] == "test")]
    by_domain = "{domain}" in edition.submission.score_file
    test = labels_from_names(test, edition) if by_domain else test.assign(domain="")
    hidden = test[test["domain"] == ""]
    if by_domain and not hidden.empty:
        raise ScoresError(
            f"{run}: {hidden['file'].iloc[0]} does not name its domain, by which {edition.name} "
            "sorts its files; score the clips under their official names"
        )
    return {
        (str(machine), str(section), str(domain)): dict(
            zip(clips["file"], clips["score"].astype(float), strict=True)
        )
        for (machine, section, domain), clips in test.sort_values("file").groupby(
            ["machine", "section", "domain"]
        )
    }
