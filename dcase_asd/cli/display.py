"""What the command line shows: tables, lines, JSON and progress."""

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

from dcase_asd.progress import Advance, size_text

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

    Bars may be open at once, also from several threads: on a terminal all are in one live picture.
    Those whose unit is ``bytes`` say sizes and speed; 0 is a total that is not known.

    Args:
        quiet: Show nothing at all.
        notes: Show notes.
    """

    def __init__(self, *, quiet: bool = False, notes: bool = True) -> None:
        self.quiet, self.notes = quiet, notes and not quiet
        self._status = ""
        self._lock = threading.Lock()
        self._live: Progress | None = None
        self._open_bars = 0

    def status(self, message: str) -> None:
        """Show beside the open bar how things stand, when it next advances."""
        self._status = message

    def note(self, message: str) -> None:
        """Print a line that the user should know of, on a terminal above the bars."""
        live, line = self._live, f"note: {message}"
        if self.notes and live is None:
            print(line, file=sys.stderr)
        elif self.notes and live is not None:
            live.console.print(line, markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def bar(self, description: str, total: int, unit: str) -> Iterator[Advance]:
        """Open a bar of `total` items."""
        self._status = ""
        if self.quiet:
            yield lambda _: None
        elif sys.stderr.isatty():
            yield from self._live_bar(description, total, unit)
        else:
            yield from self._lines(description, total, unit)

    def _live_bar(self, description: str, total: int, unit: str) -> Iterator[Advance]:
        in_bytes = unit == "bytes"
        with self._lock:
            live = self._live = self._live or _start_live(in_bytes)
            self._open_bars += 1
        task = live.add_task(
            description, total=None if in_bytes and not total else total, unit=unit, status=""
        )
        try:
            yield lambda count: live.update(task, advance=count, status=self._status)
        finally:
            if in_bytes:
                live.remove_task(task)
            with self._lock:
                self._open_bars -= 1
                if not self._open_bars:
                    live.stop()
                    self._live = None

    def _lines(self, description: str, total: int, unit: str) -> Iterator[Advance]:
        started = said = time.monotonic()
        done = 0

        def advance(count: int) -> None:
            nonlocal done, said
            with self._lock:
                done += count
                now = time.monotonic()
                if now - said < SECONDS_BETWEEN_LINES or not done:
                    return
                said = now
            if unit == "bytes":
                state = size_text(done) + (f" of {size_text(total)}" if total else "")
            else:
                left = (now - started) / done * (total - done)
                state = f"{done}/{total} {unit}, about {left:.0f} s left"
            state += f"; {self._status}" if self._status else ""
            print(f"{description}: {state}", file=sys.stderr)

        yield advance
        if done and unit == "bytes":
            seconds = time.monotonic() - started
            print(f"{description}: {size_text(done)} in {seconds:.0f} s", file=sys.stderr)


def _start_live(in_bytes: bool) -> Progress:
    """A live picture of bars; of bytes they go when they are done."""
    from rich import progress as columns
    from rich.console import Console

    amount = (
        (columns.DownloadColumn(), columns.TransferSpeedColumn())
        if in_bytes
        else (columns.MofNCompleteColumn(), columns.TextColumn("{task.fields[unit]}"))
    )
    live = columns.Progress(
        columns.TextColumn("{task.description}"),
        columns.BarColumn(),
        *amount,
        columns.TimeRemainingColumn(),
        columns.TextColumn("{task.fields[status]}"),
        console=Console(stderr=True),
        transient=in_bytes,
    )
    live.start()
    return live
