"""A file that is being received: it grows, knows its checksum, and outlives its process.

Bytes are hashed in the thread that receives them: MD5 is faster than any host that serves a record.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any, Self

from dcase_asd.files import read_json


@dataclass(frozen=True)
class RemoteFile:
    """A file to fetch. `size` in bytes and `checksum` are None and empty where not known.

    `checksum` is written as Zenodo does: ``md5:…``; `algorithm` is what is computed where there is
    none.
    """

    url: str
    size: int | None = None
    checksum: str = ""

    @property
    def algorithm(self) -> str:
        """Name of the hash function."""
        return self.checksum.partition(":")[0] or "md5"

    @property
    def digest(self) -> str:
        """Hexadecimal digest that the file must have; empty where not known."""
        return self.checksum.partition(":")[2].lower()


def part_path(path: Path) -> Path:
    """Where the beginning of a file lies until all of it is there."""
    return path.with_name(path.name + ".part")


def memo_path(path: Path) -> Path:
    """Where it is noted of which file the beginning is."""
    return path.with_name(path.name + ".part.json")


def file_checksum(path: Path, algorithm: str) -> str:
    """Hexadecimal digest of a file that somebody else put there.

    Raises:
        OSError: The file cannot be read.
    """
    with FileIO(path) as file:
        return str(_hash_rest(file, algorithm).hexdigest())


class PartialFile:
    """The beginning of a file: ``<name>.part``, and ``<name>.part.json`` that says of what.

    `size` counts the bytes on disk. A beginning that another process left is taken up if it comes
    from the same address or belongs to the same checksum; else it is thrown away.

    Raises:
        OSError: The folder cannot be written.
    """

    def __init__(self, path: Path, remote: RemoteFile) -> None:
        self._path, self._remote = path, remote
        path.parent.mkdir(parents=True, exist_ok=True)
        memo = (read_json(memo_path(path)) if part_path(path).exists() else None) or {}
        same_file = bool(remote.digest) and memo.get("checksum") == remote.checksum
        same_place = memo.get("url") == remote.url
        self.validator: str = memo.get("validator", "") if same_place else ""
        # Without a buffer: what was received outlives a process that is killed.
        self._file = FileIO(part_path(path), "r+" if same_file or same_place else "w+")
        self._hash = _hash_rest(self._file, remote.algorithm)
        self.size: int = self._file.tell()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def remember(self, validator: str) -> None:
        """Note which state of the file the bytes are of, for whoever goes on with them.

        Raises:
            OSError: The note cannot be written.
        """
        self.validator = validator
        memo = {"url": self._remote.url, "checksum": self._remote.checksum, "validator": validator}
        if memo != read_json(memo_path(self._path)):
            # Not flushed to disk: with it would go all that other downloads have just written.
            memo_path(self._path).write_text(json.dumps(memo), encoding="utf-8")

    def append(self, chunk: bytes) -> None:
        """Write received bytes to disk.

        Raises:
            OSError: The disk is full, say; what is written stays.
        """
        rest = memoryview(chunk)
        while rest:
            written = self._file.write(rest)
            self._hash.update(rest[:written])
            self.size += written
            rest = rest[written:]

    def restart(self) -> int:
        """Throw everything away; returns how many bytes that were."""
        lost, self.size = self.size, 0
        self._file.seek(0)
        self._file.truncate()
        self._hash = _hash_rest(self._file, self._remote.algorithm)
        return lost

    def checksum(self) -> str:
        """Hexadecimal digest of all bytes."""
        return str(self._hash.hexdigest())

    def finish(self) -> None:
        """Put the complete file in its place."""
        self._file.close()
        part_path(self._path).replace(self._path)
        memo_path(self._path).unlink(missing_ok=True)


def _hash_rest(file: FileIO, algorithm: str) -> Any:
    """A hash of what follows in an open file, which takes more bytes."""
    return hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False))
