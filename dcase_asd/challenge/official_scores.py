"""All score and decision files of one system, as one table; and a run's scores, file by file."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from dcase_asd.challenge.edition import Edition
from dcase_asd.challenge.files import find_official_files, official_clip_name, read_official_file
from dcase_asd.challenge.ground_truth import clip_differences, join_by_name, labels_from_names
from dcase_asd.errors import ScoresError

Key = tuple[str, str, str]
"""Machine, section and domain of a file; the domain is empty except in 2021."""


def evaluation_scores(
    scores: pd.DataFrame, edition: Edition, run: str | Path
) -> dict[Key, dict[str, float]]:
    """A run's scores of evaluation test clips: score file -> clip's file name -> score.

    Args:
        scores: What `artifacts.scores.read_scores` returns.
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


def read_official_scores(folder: str | Path, edition: Edition) -> pd.DataFrame:
    """Scores of a folder of official files, and decisions where there are decision files.

    Returns:
        Columns ``machine``, ``section``, ``file``, ``score`` and perhaps ``decision``.

    Raises:
        ScoresError: A file is missing or malformed, or decisions and scores name different clips.
    """
    tables: dict[str, list[pd.DataFrame]] = {"score": [], "decision": []}
    for file in find_official_files(folder, edition):
        table = read_official_file(file.path).rename(columns={"value": file.kind})
        if file.kind == "decision" and not table["decision"].isin([0, 1]).all():
            wrong = table[~table["decision"].isin([0, 1])].iloc[0]
            raise ScoresError(
                f"{file.path}: the decision {wrong['decision']:g} of {wrong['file']} is neither "
                "0 nor 1"
            )
        tables[file.kind].append(table.assign(machine=file.machine, section=file.section))
    scores = pd.concat(tables["score"], ignore_index=True)
    if not tables["decision"]:
        return scores
    decisions = pd.concat(tables["decision"], ignore_index=True)
    decisions["file"] = [official_clip_name(file) for file in decisions["file"]]
    different = clip_differences(
        scores, decisions, "scored but without a decision", "decided but not scored"
    )
    if different:
        raise ScoresError(
            f"{folder}: scores and decisions do not match: {different}; "
            "name every test clip once in both, or remove all decision files"
        )
    return join_by_name(scores, decisions)
