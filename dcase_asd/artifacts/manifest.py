"""The manifest: one row for each clip below a data folder, as `prepare` found it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from dcase_asd.artifacts.atomic import only_writer
from dcase_asd.artifacts.runs import check_data
from dcase_asd.artifacts.tables import read_table, write_table
from dcase_asd.challenge.litter import find_below
from dcase_asd.challenge.tree import edition_folders
from dcase_asd.errors import ArtifactError, BusyError, DataError, command, nearest_name

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


def manifest_path(data: str | Path) -> Path:
    """Where the manifest of a data folder lies."""
    return Path(data) / "clips.csv"


def link_recordings(data: str | Path, folder: str | Path) -> None:
    """Make a folder a data folder of recordings that stand elsewhere, on a read-only disk say.

    Links to the editions and ground truth of `data` are put there; each may come from another one.

    Raises:
        DataError: `data` holds no edition, or something else has the name of a link.
        ArtifactError: The folder cannot be written.
    """
    data, folder = Path(data), Path(folder)
    names = [Path(name) for name in edition_folders(data)]
    names += [path.relative_to(data) for path in find_below(data, "ground_truth/*")]
    for name in names:
        link, target = folder / name, (data / name).resolve()
        if link.exists() and link.resolve() != target:
            raise DataError(
                f"{link}: is not that of {data}; give another folder, --manifest {folder}-2, say"
            )
        try:
            link.parent.mkdir(parents=True, exist_ok=True)
            if not link.exists():
                link.unlink(missing_ok=True)  # to a disk that is elsewhere now
                link.symlink_to(target)
        except OSError as error:
            raise ArtifactError(
                f"{link}: cannot be made a link ({error.strerror}); give a folder that can be "
                "written, --manifest ~/recordings, say"
            ) from error


@contextmanager
def writing_manifest(data: str | Path) -> Iterator[None]:
    """Be the only writer of a data folder's manifest.

    Raises:
        ArtifactError: The folder cannot be written; with the command that needs not write it.
        BusyError: Another process is writing it now.
    """
    try:
        with only_writer(data):
            yield
    except BusyError:
        raise
    except ArtifactError as error:
        elsewhere = f"{Path(data).resolve().name or 'data'}-manifest"
        make = command("prepare", "--data", data, "--manifest", elsewhere)
        raise ArtifactError(
            f"{error}; or keep the manifest elsewhere: {make}, and give "
            f"`--data {shlex.quote(elsewhere)}` to every other command"
        ) from error


def write_manifest(path: str | Path, clips: pd.DataFrame) -> bool:
    """Write the manifest; returns whether it changed."""
    return write_table(path, clips, list(COLUMNS))


def read_manifest(data: str | Path) -> pd.DataFrame:
    """Read the manifest of a data folder.

    Returns:
        One row per clip with the columns of `COLUMNS`.

    Raises:
        DataError: The data folder is none.
        ArtifactError: The manifest is missing or damaged.
    """
    data = check_data(data)
    if not manifest_path(data).is_file():
        edition_folders(data)  # which says why `prepare` would find nothing here
    return read_table(manifest_path(data), COLUMNS, command("prepare", "--data", data))


def clips_of_edition(clips: pd.DataFrame, edition: str, data: str | Path) -> pd.DataFrame:
    """The rows of one edition.

    Raises:
        DataError: The manifest holds no clip of it.
    """
    chosen = clips[clips["edition"] == edition]
    if chosen.empty:
        present = nearest_name(edition, clips["edition"].unique())
        raise DataError(f"{manifest_path(data)}: no clip of edition {edition}; {present}")
    return chosen
