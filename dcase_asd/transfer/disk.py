"""How much room there is, and how sizes are written."""

from __future__ import annotations

import shutil
from pathlib import Path

from dcase_asd.errors import DownloadError


def free_space(folder: Path) -> int:
    """Bytes that can be written below a folder, which need not exist yet."""
    existing = next(
        path for path in [folder.absolute(), *folder.absolute().parents] if path.exists()
    )
    return shutil.disk_usage(existing).free


def require_space(folder: Path, needed: int, purpose: str) -> None:
    """Refuse to begin what cannot end.

    Raises:
        DownloadError: There is less than `needed` bytes of room.
    """
    free = free_space(folder)
    if needed > free:
        raise DownloadError(
            f"{folder}: {purpose} needs {size_text(needed)} and {size_text(free)} are free; "
            f"make room for {size_text(needed - free)}, or name a folder on another disk"
        )


def size_text(size: int) -> str:
    """A size for people: ``999 B``, ``1.4 GB``; powers of 1000, as Zenodo counts."""
    for unit, scale, digits in (("GB", 1e9, 1), ("MB", 1e6, 1), ("kB", 1e3, 0)):
        if size >= scale:
            return f"{size / scale:.{digits}f} {unit}"
    return f"{size} B"
