"""The folder layout of a challenge package, and its zip: written alike every time, read safely.

Lastname_INST_task2.zip
  task2/Lastname_INST_task2.technical_report.pdf
  task2/Lastname_INST_task2_1/Lastname_INST_task2_1.meta.yaml
  task2/Lastname_INST_task2_1/anomaly_score_fan_section_00_test.csv ...
"""

from __future__ import annotations

import io
import re
import stat
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

from dcase_asd.editions.edition import Edition
from dcase_asd.errors import SubmissionError, some
from dcase_asd.files import is_litter, stays_inside


@dataclass(frozen=True)
class Problem:
    """One finding: an ``error`` keeps a package from being accepted, a ``warning`` may not.

    `where` is the path within the package (or the label of a system); `what` says what is wrong
    and how to mend it.
    """

    level: Literal["error", "warning"]
    where: str
    what: str


def error(where: str, what: str) -> Problem:
    """A finding that keeps the package from being accepted."""
    return Problem("error", where, what)


def warning(where: str, what: str) -> Problem:
    """A finding that the author should look at."""
    return Problem("warning", where, what)


TASK_FOLDER = "task2"
PDF_START = b"%PDF-"

LARGEST_FILE = 64 * 2**20
"""Bytes; a technical report with figures is well below."""
LARGEST_PACKAGE = 256 * 2**20
"""Bytes unpacked; four systems of 10,000 scores each take 3 MiB."""
MOST_FILES = 10_000

_EARLIEST = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip can hold: the same for every member, so that bytes repeat."""
_FILE_MODE = (stat.S_IFREG | 0o644) << 16
_UNIX = 3

_LABEL = re.compile(r"(?P<package>[A-Za-z][A-Za-z-]*_[A-Za-z0-9-]+_task2)_(?P<number>[1-9]\d*)")


@dataclass
class Package:
    """What a package holds: path within it (``task2/…``) -> content.

    `name` is that of the zip without its suffix, empty for a folder.
    """

    name: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def systems(self) -> dict[str, dict[str, bytes]]:
        """Folder below ``task2/`` -> file name -> content, in order."""
        found: dict[str, dict[str, bytes]] = {}
        for name in sorted(self.files):
            parts = PurePosixPath(name).parts
            if len(parts) == 3 and parts[0] == TASK_FOLDER:  # noqa: PLR2004 - task2/label/file
                found.setdefault(parts[1], {})[parts[2]] = self.files[name]
        return found


def package_name(label: str, edition: Edition) -> str:
    """The package that a system belongs to: its label without the number.

    Raises:
        SubmissionError: The label is not ``<Lastname>_<Inst>_task2_<1-4>``.
    """
    match = _LABEL.fullmatch(label)
    most = edition.submission.maximum_systems
    if match is None:
        raise SubmissionError(
            f"the label {label!r} must read <Lastname>_<Inst>_{TASK_FOLDER}_<1-{most}> in plain "
            f"letters, digits and hyphens, such as Lastname_INST_{TASK_FOLDER}_1"
        )
    if int(match["number"]) > most:
        raise SubmissionError(
            f"the label {label!r} is number {match['number']}; {edition.name} takes at most "
            f"{most} systems: number them 1 to {most}"
        )
    return match["package"]


def meta_name(label: str) -> str:
    """Name of a system's meta file."""
    return f"{label}.meta.yaml"


def report_name(package: str) -> str:
    """Name of a package's technical report."""
    return f"{package}.technical_report.pdf"


def zip_content(files: Mapping[str, bytes]) -> bytes:
    """A zip of the files; the same files give the same bytes, whatever their age and owner."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in sorted(files):
            member = zipfile.ZipInfo(name, date_time=_EARLIEST)
            member.create_system = _UNIX
            member.external_attr = _FILE_MODE
            member.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(member, files[name])
    return buffer.getvalue()


def read_package(path: str | Path) -> Package:
    """Read a package into memory, from a zip or from the folder that `submit` makes.

    Nothing is unpacked to disk. Litter is passed over (see `files`), in a zip with a
    warning. Members that would leave the package, links, duplicates, damaged and oversized members
    are left out and listed as problems.

    Raises:
        SubmissionError: There is no such file or folder.
    """
    path = Path(path)
    if path.is_dir():
        return _read_folder(path)
    if not path.is_file():
        raise SubmissionError(
            f"{path}: no such package; give the zip or folder that `submit` makes"
        )
    return _read_zip(path)


def _read_folder(path: Path) -> Package:
    package = Package()
    task = path if path.name == TASK_FOLDER else path / TASK_FOLDER
    if not task.is_dir():
        package.problems.append(error(TASK_FOLDER, f"{path} holds no folder {TASK_FOLDER}/"))
        return package
    total = 0
    for file in sorted(task.rglob("*")):
        name = file.relative_to(task.parent).as_posix()
        if is_litter(name):
            continue
        if file.is_symlink():
            package.problems.append(error(name, "is a link; put the file itself there"))
        elif file.is_file():
            total += file.stat().st_size
            if not _too_large(package, name, file.stat().st_size, total):
                package.files[name] = file.read_bytes()
    return package


def _read_zip(path: Path) -> Package:
    package = Package(path.stem)
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if len(members) > MOST_FILES:
                package.problems.append(
                    error(path.name, f"{len(members)} members; a package has at most {MOST_FILES}")
                )
                return package
            names = [member.filename for member in members]
            litter = {name for name in names if is_litter(name) and stays_inside(name)}
            if litter:
                what = f"left by an operating system: {some(litter)}; take that out of the zip"
                package.problems.append(warning(TASK_FOLDER, what))
            kept = [member for member in members if member.filename not in litter]
            _read_members(archive, kept, package)
    except (zipfile.BadZipFile, OSError) as fault:
        package.problems.append(error(path.name, f"not a readable zip ({fault}); submit again"))
    return package


def _read_members(
    archive: zipfile.ZipFile, members: list[zipfile.ZipInfo], package: Package
) -> None:
    total = 0
    names: set[str] = set()
    for member in members:
        name = member.filename
        if not stays_inside(name):
            package.problems.append(error(name, "the path leaves the package; take it out"))
        elif name in names:
            package.problems.append(error(name, "stands in the zip twice; keep one"))
        elif stat.S_ISLNK(member.external_attr >> 16):
            package.problems.append(error(name, "is a link; put the file itself there"))
        elif not member.is_dir():
            names.add(name)
            # The header may lie about the size: no more than the limit is ever unpacked.
            try:
                with archive.open(member) as stream:
                    content = stream.read(LARGEST_FILE + 1)
            except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as fault:
                package.problems.append(error(name, f"is damaged ({fault}); submit again"))
                continue
            except RuntimeError:
                package.problems.append(error(name, "is encrypted; zip it without a password"))
                continue
            total += len(content)
            if total > LARGEST_PACKAGE:
                package.problems.append(_oversized(name))
                return
            if not _too_large(package, name, max(len(content), member.file_size), total):
                package.files[name] = content


def _too_large(package: Package, name: str, size: int, total: int) -> bool:
    if size > LARGEST_FILE:
        limit = f"{LARGEST_FILE // 2**20} MiB"
        package.problems.append(error(name, f"unpacks to more than {limit}; take it out"))
        return True
    if total > LARGEST_PACKAGE:
        package.problems.append(_oversized(name))
        return True
    return False


def _oversized(name: str) -> Problem:
    limit = f"{LARGEST_PACKAGE // 2**20} MiB"
    return error(name, f"the package unpacks to more than {limit}; nothing further was read")
