"""All score and decision files of one system, as one table."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from dcase_asd.challenge.edition import Edition
from dcase_asd.challenge.files import find_official_files, official_clip_name, read_official_file
from dcase_asd.challenge.ground_truth import clip_differences, join_by_name
from dcase_asd.errors import ScoresError


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
