"""What systems and editors leave beside recordings, labels and scores, told by its name alone."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

LITTER = {
    "__macosx", "icon\r",  # macOS, which also leaves .DS_Store and a ._ twin of every file
    "thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "system volume information",
    "lost+found", "#recycle", "@eadir",  # file systems and network disks
}  # fmt: skip
"""Names in lower case; every hidden name (``.ipynb_checkpoints``, ``.DS_Store``) is litter too."""


def is_litter(path: str) -> bool:
    """Whether a part of a relative path is hidden or a name that no recording or label has."""
    return any(part[0] == "." or part.lower() in LITTER for part in PurePosixPath(path).parts)


def find_below(folder: Path, pattern: str) -> list[Path]:
    """The paths below a folder that match a glob pattern, without litter, in sorted order."""
    return sorted(
        path for path in folder.glob(pattern) if not is_litter(path.relative_to(folder).as_posix())
    )
