"""Progress of transfers: several bars at once on a terminal, a line now and then when piped."""

from __future__ import annotations

import codecs
import json
import shutil
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from dcase_asd.downloads.archive import size_text
from dcase_asd.progress import Advance

if TYPE_CHECKING:
    from rich.progress import Progress


SECONDS_BETWEEN_LINES = 10.0
"""How often a bar says something where there is no terminal."""


def show_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    title: str = "",
    numbers: Sequence[str] = (),
) -> None:
    """Print a table on standard output.

    Args:
        columns: Headings.
        rows: Cells, each shown by `str`.
        title: A line above the table.
        numbers: The columns that hold numbers, set flush right.
    """
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    framed = sum(widths) + 3 * len(widths) + 1
    # What does not fit into a terminal wraps there, which rich would shorten to nothing.
    if sys.stdout.isatty() and framed <= shutil.get_terminal_size().columns:
        from rich.console import Console
        from rich.markup import escape
        from rich.table import Table

        table = Table(title=title or None, title_justify="left", title_style="bold")
        for column in columns:
            table.add_column(column, justify="right" if column in numbers else "left")
        for row in cells:
            table.add_row(*(escape(cell) for cell in row))
        Console().print(table)
        return
    if title:
        print(title)
    for row in [list(columns), *cells]:
        aligned = (
            cell.rjust(width) if column in numbers else cell.ljust(width)
            for cell, width, column in zip(row, widths, columns, strict=True)
        )
        print("  ".join(aligned).rstrip())


def show_json(value: Any) -> None:
    """Print a value as JSON on standard output, numbers in full precision."""
    # JSON is UTF-8; another encoding gets what is common to both, and JSON's own escapes.
    escaped = codecs.lookup(sys.stdout.encoding or "utf-8").name != "utf-8"
    print(json.dumps(value, indent=2, allow_nan=False, ensure_ascii=escaped))


def say(message: str) -> None:
    """Print one plain line on standard output."""
    print(message)


class Display:
    """Progress on standard error: bars with the time left on a terminal, else a line now and then.

    Args:
        quiet: Show nothing at all.
        notes: Show notes.
    """

    def __init__(self, *, quiet: bool = False, notes: bool = True) -> None:
        self.quiet, self.notes = quiet, notes and not quiet
        self._status = ""

    def status(self, message: str) -> None:
        """Show beside the open bar how things stand, when it next advances."""
        self._status = message

    def note(self, message: str) -> None:
        """Print a line that the user should know of."""
        if self.notes:
            print(f"note: {message}", file=sys.stderr)

    @contextmanager
    def bar(self, description: str, total: int, unit: str) -> Iterator[Advance]:
        """Open a bar of `total` items."""
        self._status = ""
        if self.quiet:
            yield lambda _: None
        elif sys.stderr.isatty():
            yield from self._rich_bar(description, total, unit)
        else:
            line = _LineBar(description, total, unit)
            yield lambda count: line.advance(count, self._status)

    def _rich_bar(self, description: str, total: int, unit: str) -> Iterator[Advance]:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(unit),
            TimeRemainingColumn(),
            TextColumn("{task.fields[status]}"),
        )
        with Progress(*columns, console=Console(stderr=True)) as progress:
            task = progress.add_task(description, total=total, status="")
            yield lambda count: progress.update(task, advance=count, status=self._status)


class _LineBar:
    def __init__(self, description: str, total: int, unit: str) -> None:
        self.description, self.total, self.unit = description, total, unit
        self.done = 0
        self.started = self.said = time.monotonic()

    def advance(self, count: int, status: str = "") -> None:
        self.done += count
        now = time.monotonic()
        if now - self.said < SECONDS_BETWEEN_LINES or not self.done:
            return
        self.said = now
        left = (now - self.started) / self.done * (self.total - self.done)
        line = f"{self.description}: {self.done}/{self.total} {self.unit}, about {left:.0f} s left"
        print(f"{line}; {status}" if status else line, file=sys.stderr)


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
