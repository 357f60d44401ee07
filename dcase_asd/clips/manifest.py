"""What a data folder holds, counted for each machine of each edition."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from dcase_asd.editions.edition import STAGE_FOLDERS, edition_name
from dcase_asd.errors import ArtifactError, BusyError, DataError, command, nearest_name
from dcase_asd.files import find_below, only_writer, read_table, write_table
from dcase_asd.folders import check_data, edition_folders

if TYPE_CHECKING:
    import pandas as pd


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
unified class of a train clip and empty for every other (see `clips.classes`)."""


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


@dataclass(frozen=True)
class MachineInventory:
    """Clips of one machine of one stage of an edition.

    Attributes:
        edition: Name of the edition.
        stage: ``dev`` or ``eval``.
        machine: Machine type.
        sections: Sections, in order.
        train: Normal clips to learn from.
        domains: Train clips of the source and of the target domain; ``-`` without domains.
        test: Clips to score.
        labelled: Test clips whose condition their name tells.
        attributes: Number of different attribute strings of train clips; ``none`` without.
        clean: Supplemental clips of the machine alone.
        noise: Supplemental clips of noise alone.
        seconds: Length of a clip, or the shortest and longest.
        rates: Sampling rates in Hz.
        channels: Numbers of channels.
        problems: Files that were left out.
    """

    edition: str
    stage: str
    machine: str
    sections: str
    train: int
    domains: str
    test: int
    labelled: int
    attributes: str
    clean: int
    noise: int
    seconds: str
    rates: str
    channels: str
    problems: int


def take_inventory(clips: pd.DataFrame, problem_paths: list[str]) -> list[MachineInventory]:
    """Count what there is of each machine.

    Args:
        clips: Rows of the manifest.
        problem_paths: Paths of files that were left out, relative to the data folder.

    Returns:
        One entry for each machine with a clip or a problem, sorted by edition, stage and machine.
    """
    problems = Counter(map(_machine_of, problem_paths))
    groups = {
        (str(edition), str(stage), str(machine)): rows
        for (edition, stage, machine), rows in clips.groupby(["edition", "stage", "machine"])
    }
    empty = clips.iloc[:0]
    return [
        _count(key, groups.get(key, empty), problems[key])
        for key in sorted(groups.keys() | problems.keys())
    ]


def _count(key: tuple[str, str, str], rows: pd.DataFrame, problems: int) -> MachineInventory:
    machine_clips = rows[rows["role"] == "machine"]
    train = machine_clips[machine_clips["split"] == "train"]
    test = machine_clips[machine_clips["split"] == "test"]
    counts = [int((train["domain"] == domain).sum()) for domain in ("source", "target")]
    attributes = train.loc[train["attributes"] != "", "attributes"].nunique()
    lengths = sorted({f"{each:.3g}" for each in rows["frames"] / rows["sample_rate"]}, key=float)
    return MachineInventory(
        *key,
        sections=" ".join(sorted(machine_clips["section"].unique())),
        train=len(train),
        domains="/".join(map(str, counts)) if any(counts) else "-",
        test=len(test),
        labelled=int((test["condition"] != "").sum()),
        attributes=str(attributes) if attributes else "none",
        clean=int((machine_clips["split"] == "supplemental").sum()),
        noise=int((rows["role"] == "noise").sum()),
        seconds="-".join(dict.fromkeys([*lengths[:1], *lengths[-1:]])),
        rates="/".join(map(str, sorted(rows["sample_rate"].unique()))),
        channels="/".join(map(str, sorted(rows["channels"].unique()))),
        problems=problems,
    )


def _machine_of(path: str) -> tuple[str, str, str]:
    edition, stage, _, machine = path.split("/")[:4]
    return edition_name(edition), STAGE_FOLDERS[stage], machine
