"""Command line: flags, help, tables, progress and exit codes; no logic.

Nothing heavy is imported before a command runs, so that ``--help`` answers at once.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from dcase_asd.cli import (
    check,
    download,
    drift,
    embed,
    evaluate,
    export,
    finetune,
    fit,
    fuse,
    import_scores,
    prepare,
    presets,
    pretrain,
    report,
    run,
    runs,
    submit,
    sweep,
)
from dcase_asd.cli.app import app
from dcase_asd.cli.streams import BROKEN_PIPE, open_streams, use_utf8_names
from dcase_asd.errors import DcaseAsdError, printable_name

__all__ = [
    "app", "check", "download", "drift", "embed", "evaluate", "export", "finetune", "fit", "fuse",
    "import_scores", "main", "prepare", "presets", "pretrain", "report", "run", "runs", "submit",
    "sweep",
]  # fmt: skip

PANELS = {
    "Begin": ("demo", "run", "presets", "plugins"),
    "One machine, one recording": ("fit", "check", "drift", "export"),
    "Recordings and weights": ("download", "weights", "prepare", "labels"),
    "Training": ("shards", "pretrain", "finetune"),
    "Scores": ("embed", "score", "import-scores", "fuse"),
    "Results": ("evaluate", "sweep", "runs", "report"),
    "A challenge entry": ("submit", "validate"),
}
"""How ``--help`` groups the commands, and the order in which it lists them."""
PIPELINE = tuple(name for names in PANELS.values() for name in names)
"""The commands in that order."""


def _order_commands() -> None:
    panels = {name: panel for panel, names in PANELS.items() for name in names}
    ordered = {}
    for each in app.registered_commands:
        name = getattr(each.callback, "__name__", "").replace("_", "-")
        each.rich_help_panel = panels[name]
        ordered[PIPELINE.index(name)] = each
    app.registered_commands[:] = [ordered[index] for index in sorted(ordered)]


_order_commands()

USER_ERROR, WRONG_USAGE = 1, 2
"""Exit status after a wrong input, and after wrong usage (that of typer)."""
INTERRUPTED = 130
"""Exit status after Ctrl-C, by the shells' convention: 128 + SIGINT."""


def main() -> None:
    """Run the command line; a user's mistake ends in one line on standard error."""
    use_utf8_names()
    output = open_streams()
    stdout = sys.stdout  # typer puts another there where a pipe is broken
    status, line = _run()
    with suppress(OSError):
        stdout.flush()
    if output.lost is not None and not line:
        status, line = USER_ERROR, f"error: standard output: {output.lost.strerror}"
        if isinstance(output.lost, BrokenPipeError):  # who reads has seen enough
            status, line = BROKEN_PIPE, ""
    if line:
        print(line, file=sys.stderr)
    sys.exit(status)


def _run() -> tuple[int | str | None, str]:
    """Run the command; returns its exit status and what is left to say."""
    for argument in sys.argv[1:]:
        if argument != (shown := printable_name(argument)):
            return WRONG_USAGE, f"error: {shown}: not UTF-8; rename it, or give a link to it"
    try:
        app()
    except DcaseAsdError as error:
        return USER_ERROR, f"error: {error}"
    except OSError as error:
        reason = error.strerror or str(error)
        return USER_ERROR, f"error: {error.filename or 'a file'}: {reason}"
    except (KeyboardInterrupt, SystemExit) as end:
        # typer makes of Ctrl-C an exit of its own, without a word.
        if isinstance(end, SystemExit) and end.code != INTERRUPTED:
            return end.code, ""
        first = os.environ.get("RANK", "0") == "0"  # of the processes of a launcher
        return INTERRUPTED, "stopped; the same command goes on where it was" if first else ""
    return 0, ""
