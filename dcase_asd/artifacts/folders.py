"""Small folders that are either whole or as they were before."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from dcase_asd.artifacts.atomic import TEMPORARY_PREFIX
from dcase_asd.challenge.litter import find_below
from dcase_asd.errors import ArtifactError

REPLACED_PREFIX = ".replaced-"
"""Start of the name of a folder while another takes its place."""


def folder_content(folder: Path) -> dict[str, bytes] | None:
    """Name -> content of what lies directly in a folder, without litter; None without a folder.

    A folder within it counts as an entry without content.
    """
    if not folder.is_dir():
        return None
    return {
        path.name: path.read_bytes() if path.is_file() else b"" for path in find_below(folder, "*")
    }


def replace_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write a folder under a temporary name, then put it into the place of `folder`.

    A folder cannot be exchanged in one move: a process that is killed between the two moves leaves
    the old one under another name, where `mend_folders` finds it. Only one process may do this at a
    time (see `artifacts.atomic.only_writer`), and it calls `mend_folders` first.

    Raises:
        ArtifactError: It cannot be written; `folder` is as it was.
    """
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
        reason = error.strerror or str(error)
        raise ArtifactError(
            f"{folder}: cannot be written ({reason}); mend that and run the same command again"
        ) from error


def mend_folders(parent: Path) -> None:
    """Put right what a killed `replace_folder` left below `parent`."""
    for temporary in sorted(parent.glob(f"{TEMPORARY_PREFIX}*")):
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
    for replaced in sorted(parent.glob(f"{REPLACED_PREFIX}*")):
        folder = parent / replaced.name.removeprefix(REPLACED_PREFIX)
        if folder.exists():
            shutil.rmtree(replaced)
        else:
            replaced.rename(folder)
