"""The data tree of the official baselines: where recordings lie, found by walking it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from dcase_asd.clips.name import AUDIO_SUFFIXES, SPLIT_FOLDERS, parse_clip_name
from dcase_asd.editions.edition import STAGE_FOLDERS, Edition, edition_name, load_edition
from dcase_asd.errors import DataError, printable_name
from dcase_asd.files import is_litter
from dcase_asd.folders import edition_folders, subfolders

SUPPLEMENTAL = "supplemental"
"""Folder of 2025's noise-only and clean clips."""


def holds_clips(folder: str | Path) -> bool:
    """Whether a split folder is there with at least one recording."""
    if not Path(folder).is_dir():
        return False
    with os.scandir(folder) as entries:
        return any(
            entry.name.lower().endswith(AUDIO_SUFFIXES) and not is_litter(entry.name)
            for entry in entries
        )


def archive_layout(names: Iterable[str], source: str) -> Callable[[str], str | None]:
    """Find the machine's folder inside an archive, whatever stands above it.

    Archives were seen to begin with ``<machine>/``, with their own name, or with nothing.

    Args:
        names: Paths of the files inside the archive.
        source: What the archive is called in messages.

    Returns:
        A function from such a path to the path below the machine's folder, ``train/x.wav`` or
        ``attributes_00.csv``; None for files that are no part of it.

    Raises:
        DataError: No split folder is there, or several machines.
    """
    roots = {
        parts[: index - 1]
        for parts in (_parts(name) for name in names)
        if (index := _split_end(parts)) and parts[-1].lower().endswith(AUDIO_SUFFIXES)
    }
    if len(roots) != 1:
        found = ", ".join("/".join(root) for root in sorted(roots))
        reason = f"holds the clips of several machines ({found})" if roots else "holds no clips"
        raise DataError(
            f"{source}: {reason}; the folders {', '.join(SPLIT_FOLDERS)} of one machine are "
            "expected, so fetch the archive that the challenge publishes"
        )
    (root,) = roots

    def place(name: str) -> str | None:
        parts = _parts(name)
        below = parts[len(root) :]
        if not below or parts[: len(root)] != root:
            return None
        return "/".join(below)

    return place


def is_noise_clip(path: str) -> bool:
    """Whether a path below a machine's folder is a noise-only clip of its supplement.

    Raises:
        ClipNameError: A supplemental clip's name follows no grammar.
    """
    folder, _, name = path.rpartition("/")
    if folder != SUPPLEMENTAL or not name.lower().endswith(AUDIO_SUFFIXES):
        return False
    return parse_clip_name(name, folder).role == "noise"


def _parts(name: str) -> tuple[str, ...]:
    """A path's parts; none of litter."""
    return () if is_litter(name) else PurePosixPath(name).parts


def _split_end(parts: tuple[str, ...]) -> int:
    """How many parts reach to the end of the split folder; 0 where there is none."""
    return next((end for end in range(1, len(parts)) if parts[end - 1] in SPLIT_FOLDERS), 0)


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file below a split folder, before anything of it was read.

    `path` is relative to the data folder, with forward slashes. `stamp` is another whenever the
    file is: its size in bytes, and when its content and its status changed, in nanoseconds (the
    last, which nobody can set, tells a file that was put in place with the time of the one
    before). `problem` says why it cannot be a clip (a folder, say).
    """

    edition: Edition
    stage: str
    machine: str
    folder: str
    name: str
    path: str
    stamp: str
    problem: str = ""


def walk_tree(data: str | Path, only: str | None = None) -> Iterator[FoundFile]:
    """Find every file in the split folders of every edition, or of `only` one, in sorted order.

    Symbolic links are followed. Litter is passed over (see `files`), and so are files
    beside the split folders (attribute tables, licences).

    Raises:
        DataError: The data folder is missing, is not one, or holds no edition.
        EditionError: A folder is named after a year that does not exist.
    """
    data = Path(data)
    editions = edition_folders(data)
    for folder in editions:
        edition = load_edition(edition_name(folder))
        if edition.folder != folder:
            raise DataError(f"{data / folder}: the clips of {edition.name} belong in a folder "
                            f"called {edition.folder}; rename it")  # fmt: skip
        if only not in (None, edition.name):
            continue
        for stage_folder, stage in STAGE_FOLDERS.items():
            raw = f"{folder}/{stage_folder}/raw"
            for machine in subfolders(data / raw):
                found = _machine_files(data, edition, stage, machine, f"{raw}/{machine}")
                yield from map(_named_in_utf8, found)


def _machine_files(
    data: Path, edition: Edition, stage: str, machine: str, where: str
) -> Iterator[FoundFile]:
    for folder in subfolders(data / where):
        path = f"{where}/{folder}"
        if folder not in SPLIT_FOLDERS:
            reason = f"not one of the folders {', '.join(SPLIT_FOLDERS)}; its files are left out"
            yield FoundFile(edition, stage, machine, folder, folder, path, "", reason)
            continue
        with os.scandir(data / path) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if is_litter(entry.name):
                    continue
                yield _found_file(edition, stage, machine, folder, f"{path}/{entry.name}", entry)


def _found_file(
    edition: Edition, stage: str, machine: str, folder: str, path: str, entry: os.DirEntry[str]
) -> FoundFile:
    try:
        status = entry.stat()
        problem = "" if entry.is_file() else "a folder stands where a recording should"
        stamp = f"{status.st_size}-{status.st_mtime_ns}-{status.st_ctime_ns}"
    except OSError as error:
        problem, stamp = f"cannot be read ({error.strerror})", ""
    return FoundFile(edition, stage, machine, folder, entry.name, path, stamp, problem)


def _named_in_utf8(file: FoundFile) -> FoundFile:
    """The file; one that no table could name becomes a problem, under a name that can be shown."""
    path = printable_name(file.path)
    if path == file.path:
        return file
    machine, name = printable_name(file.machine), printable_name(file.name)
    reason = "its name, or that of its folder, is not UTF-8; rename it"
    return replace(file, machine=machine, name=name, path=path, problem=reason)
