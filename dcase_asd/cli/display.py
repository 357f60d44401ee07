"""What a command shows: tables and lines on standard output, progress on standard error."""

from __future__ import annotations

import codecs
import json
import shutil
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dcase_asd.progress import Advance, size_text

if TYPE_CHECKING:
    from rich.progress import Progress


SECONDS_BETWEEN_LINES = 10.0
"""How often a bar says something where there is no terminal."""
BYTES = "bytes"
"""Unit of transfers: shown as kB, MB, with their speed, and gone from the terminal when done."""


class Speech:
    """What the command that runs may say: nothing but errors (`quiet`), or JSON alone."""

    quiet = False
    json_alone = False


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
    if Speech.quiet or Speech.json_alone:
        return
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
    """Print a value as JSON on standard output, numbers in full precision.

    A dataclass is written as its fields, a path as text.
    """
    # JSON is UTF-8; another encoding gets what is common to both, and JSON's own escapes.
    escaped = codecs.lookup(sys.stdout.encoding or "utf-8").name != "utf-8"
    print(json.dumps(value, indent=2, allow_nan=False, ensure_ascii=escaped, default=_json_value))


def _json_value(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else vars(value)


def say(message: str) -> None:
    """Print one plain line on standard output."""
    if not (Speech.quiet or Speech.json_alone):
        print(message)


class Display:
    """Progress on standard error: bars with the time left on a terminal, else a line now and then.

    Bars may be opened by several threads; all of them are in one live picture.

    Args:
        quiet: Show nothing at all, as where the command was told so.
        notes: Show notes.
    """

    def __init__(self, *, quiet: bool = False, notes: bool = True) -> None:
        self.quiet = quiet or Speech.quiet
        self.notes = notes and not self.quiet
        self._status = ""
        self._lock = threading.Lock()
        self._live: Progress | None = None
        self._bars = 0

    def status(self, message: str) -> None:
        """Show beside the open bar how things stand, when it next advances."""
        self._status = message

    def note(self, message: str) -> None:
        """Print a line that the user should know of, above the bars."""
        if not self.notes:
            return
        if (live := self._live) is None:
            print(f"note: {message}", file=sys.stderr)
        else:
            live.console.print(f"note: {message}", markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def bar(self, description: str, total: int, unit: str) -> Iterator[Advance]:
        """Open a bar of `total` items; 0 where that is not known."""
        self._status = ""
        if self.quiet:
            yield lambda _: None
        elif not sys.stderr.isatty():
            yield from self._lines(description, total, unit)
        else:
            live = self._open(unit)
            task = live.add_task(description, total=total or None, status="")
            try:
                yield lambda count: live.update(task, advance=count, status=self._status)
            finally:
                if unit == BYTES:
                    live.remove_task(task)
                self._close()

    def _open(self, unit: str) -> Progress:
        from rich import progress
        from rich.console import Console

        columns: list[progress.ProgressColumn] = [
            progress.MofNCompleteColumn(),
            progress.TextColumn(unit),
        ]
        if unit == BYTES:
            columns = [progress.DownloadColumn(), progress.TransferSpeedColumn()]
        with self._lock:
            if self._live is None:
                self._live = progress.Progress(
                    progress.TextColumn("{task.description}"),
                    progress.BarColumn(),
                    *columns,
                    progress.TimeRemainingColumn(),
                    progress.TextColumn("{task.fields[status]}"),
                    console=Console(stderr=True),
                    transient=unit == BYTES,
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

    def _lines(self, description: str, total: int, unit: str) -> Iterator[Advance]:
        """A line every few seconds, and of transfers one at the end."""
        started = said = time.monotonic()
        done = 0
        lock = threading.Lock()

        def advance(count: int) -> None:
            nonlocal done, said
            with lock:
                done += count
                now = time.monotonic()
                if now - said < SECONDS_BETWEEN_LINES or not (done or self._status):
                    return
                said = now
            if unit == BYTES:
                line = size_text(done) + (f" of {size_text(total)}" if total else "")
            else:
                line = f"{done}/{total} {unit}"
                if done:
                    line += f", about {(now - started) / done * (total - done):.0f} s left"
            if self._status:
                line += f"; {self._status}"
            print(f"{description}: {line}", file=sys.stderr)

        yield advance
        if done and unit == BYTES:
            seconds = time.monotonic() - started
            print(f"{description}: {size_text(done)} in {seconds:.0f} s", file=sys.stderr)
