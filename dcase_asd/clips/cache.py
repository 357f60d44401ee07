"""What was read of each file last time, so that only changed files are read again."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from dcase_asd.audio import content_hash
from dcase_asd.errors import ArtifactError, AudioError
from dcase_asd.files import only_writer, write_text
from dcase_asd.progress import Progress

FIELDS = (
    "path", "stamp", "frames", "sample_rate", "channels", "key", "hash", "note", "problem",
)  # fmt: skip
CACHE_NAME = ".clips-cache.csv"
READERS = 4
"""Threads that hash recordings; hashing and reading both leave the interpreter to the others."""


@dataclass(slots=True)
class CachedFile:
    """A file as it was read: `stamp` tells whether it is still the same (see `clips.tree`).

    `key` is the cheap key of its audio and `hash` the full one (empty until it was needed);
    `note` says what was assumed to read it, `problem` why it cannot be read. All are empty where a
    file was not read, as its name is not that of a clip.
    """

    path: str
    stamp: str
    frames: int = 0
    sample_rate: int = 0
    channels: int = 0
    key: str = ""
    hash: str = ""
    note: str = ""
    problem: str = ""


def read_cache(data: Path) -> dict[str, CachedFile]:
    """Read the cache of a data folder by path; empty where there is none or it is damaged."""
    try:
        with (data / CACHE_NAME).open(encoding="utf-8", newline="") as file:
            rows = csv.reader(file)
            if tuple(next(rows, ())) != FIELDS:
                return {}
            return {
                path: CachedFile(
                    path, stamp, int(frames), int(rate), int(channels), key, digest, note, problem
                )
                for path, stamp, frames, rate, channels, key, digest, note, problem in rows
            }
    except (OSError, ValueError, TypeError):
        return {}


def write_cache(data: Path, files: list[CachedFile]) -> None:
    """Write the cache of a data folder."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(FIELDS)
    writer.writerows([getattr(file, field) for field in FIELDS] for file in files)
    write_text(data / CACHE_NAME, text.getvalue())


def content_hashes(
    data: Path,
    paths: Sequence[str],
    progress: Progress,
    files: Mapping[str, CachedFile] | None = None,
) -> dict[str, str]:
    """Hash the audio of recordings; one that cannot be read has the reason in place of a hash.

    A recording is read in full once; then its hash is known for as long as its file is the same.

    Args:
        data: Data folder.
        paths: Recordings, relative to it.
        progress: Where to tell how far it is.
        files: What is known of them; None reads the cache, which has to be up to date, and writes
            into it what was hashed. Where another process writes the folder right now, or nobody
            can, it will be hashed again.
    """
    known = read_cache(data) if files is None else files
    found = {path: known[path].hash for path in paths if path in known and known[path].hash}
    unknown = [path for path in paths if path not in found]
    if not unknown:
        return found
    with (
        progress.bar("Reading new recordings", len(unknown), "files") as advance,
        ThreadPoolExecutor(READERS) as readers,
    ):
        hashes = readers.map(lambda path: _hash_or_reason(data / path), unknown)
        for path, (digest, reason) in zip(unknown, hashes, strict=True):
            found[path] = digest or reason
            if digest and path in known:
                known[path].hash = digest
            advance(1)
    if files is None:
        with suppress(ArtifactError), only_writer(data):
            _merge(data, [known[path] for path in unknown if path in known])
    return found


def _hash_or_reason(path: Path) -> tuple[str, str]:
    try:
        return content_hash(path), ""
    except AudioError as error:
        return "", str(error)


def _merge(data: Path, hashed: list[CachedFile]) -> None:
    """Write hashes into the cache, as far as it still knows the very same files."""
    files = read_cache(data)
    for file in hashed:
        if file.path in files and files[file.path].stamp == file.stamp:
            files[file.path].hash = file.hash
    write_cache(data, list(files.values()))
