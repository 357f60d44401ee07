"""Run and data folders: their paths, and what a user gave instead of one."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dcase_asd.editions.edition import STAGE_FOLDERS, edition_name, official_editions
from dcase_asd.errors import DataError, close_name, command, nearest_name
from dcase_asd.files import find_below, is_litter

RECIPE = "recipe.toml"
"""Name of the resolved recipe of a run folder."""

EXPECTED = "<data>/dcase2025t2/dev_data/raw/<machine>/train/*.wav"

PLAN = "machines.json"
"""Name of the file that says which machines an edition's embeddings consist of."""


@dataclass(frozen=True)
class DataFolder:
    """Where files stand below a data folder."""

    path: Path

    def ground_truth(self, edition: str) -> Path:
        """Labels of an edition's evaluation set, in the shape of an official evaluator."""
        return self.path / "ground_truth" / edition

    def downloads(self, edition: str) -> Path:
        """Archives of an edition that are kept, and the notes of which were unpacked.

        Archives that go as soon as they are unpacked lie in its folder ``incoming``.
        """
        return self.path / "downloads" / edition

    def pack(self, edition: str, stage: str, machine: str) -> Path:
        """The samples of a machine's recordings (see `clips.pack`); of folders' names."""
        return self.path / "packed" / edition / stage / f"{machine}.int16"


def is_run(path: str | Path) -> bool:
    """Whether a folder is a run's: it has a recipe, embeddings or finished scores."""
    path = Path(path)
    return (
        (path / RECIPE).is_file()
        or (path / "embeddings").is_dir()
        or bool(find_below(path / "scores", "*.json"))
    )


def editions_below(path: str | Path) -> list[str]:
    """Editions whose recordings a folder holds; none where it is no data folder."""
    try:
        return [edition_name(folder) for folder in edition_folders(path)]
    except DataError:
        return []


def no_such_run(run: str | Path, way_out: str = "") -> str:
    """That there is no such run folder; the name that may be meant, else the way out."""
    run = Path(run)
    beside = run.parent.iterdir() if run.parent.is_dir() else ()
    close = close_name(run.name, (path.name for path in beside if is_run(path)))
    return f"{run}: no such run folder{f' ({close})' if close else way_out}"


def check_run(run: str | Path) -> Path:
    """A run folder.

    Raises:
        DataError: It is none; says what it is, and how to make one.
    """
    run = Path(run)
    if run.is_dir() and is_run(run):
        return run
    data, edition, made = "data", "dcase2025", "runs/spectral"
    if not run.exists():
        made, what = str(run), ""
    elif not run.is_dir():
        what = "a file, not a run folder"
    elif editions := editions_below(run):
        data, edition, what = str(run), editions[0], "a data folder, not a run folder"
    elif runs := sorted(path for path in run.iterdir() if is_run(path)):
        raise DataError(f"{run}: not a run folder, but it holds some; give one, such as {runs[0]}")
    else:
        what = f"not a run folder (it has neither {RECIPE} nor scores)"
    make = command(
        "embed", "--plugin", "spectral", "--data", data, "--edition", edition, "--run", made
    )
    way_out = f"; make one with {make}"
    raise DataError(f"{run}: {what}{way_out}" if what else no_such_run(run, way_out))


def check_runs(runs: Sequence[str | Path]) -> list[Path]:
    """Run folders, each once.

    Raises:
        DataError: One is none, or named twice.
    """
    seen: dict[Path, Path] = {}
    for run in map(check_run, runs):
        first = seen.setdefault(run.resolve(), run)
        if first is not run:
            also = "" if str(first) == str(run) else f", as {first} before"
            raise DataError(f"{run}: is given twice{also}; name each system once")
    return list(seen.values())


def check_data(data: str | Path) -> Path:
    """A data folder, as far as can be seen without looking for recordings.

    Raises:
        DataError: It is none.
    """
    data = Path(data)
    if not data.is_dir():
        what = "is a file, not a data folder" if data.exists() else "no such data folder"
    elif (data / RECIPE).is_file():
        what = "a run folder, not a data folder"
    else:
        return data
    raise DataError(f"{data}: {what}; say which with --data")


def there_or_made(edition: str, have: Iterable[str], make: str) -> str:
    """What there is in place of an edition, and how to make it where it is not just misspelt."""
    have = list(have)
    there = f"({nearest_name(edition, have) if have else 'it has none of any edition'})"
    if edition not in official_editions() and close_name(edition, have):
        return there
    return f"{there}; make them with {make}"


def edition_folders(data: str | Path) -> list[str]:
    """Names of the folders of a data folder that hold an edition.

    Raises:
        DataError: The data folder is missing, is not one, or holds no edition.
    """
    data = Path(data)
    if not data.is_dir():
        kind = "is not a folder" if data.exists() else "no such data folder"
        raise DataError(f"{data}: {kind}; say which with --data")
    if any((data / stage).is_dir() for stage in STAGE_FOLDERS):
        raise DataError(f"{data}: this is the folder of one edition; give the one above it, "
                        f"--data {data.resolve().parent}")  # fmt: skip
    found = [
        name
        for name in subfolders(data)
        if any((data / name / stage).is_dir() for stage in STAGE_FOLDERS)
    ]
    if not found:
        raise DataError(f"{data}: no recordings here; they are expected as {EXPECTED}")
    return found


def subfolders(path: str | Path) -> list[str]:
    """Names of the folders in a folder, sorted, without litter; none where it is none."""
    if not Path(path).is_dir():
        return []
    with os.scandir(path) as entries:
        return sorted(
            entry.name for entry in entries if entry.is_dir() and not is_litter(entry.name)
        )
