"""The folder of a report: replaced as long as it is what an earlier report made of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from dcase_asd.errors import ArtifactError
from dcase_asd.files import only_writer, read_json, replacing, write_json

MARKER = "report.json"
"""Says which files a report made, each with hashes of the contents that it gave to it."""


def write_report_folder(folder: Path, files: Mapping[str, bytes]) -> bool:
    """Write the files of a report, and remove those of an earlier one that are no longer made.

    The marker is written before the files, so that a process that is killed between them leaves
    nothing that the next one would take for somebody else's.

    Args:
        folder: Where to.
        files: Path relative to the folder, with forward slashes -> content.

    Returns:
        Whether anything was changed.

    Raises:
        ArtifactError: A file of somebody else is in the way, or one of an earlier report that was
            edited since; or the folder cannot be written, or another process is writing it.
    """
    if folder.exists() and not folder.is_dir():
        raise ArtifactError(f"{folder}: is a file; give another folder with --out")
    with only_writer(folder):
        made = _made_before(folder)
        now = {name: _hash(content) for name, content in files.items()}
        _refuse_others(folder, made, now)
        gone = [name for name in made if name not in now and (folder / name).is_file()]
        new = [name for name, content in now.items() if not _holds(folder / name, content)]
        if new or gone:
            both = {name: [*made.get(name, ()), now[name]] for name in now}
            write_json(folder / MARKER, {"files": {**made, **both}})
        for name in new:
            with replacing(folder / name) as temporary:
                temporary.write_bytes(files[name])
        for name in gone:
            (folder / name).unlink()
            _remove_empty(folder, (folder / name).parent)
        marked = write_json(
            folder / MARKER, {"files": {name: [content] for name, content in now.items()}}
        )
    return bool(new or gone) or marked


def _made_before(folder: Path) -> dict[str, list[str]]:
    content = read_json(folder / MARKER)
    if content is None:
        if (folder / MARKER).exists():
            raise ArtifactError(
                f"{folder / MARKER}: was not made by a report; give another folder with --out"
            )
        return {}
    files = content.get("files")
    made = files if isinstance(files, dict) else {}
    # Whoever wrote the marker: nothing outside of this folder is ever looked at.
    return {name: hashes for name, hashes in made.items() if ".." not in Path(name).parts}


def _refuse_others(folder: Path, made: dict[str, list[str]], now: dict[str, str]) -> None:
    for name in sorted({*made, *now}):
        path = folder / name
        if not path.exists():
            continue
        known = {*made.get(name, ()), *([now[name]] if name in now else [])}
        if not path.is_file() or _hash(path.read_bytes()) not in known:
            why = "was edited since it was made" if name in made else "was not made by a report"
            raise ArtifactError(f"{path}: {why}; move it away, or give another folder with --out")


def _holds(path: Path, content: str) -> bool:
    return path.is_file() and _hash(path.read_bytes()) == content


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _remove_empty(folder: Path, below: Path) -> None:
    with suppress(OSError):
        while below != folder:
            below.rmdir()
            below = below.parent
