"""From a checked archive to the data tree: a machine's folders appear whole or not at all."""

from __future__ import annotations

import filecmp
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dcase_asd.clips.name import SPLIT_FOLDERS
from dcase_asd.clips.tree import archive_layout, is_noise_clip
from dcase_asd.downloads.archive import list_members, require_space, unpack
from dcase_asd.downloads.request import STAGED_NOTE, PlannedFile
from dcase_asd.errors import DownloadError
from dcase_asd.files import write_json
from dcase_asd.progress import Progress

_MOVING = threading.Lock()
"""Additional training and evaluation clips of a machine meet in one folder: one comes first."""


def install(
    file: PlannedFile, checksum: str, progress: Progress, check_stop: Callable[[], None]
) -> None:
    """Unpack an archive beside its place, then move it there.

    Everything is unpacked under a hidden name first. The note in it says that it is whole; what is
    interrupted before is thrown away, what is interrupted afterwards is moved by the next run.

    Args:
        file: The archive, its checksum already verified where one is known.
        checksum: Its checksum as ``md5:…``; if `file` knows none it is noted, not trusted.
        progress: Told about the unpacking.
        check_stop: Called now and then; what it raises ends the unpacking.

    Raises:
        DownloadError: The archive is damaged, dangerous, not the expected one, or the disk full.
        DataError: It does not hold the clips of one machine.
    """
    archive = file.path
    members = list_members(archive)
    layout = archive_layout(members, str(archive))
    inside = {name: path for name in members if (path := layout(name))}
    chosen = {
        name: path
        for name, path in inside.items()
        if not file.request.noise_only or is_noise_clip(path)
    }
    held, taken = (
        {path.split("/")[0] for path in paths if "/" in path}
        for paths in (inside.values(), chosen.values())
    )
    if not file.checksum and not held.issuperset(file.record.folders):
        missing = ", ".join(sorted(set(file.record.folders) - held))
        raise DownloadError(
            f"{archive}: not the {file.archive.name} of {file.edition}, as it lacks {missing}; "
            f"fetch it from {file.record.page}"
        )
    parent = file.target.parent
    parent.mkdir(parents=True, exist_ok=True)
    size = sum(members[name] for name in chosen)
    require_space(parent, size, f"unpacking {file.archive.name}")
    temporary = parent / f".unpacking-{file.archive.name}"
    shutil.rmtree(temporary, ignore_errors=True)
    (temporary / "machine").mkdir(parents=True)
    try:
        with progress.bar(f"Unpacking {file.archive.name}", size, "bytes") as advance:
            unpack(archive, temporary / "machine", chosen.get, advance, check_stop)
        note = {
            "archive": file.archive.name,
            "size": archive.stat().st_size,
            "checksum": checksum,
            "folders": sorted(taken & SPLIT_FOLDERS.keys()),
            "noise_only": file.request.noise_only,
        }
        write_json(temporary / STAGED_NOTE, note)
        temporary.rename(file.staged)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    finish(file, note, progress)


def finish(file: PlannedFile, note: dict[str, Any], progress: Progress) -> None:
    """Move what was unpacked to its place, also where an earlier run was interrupted in this."""
    with _MOVING:
        kept = _move(file.staged / "machine", file.target)
    if kept:
        progress.note(f"{file.target}: {kept} file(s) that were there before were kept as they are")
    write_json(file.note, note)
    shutil.rmtree(file.staged)


def _move(staged: Path, target: Path) -> int:
    """Move a folder to its place without touching what is there.

    Returns:
        The number of files that stood there already and differ.
    """
    if not staged.exists():
        return 0  # moved before the interruption
    if target.is_dir() and not any(target.iterdir()):
        target.rmdir()
    if not target.exists():
        staged.rename(target)
        return 0
    kept = 0
    for entry in sorted(staged.iterdir()):
        there = target / entry.name
        if entry.is_dir() and (there.is_dir() or not there.exists()):
            kept += _move(entry, there)
        elif there.exists():
            kept += not (there.is_file() and filecmp.cmp(entry, there, shallow=False))
        else:
            entry.rename(there)
    return kept
