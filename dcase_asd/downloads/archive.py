"""Zip archives from strangers: looked through before anything is written, unpacked without harm.

Whether there is room for them is asked here too.
"""

from __future__ import annotations

import itertools
import lzma
import shutil
import stat
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from zipfile import BadZipFile, ZipFile, ZipInfo

from dcase_asd.errors import DownloadError
from dcase_asd.files import cannot_write, stays_inside
from dcase_asd.progress import Advance, size_text

LARGEST_EXPANSION = 30
"""Times an archive's own size that it may unpack to. Recordings reach 1.5 as a rule; digital
silence, which compresses best, is rare among them."""

SMALL = 16 << 20
"""Bytes to which any archive may unpack, however well it is compressed."""

_ENCRYPTED = 0x1
_WAY_OUT = "delete it and fetch it again"


def archive_comment(path: Path) -> str:
    """The archive's own comment; git writes the commit there.

    Raises:
        DownloadError: It is no zip archive.
    """
    with _reading(path), ZipFile(path) as archive:
        return archive.comment.decode("utf-8", "replace")


def list_members(path: Path) -> dict[str, int]:
    """Look through an archive without unpacking it.

    Returns:
        Path inside the archive -> size in bytes of each file; folders are left out.

    Raises:
        DownloadError: It is no archive, or truncated, encrypted, a bomb, or holds links, two files
            of one name, or paths that lead out of it.
    """
    with _reading(path), ZipFile(path) as archive:
        return {info.filename: info.file_size for info in _checked(path, archive)}


def unpack(
    path: Path,
    folder: Path,
    place: Callable[[str], str | None],
    advance: Advance,
    check_stop: Callable[[], None],
) -> None:
    """Unpack an archive's files into a folder, each checked against its checksum.

    Args:
        path: The archive.
        folder: An existing folder; nothing is written outside of it.
        place: Path inside the archive -> path below `folder`, or None to leave the file out.
        advance: Called with the number of bytes written since the last call.
        check_stop: Called now and then; what it raises ends the unpacking.

    Raises:
        DownloadError: As `list_members`; or a file is damaged, or the disk full.
    """
    with _reading(path), ZipFile(path) as archive:
        for info in _checked(path, archive):
            check_stop()
            name = place(info.filename)
            if name is None:
                continue
            target = folder / name
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(info) as source, target.open("xb") as file:
                    shutil.copyfileobj(source, file, 1 << 20)
            except OSError as error:
                raise DownloadError(cannot_write(target, error)) from error
            advance(info.file_size)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn what zipfile raises on a damaged archive into one sentence."""
    try:
        yield
    except (BadZipFile, zlib.error, lzma.LZMAError, EOFError, ValueError) as error:
        raise DownloadError(f"{path}: the archive is damaged ({error}); {_WAY_OUT}") from error
    except (NotImplementedError, RuntimeError) as error:
        raise DownloadError(f"{path}: cannot be unpacked ({error}); {_WAY_OUT}") from error
    except FileNotFoundError as error:
        raise DownloadError(f"{path}: no such archive") from error


def _checked(path: Path, archive: ZipFile) -> list[ZipInfo]:
    """The archive's files, if all of them are harmless."""
    files = [info for info in archive.infolist() if _is_file(path, info)]
    names: set[str] = set()
    for info in files:
        # Two names that differ in case would be one file on some disks.
        if info.filename.casefold() in names:
            raise DownloadError(f"{path}: holds {info.filename!r} twice; {_WAY_OUT}")
        names.add(info.filename.casefold())
    size = path.stat().st_size
    total = sum(info.file_size for info in files)
    if total > max(SMALL, LARGEST_EXPANSION * size) or _overlapping(files):
        raise DownloadError(
            f"{path}: would grow from {size} to {total} bytes, as a zip bomb does; {_WAY_OUT}"
        )
    return files


def _is_file(path: Path, info: ZipInfo) -> bool:
    name = info.filename
    if not stays_inside(name):
        raise DownloadError(f"{path}: holds the path {name!r}, which leads out of it; {_WAY_OUT}")
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise DownloadError(f"{path}: holds a link or device, {name!r}; {_WAY_OUT}")
    if info.flag_bits & _ENCRYPTED:
        raise DownloadError(
            f"{path}: {name!r} is encrypted, which no published archive is; {_WAY_OUT}"
        )
    return not info.is_dir()


def _overlapping(files: list[ZipInfo]) -> bool:
    """Whether two files share compressed bytes, by which a small archive grows without bound."""
    ordered = sorted(files, key=lambda info: info.header_offset)
    return any(
        first.header_offset + first.compress_size > second.header_offset
        for first, second in itertools.pairwise(ordered)
    )


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
