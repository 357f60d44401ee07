"""Command line: flags, help, tables, progress and exit codes; no logic.

Nothing heavy is imported before a command runs, so that ``--help`` answers at once.
"""

from __future__ import annotations

import sys

from dcase_asd.cli import (
    data,
    download,
    evaluation,
    fusion,
    report,
    runs,
    submission,
    systems,
    training,
)
from dcase_asd.cli.app import app
from dcase_asd.errors import DcaseAsdError

__all__ = [
    "app", "data", "download", "evaluation", "fusion", "main", "report", "runs", "submission",
    "systems", "training",
]  # fmt: skip

PIPELINE = (
    "demo", "run", "download", "weights", "prepare", "labels", "plugins", "finetune", "embed",
    "score", "fuse", "evaluate", "report", "submit", "validate",
)  # fmt: skip
"""The order in which ``--help`` lists the commands."""
app.registered_commands.sort(
    key=lambda each: PIPELINE.index(getattr(each.callback, "__name__", ""))
)

USER_ERROR = 1
"""Exit status after a wrong input (typer answers wrong usage with 2)."""
INTERRUPTED = 130
"""Exit status after Ctrl-C, by the shells' convention: 128 + SIGINT."""


def main() -> None:
    """Run the command line; a user's mistake ends in one line on standard error."""
    try:
        app()
    except DcaseAsdError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(USER_ERROR)
    except OSError as error:
        reason = error.strerror or str(error)
        print(f"error: {error.filename or 'a file'}: {reason}", file=sys.stderr)
        sys.exit(USER_ERROR)
    except (KeyboardInterrupt, SystemExit) as end:
        # typer makes of Ctrl-C an exit of its own, without a word.
        if isinstance(end, SystemExit) and end.code != INTERRUPTED:
            raise
        print("stopped; the same command goes on where it was", file=sys.stderr)
        sys.exit(INTERRUPTED)
