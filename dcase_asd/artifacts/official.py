"""Writing the challenge's CSV files (their text and their names are in `challenge.files`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from dcase_asd.artifacts.atomic import write_text
from dcase_asd.challenge.files import official_text


def write_official_file(path: Path, values: Mapping[str, float]) -> bool:
    """Write a score or decision file as the challenge asks for it.

    Args:
        path: The file; see `challenge.files.score_file_name` and `decision_file_name`.
        values: Clip's file name -> anomaly score (float) or decision (int, 0 or 1), in the order
            of the lines.

    Returns:
        Whether the file was changed.

    Raises:
        ScoresError: A score is not finite, or two clips have one official name.
        ArtifactError: The file cannot be written.
    """
    return write_text(path, official_text(values, str(path)))
