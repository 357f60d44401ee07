"""A tree of recordings -> the manifest, a table of problems and one of duplicates."""

from __future__ import annotations

from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from dcase_asd.artifacts.header_cache import CachedFile, read_cache, write_cache
from dcase_asd.artifacts.manifest import (
    COLUMNS,
    link_recordings,
    manifest_path,
    write_manifest,
    writing_manifest,
)
from dcase_asd.artifacts.runs import check_data
from dcase_asd.artifacts.tables import write_table
from dcase_asd.audio import content_hash, read_header_and_key
from dcase_asd.challenge.clip import ClipName, parse_clip_name, parse_own_name
from dcase_asd.challenge.labels import class_label
from dcase_asd.challenge.tree import EXPECTED, FoundFile, walk_tree
from dcase_asd.errors import AudioError, ClipNameError, DataError
from dcase_asd.progress import Progress, Silent

READERS = 8
"""Threads that read headers; more than cores, because on a network disk reading is waiting."""
CHUNK = 256
"""Files handed to a thread at once."""


@dataclass(frozen=True)
class Inventory:
    """What `prepare` found.

    Attributes:
        clips: The manifest.
        problems: Files that were left out, columns `path` and `reason`.
        duplicates: Clips whose audio stands in several places, columns `group` and `path`.
        read: Number of files whose header was read; the others had not changed.
        changed: Whether the manifest is another than before.
    """

    clips: pd.DataFrame
    problems: pd.DataFrame
    duplicates: pd.DataFrame
    read: int
    changed: bool


def prepare(
    data: str | Path, progress: Progress | None = None, manifest: str | Path | None = None
) -> Inventory:
    """Find all clips below a data folder and write `clips.csv`.

    Beside it go `clips.problems.csv` (files that were left out, with the reason) and
    `clips.duplicates.csv` (the same audio in several places).

    Args:
        data: Data folder in the layout of the official baselines.
        progress: Where to tell how far it is.
        manifest: Folder for the tables where `data` cannot be written. It gets links to the
            recordings, so that it is the data folder of every later step.

    Raises:
        DataError: The folder is missing or holds no clip at all.
        ArtifactError: The tables cannot be written.
    """
    data, progress = check_data(data), progress or Silent()
    if manifest is not None and Path(manifest).resolve() != data.resolve():
        link_recordings(data, Path(manifest))
        data = Path(manifest)
    found = list(walk_tree(data))
    with writing_manifest(data):
        names, reasons = _parse_names(found)
        named = [file for file in found if file.path in names]
        files, read = _read_headers(data, named, progress)
        for file in files.values():
            if file.problem:
                reasons[file.path] = file.problem
                del names[file.path]
        _leave_out_same_names(found, names, reasons)
        duplicates = _find_duplicates(data, [files[path] for path in names], progress)
        write_cache(data, list(files.values()))
        clips = _manifest([file for file in found if file.path in names], names, files)
        problems = pd.DataFrame(sorted(reasons.items()), columns=["path", "reason"], dtype=str)
        if clips.empty:
            raise DataError(_nothing_found(data, problems))
        write_table(data / "clips.problems.csv", problems, ["path", "reason"])
        write_table(data / "clips.duplicates.csv", duplicates, ["group", "path"])
        changed = write_manifest(manifest_path(data), clips)
    return Inventory(clips, problems, duplicates, read, changed)


def _read_headers(
    data: Path, found: list[FoundFile], progress: Progress
) -> tuple[dict[str, CachedFile], int]:
    """Headers of all files by path, from the cache where a file has not changed."""
    before = read_cache(data)
    files: dict[str, CachedFile] = {}
    new: list[CachedFile] = []
    for file in found:
        known = before.get(file.path)
        if known and (known.size, known.changed) == (file.size, file.changed):
            files[file.path] = known
        else:
            files[file.path] = CachedFile(file.path, file.size, file.changed)
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
            header, file.key = read_header_and_key(path)
        except AudioError as error:
            file.problem = str(error).removeprefix(f"{path}: ")
        else:
            file.frames, file.sample_rate = header.frames, header.sample_rate
            file.channels = header.channels
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
            unread,
            readers.map(lambda file: content_hash(data / file.path), unread),
            strict=True,
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
