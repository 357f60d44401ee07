"""Checksums, computed beside the transfer so that no file is read a second time."""

from __future__ import annotations

import hashlib
import queue
import threading
from pathlib import Path

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
