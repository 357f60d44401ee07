"""What lies where: inside a published archive, and in a machine's folder of the data tree."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath

from dcase_asd.challenge.clip import AUDIO_SUFFIXES, SPLIT_FOLDERS, parse_clip_name
from dcase_asd.challenge.litter import is_litter
from dcase_asd.errors import DataError

SUPPLEMENTAL = "supplemental"
"""Folder of 2025's noise-only and clean clips."""


def holds_clips(folder: Path) -> bool:
    """Whether a split folder is there with at least one recording."""
    if not folder.is_dir():
        return False
    with os.scandir(folder) as entries:
        return any(
            entry.name.lower().endswith(AUDIO_SUFFIXES) and not is_litter(entry.name)
            for entry in entries
        )


def archive_layout(names: Iterable[str], source: str) -> Callable[[str], str | None]:
    """Find the machine's folder inside an archive, whatever stands above it.

    Archives were seen to begin with ``<machine>/``, with their own name, or with nothing.

    Args:
        names: Paths of the files inside the archive.
        source: What the archive is called in messages.

    Returns:
        A function from such a path to the path below the machine's folder, ``train/x.wav`` or
        ``attributes_00.csv``; None for files that are no part of it.

    Raises:
        DataError: No split folder is there, or several machines.
    """
    roots = {
        parts[: index - 1]
        for parts in (_parts(name) for name in names)
        if (index := _split_end(parts)) and parts[-1].lower().endswith(AUDIO_SUFFIXES)
    }
    if len(roots) != 1:
        found = ", ".join("/".join(root) for root in sorted(roots))
        reason = f"holds the clips of several machines ({found})" if roots else "holds no clips"
        raise DataError(
            f"{source}: {reason}; the folders {', '.join(SPLIT_FOLDERS)} of one machine are "
            "expected, so fetch the archive that the challenge publishes"
        )
    (root,) = roots

    def place(name: str) -> str | None:
        parts = _parts(name)
        below = parts[len(root) :]
        if not below or parts[: len(root)] != root:
            return None
        return "/".join(below)

    return place


def is_noise_clip(path: str) -> bool:
    """Whether a path below a machine's folder is a noise-only clip of its supplement.

    Raises:
        ClipNameError: A supplemental clip's name follows no grammar.
    """
    folder, _, name = path.rpartition("/")
    if folder != SUPPLEMENTAL or not name.lower().endswith(AUDIO_SUFFIXES):
        return False
    return parse_clip_name(name, folder).role == "noise"


def _parts(name: str) -> tuple[str, ...]:
    """A path's parts; none of litter."""
    return () if is_litter(name) else PurePosixPath(name).parts


def _split_end(parts: tuple[str, ...]) -> int:
    """How many parts reach to the end of the split folder; 0 where there is none."""
    return next((end for end in range(1, len(parts)) if parts[end - 1] in SPLIT_FOLDERS), 0)
