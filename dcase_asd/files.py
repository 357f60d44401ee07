"""What systems and editors leave beside recordings, labels and scores, told by its name alone."""

from __future__ import annotations

import csv
import errno
import hashlib
import itertools
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from dcase_asd.errors import ArtifactError, BusyError, printable_name

if TYPE_CHECKING:
    import pandas as pd

TEMPORARY_PREFIX = ".writing-"
"""Start of the names of files that are being written; a killed run may leave some behind."""


NAME_SHOWN = 40
"""Letters before one that is not UTF-8 that an error message shows."""

NO_LOCKS = "DCASE_ASD_NO_LOCKS"
"""Environment variable: not empty where a user sees to it that one process writes a folder."""

_FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


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
        raise ArtifactError(cannot_write(path, error)) from error
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        # mkstemp makes files private; a result should be as readable as any other new file.
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        raise ArtifactError(cannot_write(path, error)) from error
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
        (folder / ".lock").open("ab").close()
    except OSError as error:
        if folder.is_file():
            what = "cannot be written, as it is a file; name a folder"
            raise ArtifactError(f"{folder}: {what}") from error
        raise ArtifactError(cannot_write(folder, error)) from error
    with nullcontext() if os.environ.get(NO_LOCKS) else _locked(folder):
        for left_over in folder.rglob(f"{TEMPORARY_PREFIX}*"):
            with suppress(OSError):
                left_over.unlink()
        yield


def _locked(folder: Path) -> AbstractContextManager[object]:
    from filelock import FileLock, Timeout  # not where only --help is asked for

    # filelock closes it in forked workers, so that one that outlives a killed run does not keep it.
    lock = FileLock(folder / ".lock", blocking=False, fallback_to_soft=False)
    try:
        return lock.acquire()
    except Timeout as error:
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


def cannot_write(path: str | Path, error: OSError) -> str:
    """What is said of a file or folder that cannot be written."""
    reason = error.strerror or str(error)
    way_out = "make room" if error.errno in _FULL_DISK else "mend that"
    return f"{path}: cannot be written ({reason}); {way_out} and run the same command again"


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


REPLACED_PREFIX = ".replaced-"
"""Start of the name of a folder while another takes its place."""


def folder_content(folder: str | Path) -> dict[str, bytes] | None:
    """Name -> content of what lies directly in a folder, without litter; None without a folder.

    A folder within it counts as an entry without content.
    """
    folder = Path(folder)
    if not folder.is_dir():
        return None
    return {
        path.name: path.read_bytes() if path.is_file() else b"" for path in find_below(folder, "*")
    }


