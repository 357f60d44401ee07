"""A tree of recordings -> the manifest, a table of problems and one of duplicates."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from dcase_asd.audio import content_hash, inspect_recording
from dcase_asd.clips.cache import CachedFile, read_cache, write_cache
from dcase_asd.clips.classes import class_label
from dcase_asd.clips.manifest import (
    COLUMNS,
    link_recordings,
    manifest_path,
    read_manifest,
    write_manifest,
    writing_manifest,
)
from dcase_asd.clips.name import ClipName, parse_clip_name, parse_own_name
from dcase_asd.clips.pack import Packing, pack_recordings
from dcase_asd.clips.tree import FoundFile, walk_tree
from dcase_asd.editions.edition import load_edition
from dcase_asd.errors import ArtifactError, AudioError, BusyError, ClipNameError, DataError, some
from dcase_asd.files import write_table
from dcase_asd.folders import EXPECTED, check_data
from dcase_asd.progress import Progress, Silent

READERS = 8
"""Threads that read headers; more than cores, because on a network disk reading is waiting."""
CHUNK = 256
"""Files handed to a thread at once."""
SECONDS_BETWEEN_ATTEMPTS = 1.0
"""How often to look whether another process has finished with the data folder."""


@dataclass(frozen=True)
class Changes:
    """Paths of the clips that are new, hold other audio, or are gone or not usable any more."""

    new: list[str]
    changed: list[str]
    gone: list[str]

    def __str__(self) -> str:
        parts = {"new": self.new, "changed": self.changed, "gone or left out": self.gone}
        told = [
            f"{len(paths)} {kind} ({some(path.rpartition('/')[2] for path in paths)})"
            for kind, paths in parts.items()
            if paths
        ]
        return ", ".join(told)


@dataclass(frozen=True)
class Inventory:
    """What `prepare` found.

    Attributes:
        clips: The manifest.
        problems: Files that were left out, columns `path` and `reason`.
        notes: Files whose header lacks or contradicts something, columns `path` and `note`: what
            was assumed.
        duplicates: Clips whose audio stands in several places, columns `group` and `path`.
        read: Number of files whose header was read; the others had not changed.
        changes: How the clips differ from those found last time.
        changed: Whether the manifest is another than before.
        packing: What was packed; None where nothing was to be.
    """

    clips: pd.DataFrame
    problems: pd.DataFrame
    notes: pd.DataFrame
    duplicates: pd.DataFrame
    read: int
    changes: Changes
    changed: bool = False
    packing: Packing | None = None


def prepare(
    data: str | Path,
    progress: Progress | None = None,
    manifest: str | Path | None = None,
    *,
    pack: bool = False,
) -> Inventory:
    """Find all clips below a data folder and write `clips.csv`.

    Beside it go `clips.problems.csv` (files that were left out, with the reason),
    `clips.notes.csv` (what was assumed to read a file) and `clips.duplicates.csv` (the same audio
    in several places).

    Args:
        data: Data folder in the layout of the official baselines.
        progress: Where to tell how far it is.
        manifest: Folder for the tables where `data` cannot be written. It gets links to the
            recordings, so that it is the data folder of every later step.
        pack: Write the samples of each machine into one file, too (see `clips.pack`).

    Raises:
        DataError: The folder is missing or holds no clip at all.
        ArtifactError: The tables cannot be written.
    """
    data, progress = check_data(data), progress or Silent()
    if manifest is not None and Path(manifest).resolve() != data.resolve():
        link_recordings(data, Path(manifest))
        data = Path(manifest)
    next(walk_tree(data), None)  # no edition is told before a lock is made
    with writing_manifest(data):
        found, files = survey(data, progress)
        write_cache(data, list(files.values()))
        if found.clips.empty:
            raise DataError(_nothing_found(data, found.problems))
        write_table(data / "clips.problems.csv", found.problems, ["path", "reason"])
        write_table(data / "clips.notes.csv", found.notes, ["path", "note"])
        write_table(data / "clips.duplicates.csv", found.duplicates, ["group", "path"])
        changed = write_manifest(manifest_path(data), found.clips)
    packing = pack_recordings(data, progress) if pack else None
    return replace(found, changed=changed, packing=packing)


def prepare_when_free(data: str | Path, progress: Progress) -> Inventory:
    """Prepare a data folder, after any other process that is about it."""
    said = False
    while True:
        try:
            return prepare(data, progress)
        except BusyError as error:
            if not said:
                progress.note(f"{error}: waiting for it")
            said = True
            time.sleep(SECONDS_BETWEEN_ATTEMPTS)


def is_as_prepared(data: str | Path, edition: str | None = None) -> bool:
    """Whether the files below a data folder, or those of an edition, are as `prepare` saw them.

    Raises:
        DataError: As `walk_tree`.
    """
    data = Path(data)
    beginning = "" if edition is None else f"{load_edition(edition).folder}/"
    known = {
        path: file.stamp for path, file in read_cache(data).items() if path.startswith(beginning)
    }
    return known == {file.path: file.stamp for file in walk_tree(data, edition)}


def up_to_date_manifest(
    data: str | Path, progress: Progress, edition: str | None = None
) -> pd.DataFrame:
    """Read the manifest; where files are new, changed or gone since, it is made anew first.

    Args:
        data: Data folder.
        progress: Where to tell what was new, changed or gone.
        edition: Look through the files of this edition only.

    Raises:
        ArtifactError: `prepare` has never been run, or the manifest is damaged.
        DataError: As `prepare`.
    """
    data = Path(data)
    clips = read_manifest(data)
    if is_as_prepared(data, edition):
        return clips
    found = prepare_when_free(data, progress)
    if str(found.changes):
        progress.note(f"{manifest_path(data)}: brought up to date, {found.changes}")
    return found.clips


def survey(data: str | Path, progress: Progress) -> tuple[Inventory, dict[str, CachedFile]]:
    """Find all clips below a data folder, and write nothing.

    Returns:
        What was found, and what is known of every file by its path.
    """
    data = Path(data)
    found = list(walk_tree(data))
    names, reasons = _parse_names(found)
    before = read_cache(data)
    files, read = _read_headers(data, found, set(names), before, progress)
    other = [
        path
        for path in names
        if path in before
        and (before[path].key, before[path].hash) != (files[path].key, files[path].hash)
    ]
    for path in list(names):
        if files[path].problem:
            reasons[path] = files[path].problem
            del names[path]
    _leave_out_same_names(found, names, reasons)
    duplicates = _find_duplicates(data, [files[path] for path in names], progress)
    clips = _manifest([file for file in found if file.path in names], names, files)
    problems = pd.DataFrame(sorted(reasons.items()), columns=["path", "reason"], dtype=str)
    noted = [(path, files[path].note) for path in names if files[path].note]
    notes = pd.DataFrame(noted, columns=["path", "note"], dtype=str)
    changes = _changes(data, list(names), other)
    return Inventory(clips, problems, notes, duplicates, read, changes), files


def _changes(data: Path, now: list[str], other: list[str]) -> Changes:
    try:
        before = dict.fromkeys(read_manifest(data)["path"])
    except ArtifactError:  # never prepared, or damaged: there is nothing to compare with
        return Changes([], [], [])
    there = set(now)
    return Changes(
        [path for path in now if path not in before],
        [path for path in other if path in before and path in there],
        [path for path in before if path not in there],
    )


def _read_headers(
    data: Path,
    found: list[FoundFile],
    named: set[str],
    before: dict[str, CachedFile],
    progress: Progress,
) -> tuple[dict[str, CachedFile], int]:
    """All files by path, as they were read before where they have not changed."""
    files: dict[str, CachedFile] = {}
    new: list[CachedFile] = []
    for file in found:
        known = before.get(file.path)
        if known and known.stamp == file.stamp and (known.key or known.problem):
            files[file.path] = known
            continue
        # What was hashed once is hashed again, to tell whether its audio is another.
        files[file.path] = CachedFile(file.path, file.stamp, hash=known.hash if known else "")
        if file.path in named:
            new.append(files[file.path])
    chunks = [new[start : start + CHUNK] for start in range(0, len(new), CHUNK)]
    with (
        progress.bar("Reading headers", len(new), "files") as advance,
        ThreadPoolExecutor(READERS) as readers,
    ):
        for count in readers.map(lambda chunk: _read_chunk(data, chunk), chunks):
            advance(count)
    return files, len(new)


def _read_chunk(data: Path, files: list[CachedFile]) -> int:
    for file in files:
        path = data / file.path
        try:
            found = inspect_recording(path)
            if file.hash:
                file.hash = content_hash(path)
        except AudioError as error:
            file.problem, file.hash = str(error).removeprefix(f"{path}: "), ""
        else:
            file.frames, file.sample_rate = found.header.frames, found.header.sample_rate
            file.channels, file.key, file.note = found.header.channels, found.key, found.note
    return len(files)


def _parse_names(found: list[FoundFile]) -> tuple[dict[str, ClipName], dict[str, str]]:
    """Parsed names by path, and the reasons against files that cannot be clips."""
    names: dict[str, ClipName] = {}
    reasons: dict[str, str] = {}
    for file in found:
        if file.problem:
            reasons[file.path] = file.problem
            continue
        parse = parse_clip_name if file.edition.official else parse_own_name
        try:
            names[file.path] = parse(file.name, file.folder)
        except ClipNameError as error:
            reasons[file.path] = str(error).removeprefix(f"{file.name}: ")
    return names, reasons


def _leave_out_same_names(
    found: list[FoundFile], names: dict[str, ClipName], reasons: dict[str, str]
) -> None:
    """Leave out clips that official files could not tell apart (x.wav and x.flac, say)."""
    groups: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for file in found:
        if file.path in names:
            stem = file.name.rpartition(".")[0]
            split = names[file.path].split
            groups[file.edition.name, file.stage, file.machine, split, stem].append(file.path)
    for paths in groups.values():
        for path in paths if len(paths) > 1 else []:
            others = ", ".join(other for other in paths if other != path)
            reasons[path] = f"another clip of this machine has the same name ({others}); keep one"
            del names[path]


def _find_duplicates(data: Path, files: list[CachedFile], progress: Progress) -> pd.DataFrame:
    """Groups of files with the same audio; read in full only where cheap keys collide."""
    keys = Counter(file.key for file in files)
    suspects = [file for file in files if keys[file.key] > 1]
    unread = [file for file in suspects if not file.hash]
    with (
        progress.bar("Comparing equal-looking clips", len(unread), "files") as advance,
        ThreadPoolExecutor(READERS) as readers,
    ):
        for file, digest in zip(
            unread, readers.map(lambda file: content_hash(data / file.path), unread), strict=True
        ):
            file.hash = digest
            advance(1)
    groups: dict[str, list[str]] = defaultdict(list)
    for file in suspects:
        groups[file.hash].append(file.path)
    rows = [
        (group, path)
        for group, paths in sorted(groups.items(), key=lambda item: item[1][0])
        if len(paths) > 1
        for path in paths
    ]
    return pd.DataFrame(rows, columns=["group", "path"], dtype=str)


def _manifest(
    found: list[FoundFile], names: dict[str, ClipName], files: dict[str, CachedFile]
) -> pd.DataFrame:
    rows = []
    for file in found:
        name, header = names[file.path], files[file.path]
        in_class = name.split == "train" and name.role == "machine"
        label = (
            class_label(file.edition, file.machine, name.section, name.attributes)
            if in_class
            else ""
        )
        rows.append(
            (
                file.edition.name, file.stage, file.machine, name.section, name.domain,
                name.split, name.condition, name.attributes, name.role, file.path,
                header.frames, header.sample_rate, header.channels, label,
            )
        )  # fmt: skip
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _nothing_found(data: Path, problems: pd.DataFrame) -> str:
    if problems.empty:
        return f"{data}: no clip found; clips are expected as {EXPECTED}"
    first = problems.iloc[0]
    return (
        f"{data}: none of {len(problems)} file(s) is a usable clip; "
        f"the first, {first['path']}: {first['reason']}"
    )
