"""Standard output and error of a command: any encoding, closed, full, or a pipe nobody reads."""

from __future__ import annotations

import codecs
import io
import os
import signal
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

STANDARD_OUTPUT, STANDARD_ERROR = 1, 2

PRINTABLE = "printable"
"""How characters are written that a stream's encoding cannot hold."""

BROKEN_PIPE = 128 + signal.SIGPIPE
"""Exit status where nobody reads what is printed, by the shells' convention."""


def _printable(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)  # noqa: S101 - print only encodes
    text = error.object[error.start : error.end].replace("…", "...")
    return text.encode("ascii", "backslashreplace").decode("ascii"), error.end


codecs.register_error(PRINTABLE, _printable)


def use_utf8_names() -> None:
    """Start this process anew in Python's UTF-8 mode where file names have another encoding.

    In an old locale Python would take the bytes of a name for other letters, or for none at all,
    and a manifest written there would name no file anywhere else.
    """
    chosen = "utf8" in sys._xoptions  # noqa: SLF001 - documented, and set in the new process
    if sys.getfilesystemencoding() == "utf-8" or chosen or not sys.executable:
        return
    encoding = getattr(sys.stdout or sys.stderr, "encoding", None)
    os.environ.setdefault("PYTHONIOENCODING", encoding or "utf-8")  # that of the terminal stays
    os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])  # noqa: S606


class Descriptor(io.FileIO):
    """Standard output, or standard error, which no work is stopped for.

    Attributes:
        lost: Why something could not be written; nothing more is then written to standard output,
            so that the interpreter's end, which tries again, says nothing.
    """

    lost: OSError | None = None

    def write(self, data: ReadableBuffer) -> int | None:  # type: ignore[override]
        """Write as much as can be; returns the number of bytes."""
        try:
            if self.lost is None or self.fileno() != STANDARD_OUTPUT:
                return super().write(data)
        except OSError as error:
            self.lost = error
            error.filename = "standard output"
            if self.fileno() == STANDARD_OUTPUT:
                raise
        return memoryview(data).nbytes


def open_streams() -> Descriptor:
    """Have streams that no encoding and no full disk makes fail in the middle of something.

    A closed one goes nowhere: the next file to be opened would get its descriptor, and what a
    library prints.

    Returns:
        Standard output.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
        if getattr(sys, name) is None:
            mode = "w" if number else "r"
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115
    output = Descriptor(STANDARD_OUTPUT, "w", closefd=False)
    sys.stdout = _over(output, sys.stdout)
    sys.stderr = _over(Descriptor(STANDARD_ERROR, "w", closefd=False), sys.stderr)
    return output


def _over(descriptor: Descriptor, stream: TextIO) -> TextIO:
    """A stream like the interpreter's own; one that a program put there stays."""
    if type(stream) is not io.TextIOWrapper or stream.fileno() != descriptor.fileno():
        return stream
    by_lines = stream.line_buffering or stream.write_through
    buffer = io.BufferedWriter(descriptor)
    return io.TextIOWrapper(buffer, stream.encoding, PRINTABLE, line_buffering=by_lines)
