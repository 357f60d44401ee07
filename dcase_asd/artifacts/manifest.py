"""The manifest: one row for each clip below a data folder, as `prepare` found it."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from dcase_asd.artifacts.tables import read_table, write_table
from dcase_asd.errors import DataError, nearest_name

COLUMNS: dict[str, type] = {
    "edition": str,
    "stage": str,
    "machine": str,
    "section": str,
    "domain": str,
    "split": str,
    "condition": str,
    "attributes": str,
    "role": str,
    "path": str,
    "frames": int,
    "sample_rate": int,
    "channels": int,
    "label": str,
}
"""Column -> type. `path` is relative to the data folder, with forward slashes; `label` is the
unified class of a train clip and empty for every other (see `challenge.labels`)."""


def manifest_path(data: Path) -> Path:
    """Where the manifest of a data folder lies."""
    return data / "clips.csv"


def write_manifest(path: Path, clips: pd.DataFrame) -> bool:
    """Write the manifest; returns whether it changed."""
    return write_table(path, clips, list(COLUMNS))


def read_manifest(data: Path) -> pd.DataFrame:
    """Read the manifest of a data folder.

    Returns:
        One row per clip with the columns of `COLUMNS`.

    Raises:
        DataError: The data folder does not exist.
        ArtifactError: The manifest is missing or damaged.
    """
    if not data.is_dir():
        raise DataError(f"{data}: no such data folder; say which with --data")
    return read_table(manifest_path(data), COLUMNS, f"dcase-asd prepare --data {data}")


def clips_of_edition(clips: pd.DataFrame, edition: str, data: Path) -> pd.DataFrame:
    """The rows of one edition.

    Raises:
        DataError: The manifest holds no clip of it.
    """
    chosen = clips[clips["edition"] == edition]
    if chosen.empty:
        present = nearest_name(edition, clips["edition"].unique())
        raise DataError(f"{manifest_path(data)}: no clip of edition {edition}; {present}")
    return chosen