def replace_folder(folder: str | Path, files: Mapping[str, bytes]) -> None:
    """Write a folder under a temporary name, then put it into the place of `folder`.

    A folder cannot be exchanged in one move: a process that is killed between the two moves leaves
    the old one under another name, where `mend_folders` finds it. Only one process may do this at a
    time (see `files.only_writer`), and it calls `mend_folders` first.

    Raises:
        ArtifactError: It cannot be written; `folder` is as it was.
    """
    folder = Path(folder)
    replaced = folder.with_name(REPLACED_PREFIX + folder.name)
    try:
        temporary = folder.with_name(TEMPORARY_PREFIX + folder.name)
        temporary.mkdir(parents=True)
        try:
            for name, content in files.items():
                with (temporary / name).open("wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
            if folder.is_dir():
                folder.rename(replaced)
            temporary.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
            mend_folders(folder.parent)
    except OSError as error:
        raise ArtifactError(cannot_write(folder, error)) from error


def mend_folders(parent: str | Path) -> None:
    """Put right what a killed `replace_folder` left below `parent`."""
    parent = Path(parent)
    for temporary in sorted(parent.glob(f"{TEMPORARY_PREFIX}*")):
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
    for replaced in sorted(parent.glob(f"{REPLACED_PREFIX}*")):
        folder = parent / replaced.name.removeprefix(REPLACED_PREFIX)
        if folder.exists():
            shutil.rmtree(replaced)
        else:
            replaced.rename(folder)


def write_table(path: str | Path, table: pd.DataFrame, columns: Sequence[str]) -> bool:
    """Write `columns` of a table; floats in the shortest form that reads back the same.

    Returns:
        Whether the file was changed.
    """
    return write_text(path, table.loc[:, list(columns)].to_csv(index=False, lineterminator="\n"))


def read_table(path: str | Path, types: Mapping[str, type], made_by: str) -> pd.DataFrame:
    """Read a table that a step wrote.

    Args:
        path: The CSV file.
        types: Column -> `str`, `int` or `float`, in the order of the file. Empty text stays empty.
        made_by: The command that makes the file (see `errors.command`), for messages.

    Raises:
        ArtifactError: The file is missing, or its header or a value is not what it should be.
    """
    import pandas as pd

    path = Path(path)
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, na_filter=False)
        if list(table.columns) != list(types):
            raise ArtifactError(
                f"{path}: the header must be {','.join(types)}, not {','.join(table.columns)}; "
                f"make it again with {made_by}"
            )
        for column, kind in types.items():
            if kind is not str:
                table[column] = table[column].to_numpy(dtype=object).astype(kind)
    except FileNotFoundError as error:
        raise ArtifactError(f"{path}: not found; make it with {made_by}") from error
    except (OSError, ValueError) as error:
        fault = _first_fault(path, types) or f": not a readable table ({str(error).strip()})"
        raise ArtifactError(f"{path}{fault}; mend it, or make it again with {made_by}") from error
    # Where every row has a field too many, pandas makes the first column the index.
    if not isinstance(table.index, pd.RangeIndex):
        fault = _first_fault(path, types)
        raise ArtifactError(f"{path}{fault}; mend it, or make it again with {made_by}")
    return table


def _first_fault(path: Path, types: Mapping[str, type]) -> str:
    """What is wrong in the first line whose fields are not of the types; empty if none is found."""
    with suppress(OSError, ValueError, csv.Error), path.open(encoding="utf-8", newline="") as file:
        reader = csv.reader(file)
        for row in itertools.islice(reader, 1, None):
            if len(row) != len(types):
                return (
                    f", line {reader.line_num}: {len(row)} fields instead of {len(types)}; numbers "
                    "take a point, no decimal comma"
                )
            for (column, kind), text in zip(types.items(), row, strict=True):
                try:
                    kind(text)
                except ValueError:
                    return (
                        f", line {reader.line_num}: the column {column} holds a value that is no "
                        f"number, {text!r}{', but has a decimal comma' if ',' in text else ''}"
                    )
    return ""


LITTER = {
    "__macosx", "icon\r",  # macOS, which also leaves .DS_Store and a ._ twin of every file
    "thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "system volume information",
    "lost+found", "#recycle", "@eadir",  # file systems and network disks
}  # fmt: skip
"""Names in lower case; every hidden name (``.ipynb_checkpoints``, ``.DS_Store``) is litter too."""


def is_litter(path: str) -> bool:
    """Whether a part of a relative path is hidden or a name that no recording or label has."""
    return any(part[0] == "." or part.lower() in LITTER for part in PurePosixPath(path).parts)


def find_below(folder: str | Path, pattern: str) -> list[Path]:
    """The paths below a folder that match a glob pattern, without litter, in sorted order."""
    folder = Path(folder)
    return sorted(
        path for path in folder.glob(pattern) if not is_litter(path.relative_to(folder).as_posix())
    )


def stays_inside(name: str) -> bool:
    """Whether a name in a zip leads nowhere but below the folder of the zip, on any system."""
    parts = PurePosixPath(name).parts
    return bool(parts) and parts[0] != "/" and ".." not in parts and not re.search(r"[\\:\0]", name)
