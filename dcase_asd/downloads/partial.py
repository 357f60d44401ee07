"""A file that is being received: it grows, knows its checksum, and outlives its process."""

from __future__ import annotations

import hashlib
import json
import queue
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

BLOCK = 1 << 18
"""Bytes that are written and hashed at a time: long enough that handing over costs nothing, and
short enough for a core's own cache. (Blocks of 1 MiB were at times twice as slow to write.)"""

_BLOCKS = 16


class BackgroundHash:
    """Hashes blocks in a thread of its own while the caller fills the next one.

    A block is borrowed with `borrow`, filled, and given back with `hash`. Hash functions let go of
    the interpreter, so that receiving and hashing use two cores.
    """

    def __init__(self, algorithm: str) -> None:
        self._digest = hashlib.new(algorithm, usedforsecurity=False)
        self._free: queue.SimpleQueue[memoryview] = queue.SimpleQueue()
        self._full: queue.SimpleQueue[tuple[memoryview, int] | None] = queue.SimpleQueue()
        for _ in range(_BLOCKS):
            self._free.put(memoryview(bytearray(BLOCK)))
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def borrow(self) -> memoryview:
        """A block of `BLOCK` bytes to fill; waits while all are being hashed."""
        return self._free.get()

    def hash(self, block: memoryview, length: int) -> None:
        """Hash the first `length` bytes of a borrowed block, which goes back."""
        self._full.put((block, length))

    def finish(self) -> str:
        """The hexadecimal digest of everything so far; nothing more can be hashed."""
        self._full.put(None)
        self._thread.join()
        return self._digest.hexdigest()

    def _work(self) -> None:
        while (item := self._full.get()) is not None:
            block, length = item
            self._digest.update(block[:length])
            self._free.put(block)


def file_checksum(path: Path, algorithm: str) -> str:
    """Hexadecimal digest of a file that somebody else put there.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


SECONDS_BETWEEN_WRITES = 0.5
"""On a slow line a block is written before it is full, so that an interruption loses little."""


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


class PartialFile:
    """The beginning of a file: ``<name>.part``, and ``<name>.part.json`` that says of what.

    `size` counts the bytes on disk. A beginning that another process left is taken up if it comes
    from the same address or belongs to the same checksum; else it is thrown away.

    Raises:
        OSError: The folder cannot be written.
    """

    def __init__(self, path: Path, remote: RemoteFile) -> None:
        self._path, self._remote = path, remote
        self._memo = path.with_name(path.name + ".part.json")
        path.parent.mkdir(parents=True, exist_ok=True)
        memo = self._read_memo()
        same_file = bool(remote.digest) and memo.get("checksum") == remote.checksum
        same_place = memo.get("url") == remote.url
        self.validator = memo.get("validator", "") if same_place else ""
        self._file = part_path(path).open(
            "r+b" if memo and (same_file or same_place) else "w+b", buffering=0
        )
        self._hash = BackgroundHash(remote.algorithm)
        self._block = self._hash.borrow()
        self._filled = 0
        self._written = time.monotonic()
        self.size = 0
        self._take_up()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
        self._hash.finish()

    def remember(self, validator: str) -> None:
        """Note which state of the file the bytes are of, for whoever goes on with them."""
        self.validator = validator
        memo = {
            "url": self._remote.url, "checksum": self._remote.checksum, "validator": validator
        }  # fmt: skip
        if memo != self._read_memo():
            self._memo.write_text(json.dumps(memo), encoding="utf-8")

    def append(self, chunk: bytes) -> int:
        """Take received bytes.

        Returns:
            How many bytes were written to disk by this call: none, or all that had gathered.

        Raises:
            OSError: The disk is full, say; what is written stays.
        """
        written = 0
        rest = memoryview(chunk)
        while rest:
            count = min(len(rest), BLOCK - self._filled)
            self._block[self._filled : self._filled + count] = rest[:count]
            self._filled += count
            rest = rest[count:]
            if self._filled == BLOCK:
                written += self.flush()
        if time.monotonic() - self._written > SECONDS_BETWEEN_WRITES:
            written += self.flush()
        return written

    def flush(self) -> int:
        """Write what has gathered; returns how many bytes that were."""
        count, self._filled = self._filled, 0
        self._written = time.monotonic()
        if count:
            written = 0
            while written < count:
                written += self._file.write(self._block[written:count])
            self._hash.hash(self._block, count)
            self._block = self._hash.borrow()
            self.size += count
        return count

    def restart(self) -> int:
        """Throw everything away; returns how many bytes that were."""
        lost, self.size, self._filled = self.size, 0, 0
        self._file.seek(0)
        self._file.truncate()
        self._hash.finish()
        self._hash = BackgroundHash(self._remote.algorithm)
        self._block = self._hash.borrow()
        return lost

    def checksum(self) -> str:
        """Hexadecimal digest of all bytes; only `restart` or `finish` may follow."""
        return self._hash.finish()

    def finish(self) -> None:
        """Put the complete file in its place."""
        self._file.close()
        part_path(self._path).replace(self._path)
        self._memo.unlink(missing_ok=True)

    def _take_up(self) -> None:
        """Hash the beginning that another process left, block by block."""
        while count := self._file.readinto(self._block):
            self._hash.hash(self._block, count)
            self._block = self._hash.borrow()
            self.size += count

    def _read_memo(self) -> dict[str, str]:
        with suppress(OSError, ValueError):
            memo = json.loads(self._memo.read_text(encoding="utf-8"))
            if isinstance(memo, dict) and part_path(self._path).exists():
                return memo
        return {}
