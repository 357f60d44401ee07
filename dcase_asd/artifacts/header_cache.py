"""What `prepare` read of each file last time, so that only changed files are read again."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from dcase_asd.artifacts.atomic import write_text

FIELDS = ("path", "size", "changed", "frames", "sample_rate", "channels", "key", "hash", "problem")
CACHE_NAME = ".clips-cache.csv"


@dataclass(slots=True)
class CachedFile:
    """A file as it was read: `size` and `changed` tell whether it is still the same.

    `key` is the cheap key of its audio and `hash` the full one (empty until it was needed);
    `problem` says why it cannot be read, empty when it can.
    """

    path: str
    size: int
    changed: int
    frames: int = 0
    sample_rate: int = 0
    channels: int = 0
    key: str = ""
    hash: str = ""
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
                    path,
                    int(size),
                    int(changed),
                    int(frames),
                    int(rate),
                    int(channels),
                    key,
                    digest,
                    problem,
                )
                for path, size, changed, frames, rate, channels, key, digest, problem in rows
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
