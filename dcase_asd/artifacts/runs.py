"""Run folders as a user names them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dcase_asd.errors import DataError, nearest_name


def check_runs(runs: Sequence[Path]) -> None:
    """Refuse what is no folder, or one that is named twice.

    Raises:
        DataError: With the folder and the nearest one that is there.
    """
    seen: dict[Path, Path] = {}
    for run in runs:
        if not run.is_dir():
            beside = run.parent.iterdir() if run.parent.is_dir() else ()
            near = nearest_name(run.name, [path.name for path in beside if path.is_dir()])
            what = "a file, not a run folder" if run.is_file() else "no such run folder"
            raise DataError(f"{run}: {what} ({near}); give run folders with scores")
        first = seen.setdefault(run.resolve(), run)
        if first is not run:
            also = "" if str(first) == str(run) else f", as {first} before"
            raise DataError(f"{run}: is given twice{also}; name each system once")
