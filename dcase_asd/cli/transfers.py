"""Progress of transfers: several bars at once on a terminal, a line now and then when piped."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dcase_asd.cli.console import SECONDS_BETWEEN_LINES, Display
from dcase_asd.progress import Advance
from dcase_asd.transfer.disk import size_text

if TYPE_CHECKING:
    from rich.progress import Progress


class TransferDisplay(Display):
    """Bars of bytes from several threads, all of them in one live picture."""

    def __init__(self, *, quiet: bool = False) -> None:
        super().__init__(quiet=quiet)
        self._lock = threading.Lock()
        self._live: Progress | None = None
        self._bars = 0

    def note(self, message: str) -> None:
        """Print a line above the bars."""
        live = self._live
        if live is None or self.quiet:
            super().note(message)
        else:
            live.console.print(f"note: {message}", markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def bar(self, description: str, total: int, unit: str) -> Iterator[Advance]:  # noqa: ARG002  (bytes)
        """Open a bar of `total` bytes; 0 where that is not known."""
        if self.quiet:
            yield lambda _: None
            return
        if not sys.stderr.isatty():
            with _lines(description, total) as advance:
                yield advance
            return
        live = self._open()
        task = live.add_task(description, total=total or None)
        try:
            yield lambda count: live.advance(task, count)
        finally:
            live.remove_task(task)
            self._close()

    def _open(self) -> Progress:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        with self._lock:
            if self._live is None:
                self._live = Progress(
                    TextColumn("{task.description}"),
                    BarColumn(),
                    DownloadColumn(),
                    TransferSpeedColumn(),
                    TimeRemainingColumn(),
                    console=Console(stderr=True),
                    transient=True,
                )
                self._live.start()
            self._bars += 1
            return self._live

    def _close(self) -> None:
        with self._lock:
            self._bars -= 1
            if not self._bars and self._live is not None:
                self._live.stop()
                self._live = None


@contextmanager
def _lines(description: str, total: int) -> Iterator[Advance]:
    """A line every few seconds, and one at the end."""
    started = said = time.monotonic()
    done = 0
    lock = threading.Lock()

    def advance(count: int) -> None:
        nonlocal done, said
        with lock:
            done += count
            now = time.monotonic()
            if now - said < SECONDS_BETWEEN_LINES:
                return
            said = now
        of_total = f" of {size_text(total)}" if total else ""
        print(f"{description}: {size_text(done)}{of_total}", file=sys.stderr)

    yield advance
    if done:
        seconds = time.monotonic() - started
        print(f"{description}: {size_text(done)} in {seconds:.0f} s", file=sys.stderr)
