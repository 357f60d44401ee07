"""Anomaly scores of a run: one row for each train (leave-one-out) and test clip."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dcase_asd.errors import ScoresError, command
from dcase_asd.files import find_below, read_json, read_table, write_json, write_table
from dcase_asd.folders import check_run, there_or_made
from dcase_asd.recipe.subset import Subset

COLUMNS: dict[str, type] = {
    "stage": str,
    "machine": str,
    "section": str,
    "split": str,
    "file": str,
    "score": float,
}
"""Column -> type. `split` is ``train`` or ``test``; `file` is the clip's file name; `score` is
larger for clips that are more anomalous."""

Sections = set[tuple[str, str]]
"""Machine types with their sections."""

KEY = ["stage", "machine", "file"]
"""What identifies a clip among the scores of one edition (with its split)."""


def scores_path(run: str | Path, edition: str) -> Path:
    """Where a run's scores of an edition lie."""
    return Path(run) / "scores" / f"{edition}.csv"


def scored_editions(run: str | Path) -> list[str]:
    """Editions that the run has finished scores of."""
    return [path.stem for path in find_below(Path(run) / "scores", "*.csv")]


def write_scores(
    run: str | Path, edition: str, scores: pd.DataFrame, provenance: dict[str, Any]
) -> None:
    """Write an edition's scores, then their provenance as the marker that they are complete."""
    path = scores_path(run, edition)
    if path.with_suffix(".json").exists():
        path.with_suffix(".json").unlink()
    write_table(path, scores, list(COLUMNS))
    write_json(path.with_suffix(".json"), provenance)


def read_provenance(run: str | Path, edition: str) -> dict[str, Any]:
    """What made a run's scores: at least `backbone`, `parameters`, `sample_rate`, `fingerprint`.

    Raises:
        ScoresError: The scores are missing or were not finished.
        DataError: It is no run folder.
    """
    provenance = read_json(scores_path(run, edition).with_suffix(".json"))
    if provenance is None:
        make = command("score", check_run(run), "--edition", edition)
        others = there_or_made(edition, scored_editions(run), make)
        raise ScoresError(f"{run}: no finished scores of {edition} {others}")
    return provenance


def read_caveats(run: str | Path, edition: str) -> list[str]:
    """What must be said wherever a run's scores are evaluated or submitted, in sentences."""
    provenance = read_json(scores_path(run, edition).with_suffix(".json"))
    return list((provenance or {}).get("caveats", ()))


def read_scores(run: str | Path, edition: str) -> pd.DataFrame:
    """Read and check a run's scores of an edition.

    Returns:
        One row per clip with the columns of `COLUMNS`; every score finite, no clip twice.

    Raises:
        ScoresError: Scores are missing, duplicated or not finite.
        DataError: It is no run folder.
        ArtifactError: The file is damaged.
    """
    read_provenance(run, edition)
    path = scores_path(run, edition)
    scores = read_table(path, COLUMNS, command("score", run, "--edition", edition))
    check_scores(scores, str(path))
    return scores


def scored_subset(run: str | Path, edition: str) -> Subset:
    """Which of an edition's machine types and sections a run has scores of; all by default."""
    provenance = read_json(scores_path(run, edition).with_suffix(".json"))
    return Subset(**(provenance or {}).get("subset", {}))


def part_of_scores(
    scores: pd.DataFrame, asked: Subset, run: str | Path, edition: str
) -> tuple[pd.DataFrame, Subset]:
    """The scores of a subset, and what of the edition they are of.

    Args:
        scores: Of a run, or of a folder of official files.
        asked: Which of them to take.
        run: Where they are from.
        edition: Which edition.

    Raises:
        DataError: There are no such machine types, sections or editions, or no such scores.
    """
    held = scored_subset(run, edition)
    chosen = asked.of_edition(scores, edition, run)
    return chosen, held.narrowed(asked, scores)


def sections_of(rows: pd.DataFrame) -> Sections:
    """The machines and sections of a table."""
    return set(zip(rows["machine"], rows["section"], strict=True))


def of_tests(scores: pd.DataFrame, run: str | Path, edition: str) -> pd.DataFrame:
    """The scores of test clips.

    Raises:
        ScoresError: There is none.
    """
    tests = scores[scores["split"] == "test"]
    if tests.empty:
        raise ScoresError(
            f"{scores_path(run, edition)}: holds no test clip; embed and score test/ folders"
        )
    return tests


def check_scores(scores: pd.DataFrame, source: str) -> None:
    """Refuse scores that are not finite or name a clip twice.

    Raises:
        ScoresError: With the file, the first clips concerned and their number.
    """
    bad = scores[~np.isfinite(scores["score"].to_numpy(dtype=np.float64))]
    if not bad.empty:
        first = bad.iloc[0]
        raise ScoresError(
            f"{source}: {len(bad)} score(s) are not finite, the first of "
            f"{first['machine']} {first['file']}; score again"
        )
    twice = scores[scores.duplicated([*KEY, "split"])]
    if not twice.empty:
        first = twice.iloc[0]
        raise ScoresError(
            f"{source}: {len(twice)} clip(s) are named more than once, the first "
            f"{first['machine']} {first['file']}; keep one row for each clip"
        )
