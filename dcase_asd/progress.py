"""How a step tells its caller how far it is, without knowing about terminals."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Protocol

Advance = Callable[[int], None]
"""Called with the number of items that were finished since the last call."""


LONG = 2.0
"""Seconds from which on a computation says how far it is."""
_tell: ContextVar[Callable[[str], None] | None] = ContextVar("tell", default=None)


class Progress(Protocol):
    """What a step needs of a progress display; the command line hands in a real one."""

    def bar(self, description: str, total: int, unit: str) -> AbstractContextManager[Advance]:
        """Open a bar of `total` items; the context's value advances it."""

    def status(self, message: str) -> None:
        """Show beside the open bar how things stand; each message replaces the one before."""

    def note(self, message: str) -> None:
        """Say something that the user should know and that is not an error."""


class Silent:
    """Progress for programs and tests: shows nothing, keeps the notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def bar(self, description: str, total: int, unit: str) -> AbstractContextManager[Advance]:  # noqa: ARG002
        """A bar that nobody sees."""
        return nullcontext(lambda _: None)

    def status(self, message: str) -> None:
        """Shown to nobody."""

    def note(self, message: str) -> None:
        """Keep the message in `notes`."""
        self.notes.append(message)


@contextmanager
def telling(tell: Callable[[str], None]) -> Iterator[None]:
    """Have each `Computation` inside say how far it is."""
    token = _tell.set(tell)
    try:
        yield
    finally:
        _tell.reset(token)


class Computation:
    """Something deep inside a step that may take long, and says so once it does (`LONG`).

    Args:
        what: What is computed.
        total: Of how many parts it consists.
    """

    def __init__(self, what: str, total: int) -> None:
        self.what, self.total, self.done = what, total, 0
        self.started = time.monotonic()

    def advance(self, count: int) -> None:
        """So many more parts are done."""
        self.done += count
        seconds, tell = time.monotonic() - self.started, _tell.get()
        if tell is None or seconds < LONG:
            return
        left = seconds / self.done * (self.total - self.done)
        share = f"{self.what}: {self.done / self.total:.0%}, about {left:.0f} s left"
        tell(share if self.done < self.total else "")


def size_text(size: int) -> str:
    """A size for people: ``999 B``, ``1.4 GB``; powers of 1000, as Zenodo counts."""
    for unit, scale, digits in (("GB", 1e9, 1), ("MB", 1e6, 1), ("kB", 1e3, 0)):
        if size >= scale:
            return f"{size / scale:.{digits}f} {unit}"
    return f"{size} B"
