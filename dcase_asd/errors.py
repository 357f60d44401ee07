"""Every way a user's input can be wrong, as one sentence that names the way out.

All errors that a user can cause derive from `DcaseAsdError`; the console script catches that
class once, prints the message as a single line on standard error and exits with status 1.
"""

from __future__ import annotations

import difflib
import os
import shlex
from collections.abc import Iterable

NAMES_SHOWN = 3
"""How many names of a longer list a message spells out."""


class DcaseAsdError(Exception):
    """A wrong input; the message names the file, the value and the way out."""


class DataError(DcaseAsdError):
    """The data folder or its manifest is missing, empty or contradictory."""


class ClipNameError(DcaseAsdError):
    """A file name does not follow any grammar of the challenge."""


class AudioError(DcaseAsdError):
    """A recording cannot be read or holds values that are not audio."""


class EditionError(DcaseAsdError):
    """An edition does not exist, or its rules forbid what was asked for."""


class BackboneError(DcaseAsdError):
    """A plugin is missing or broken, or a checkpoint does not fit it."""


class TrainingError(DcaseAsdError):
    """Fine-tuning cannot start, go on or be taken up again as asked for."""


class LaunchError(DcaseAsdError):
    """A job cannot be queued on a cluster as asked for, or failed there."""


class JobError(LaunchError):
    """A job that ran on this machine failed."""


class RecipeError(DcaseAsdError):
    """A recipe file holds wrong names, types or values (all of them are listed)."""


class DownloadError(DcaseAsdError):
    """A file cannot be fetched or unpacked, or is not the one that was published."""


class ArtifactError(DcaseAsdError):
    """A file that a step wrote is missing, damaged or written by somebody else right now."""


class BusyError(ArtifactError):
    """Another process is writing the folder right now."""


class ScoresError(DcaseAsdError):
    """Anomaly scores are missing, duplicated, extra or not finite."""


class GroundTruthError(DcaseAsdError):
    """Labels are missing, malformed or do not match the scores."""


class TooFewClipsError(DcaseAsdError):
    """There are fewer normal clips than a computation needs."""


class SubmissionError(DcaseAsdError):
    """A challenge package cannot be written as asked."""


def close_name(value: str, choices: Iterable[str]) -> str:
    """``"did you mean 'x'?"`` where one of the valid names is close, else nothing."""
    lowered = {choice.lower(): choice for choice in sorted(set(choices))}
    close = difflib.get_close_matches(value.lower(), lowered, n=1, cutoff=0.6)
    return f"did you mean {lowered[close[0]]!r}?" if close else ""


def nearest_name(value: str, choices: Iterable[str]) -> str:
    """A sentence fragment that points at the valid names.

    Args:
        value: What the user wrote.
        choices: The valid names.

    Returns:
        ``"did you mean 'x'?"`` where one is close, else ``"choose from a, b, c"``.
    """
    valid = sorted(set(choices))
    all_of_them = ", ".join(valid) if valid else "nothing: there is none"
    return close_name(value, valid) or f"choose from {all_of_them}"


def command(*words: object) -> str:
    """A command of this program that a message proposes, quoted so that a shell runs it as it is.

    Where the message does not know the data folder it says ``data``, as the README does.
    """
    return f"`{shlex.join(['dcase-asd', *map(str, words)])}`"


def printable_name(name: str) -> str:
    r"""A file's name with ``\x..`` for bytes that are not UTF-8, as no text can hold those."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def some(names: Iterable[str]) -> str:
    """The first few of some names in order, and how many more there are."""
    ordered = sorted(names)
    shown = ", ".join(ordered[:NAMES_SHOWN])
    return shown + (f" and {len(ordered) - NAMES_SHOWN} more" if len(ordered) > NAMES_SHOWN else "")
