"""Files that are either whole or absent, and folders that one process writes at a time."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from dcase_asd.errors import ArtifactError, BusyError, printable_name

TEMPORARY_PREFIX = ".writing-"
"""Start of the names of files that are being written; a killed run may leave some behind."""


NAME_SHOWN = 40
"""Letters before one that is not UTF-8 that an error message shows."""

NO_LOCKS = "DCASE_ASD_NO_LOCKS"
"""Environment variable: not empty where a user sees to it that one process writes a folder."""


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Write a file under a temporary name beside `path`, then rename it into place.

    Yields:
        The temporary path to write to. When the block ends without an error the file is flushed
        to disk and renamed to `path`; otherwise it is removed and `path` stays as it was.

    Raises:
        ArtifactError: The file cannot be written (disk full, no permission, a quota).
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=TEMPORARY_PREFIX, dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise ArtifactError(_cannot_write(path, error)) from error
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        # mkstemp makes files private; a result should be as readable as any other new file.
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        raise ArtifactError(_cannot_write(path, error)) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> bool:
    """Write UTF-8 text, leaving the file untouched where it already says the same.

    Returns:
        Whether the file was changed.

    Raises:
        ArtifactError: It cannot be written, or holds the name of a file that is not UTF-8.
    """
    path = Path(path)
    try:
        content = text.encode("utf-8")
    except UnicodeEncodeError as error:
        name = printable_name(error.object[max(error.start - NAME_SHOWN, 0) : error.end])
        raise ArtifactError(
            f"{path}: cannot be written, as a file's name in it is not UTF-8 (…{name}); rename it"
        ) from error
    with suppress(OSError):
        if path.stat().st_size == len(content) and path.read_bytes() == content:
            return False
    with replacing(path) as temporary:
        temporary.write_bytes(content)
    return True


def write_json(path: str | Path, value: Any) -> bool:
    """Write JSON as `write_text` does; numbers keep full precision, NaN is refused."""
    return write_text(path, json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def read_json(path: str | Path) -> dict[str, Any] | None:
    """Read a marker that this program wrote.

    Returns:
        Its content; None where the file is absent or no JSON object, as for a marker both mean
        that the step is not complete.
    """
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def fingerprint(*values: Any) -> str:
    """A short hash of JSON-like values: equal inputs, equal result, on every machine."""
    text = json.dumps(values, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:32]


@contextmanager
def only_writer(folder: str | Path) -> Iterator[None]:
    """Keep other processes from writing the same folder; ends with the process, even if killed.

    Raises:
        BusyError: Another process is writing it now.
        ArtifactError: The folder cannot be written, or its file system has no locks.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("ab")
    except OSError as error:
        if folder.is_file():
            what = "cannot be written, as it is a file; name a folder"
            raise ArtifactError(f"{folder}: {what}") from error
        raise ArtifactError(_cannot_write(folder, error)) from error
    with lock:
        if not os.environ.get(NO_LOCKS):
            _lock(folder, lock.fileno())
        try:
            for left_over in folder.rglob(f"{TEMPORARY_PREFIX}*"):
                with suppress(OSError):
                    left_over.unlink()
            yield
        finally:
            # Closing is not enough while a forked worker holds the same open file.
            with suppress(OSError):
                fcntl.flock(lock, fcntl.LOCK_UN)


def _lock(folder: Path, descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        # Some network file systems say "permission denied" of a lock that somebody else holds.
        raise BusyError(
            f"{folder}: another dcase-asd is writing this folder right now; "
            "wait until it ends, or give this run another folder"
        ) from error
    except OSError as error:
        raise ArtifactError(
            f"{folder}: its file system cannot lock files ({error.strerror}), as some network "
            "disks cannot; give a folder on a local disk, or, while nothing else writes this one, "
            f"run `export {NO_LOCKS}=1` and the same command again"
        ) from error


def _cannot_write(path: Path, error: OSError) -> str:
    reason = error.strerror or str(error)
    return f"{path}: cannot be written ({reason}); mend that and run the same command again"


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
