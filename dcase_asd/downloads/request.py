"""The published archives that a user wants, and what of each is on the disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from dcase_asd.clips.tree import SUPPLEMENTAL, holds_clips
from dcase_asd.downloads.http import Patience
from dcase_asd.downloads.partial import part_path
from dcase_asd.editions.edition import Edition, load_edition, official_editions
from dcase_asd.editions.publication import PART_FOLDERS, PARTS, Archive, Part, Record
from dcase_asd.errors import EditionError, nearest_name
from dcase_asd.files import read_json
from dcase_asd.folders import DataFolder

State = Literal["done", "own", "unpacked", "archive", "begun", "absent"]
"""``done``: downloaded and unpacked earlier; ``own``: clips are there that somebody else unpacked;
``unpacked``: an interrupted run left only the last move or the tidying; ``archive``: the zip is
there; ``begun``: a part of it is; ``absent``: nothing is."""

STAGED_NOTE = "archive.json"
"""The note, while it lies beside the clips that wait for their move."""


@dataclass(frozen=True)
class Request:
    """What a user wants: the options of ``dcase-asd download``.

    `machines` empty means all. `source` is a folder with zips from elsewhere: then nothing is
    fetched. `jobs` is how many files are fetched at once.
    """

    data: Path
    editions: tuple[str, ...]
    parts: tuple[Part, ...] = PARTS
    machines: tuple[str, ...] = ()
    noise_only: bool = False
    source: Path | None = None
    mirror: str = ""
    jobs: int = 3
    keep_archives: bool = False
    patience: Patience = field(default_factory=Patience)

    def __post_init__(self) -> None:
        object.__setattr__(self, "data", Path(self.data))
        if self.source is not None:
            object.__setattr__(self, "source", Path(self.source))


@dataclass(frozen=True)
class PlannedFile:
    """One published archive and what is to be done about it.

    Attributes:
        request: What it is a part of.
        target: The machine's folder in the data tree.
        found: Where the archive lies, None where it does not.
        size: Bytes of the archive, None where not known.
        checksum: As ``md5:…``, empty where not known.
        fetched: Bytes that have come already.
        problem: Why it cannot be had; empty where it can.
    """

    request: Request
    edition: str
    part: Part
    archive: Archive
    record: Record
    target: Path
    found: Path | None = None
    state: State = "absent"
    size: int | None = None
    checksum: str = ""
    fetched: int = 0
    problem: str = ""

    @property
    def complete(self) -> bool:
        """Whether nothing is to be done."""
        return self.state in ("done", "own")

    @property
    def folders(self) -> tuple[str, ...]:
        """Split folders of the machine that it fills."""
        return (SUPPLEMENTAL,) if self.request.noise_only else self.record.folders

    @property
    def staged(self) -> Path:
        """Where the unpacked archive lies until it is moved to its place, on the same disk."""
        return self.target.parent / f".unpacked-{self.archive.name}"

    @property
    def kept(self) -> Path:
        """Where the archive lies that is kept."""
        return DataFolder(self.request.data).downloads(self.edition) / self.archive.name

    @property
    def incoming(self) -> Path:
        """Where the archive lies that goes as soon as it is unpacked."""
        return self.kept.parent / "incoming" / self.archive.name

    @property
    def path(self) -> Path:
        """Where the archive lies or will lie."""
        return self.found or self.incoming

    @property
    def note(self) -> Path:
        """Where it is noted that the archive was unpacked."""
        return _note_beside(self.kept)


def read_note(path: Path) -> dict[str, Any] | None:
    """What a note says: ``archive size checksum folders noise_only``; None where there is none."""
    note = read_json(path)
    complete = {"archive", "size", "checksum", "folders", "noise_only"}
    return note if note and note.keys() >= complete else None


def official(name: str) -> Edition:
    """A year of the challenge.

    Raises:
        EditionError: There is no such year.
    """
    edition = load_edition(name)
    if not edition.official:
        hint = nearest_name(name, official_editions())
        raise EditionError(f"{name}: no year of the challenge, so nothing is published; {hint}")
    return edition


def select(request: Request) -> list[PlannedFile]:
    """The archives that a request names, and what of them is there; no server is asked yet.

    Raises:
        EditionError: An edition does not exist, or publishes nothing of what is wanted.
    """
    editions = {edition.name: edition for edition in map(official, request.editions)}
    files = [
        file
        for edition in editions.values()
        for part in request.parts
        for file in _files(edition, part, request)
    ]
    what = f"{', '.join(editions)} ({', '.join(request.parts)})"
    if not files:
        raise EditionError(f"{what}: publishes no supplemental clips; dcase2025 dev and add do")
    machines = {file.archive.machine for file in files}
    for machine in request.machines:
        if machine not in machines:
            raise EditionError(
                f"{what}: has no machine {machine}; {nearest_name(machine, machines)}"
            )
    wanted = request.machines or machines
    return [inspect(file) for file in files if file.archive.machine in wanted]


def _files(edition: Edition, part: Part, request: Request) -> Iterator[PlannedFile]:
    record = edition.records[part]
    if request.noise_only and SUPPLEMENTAL not in record.folders:
        return
    raw = request.data / edition.folder / PART_FOLDERS[part] / "raw"
    for archive in record.archives:
        # Clips are moved within one disk, also where a machine's folder is a link to another.
        target = (raw / archive.machine).resolve()
        checksum = f"md5:{archive.md5}" if archive.md5 else ""
        yield PlannedFile(request, edition.name, part, archive, record, target, checksum=checksum)


def inspect(file: PlannedFile) -> PlannedFile:
    """Look what is there of a file."""
    note = read_note(file.note)
    if note and _covers(note, file) and _has_clips(file, note["folders"]):
        tidy = not file.staged.exists() and not file.path.exists()
        return replace(file, state="done" if tidy else "unpacked", size=note["size"])
    staged = read_note(file.staged / STAGED_NOTE)
    if staged and _covers(staged, file):
        return replace(file, state="unpacked", size=staged["size"])
    if not staged and _has_clips(file, file.folders):
        return replace(file, state="own")
    return _find_archive(file)


def _covers(note: dict[str, Any], file: PlannedFile) -> bool:
    """Whether what was unpacked is all that is wanted."""
    return file.request.noise_only or not note["noise_only"]


def _has_clips(file: PlannedFile, folders: Iterable[str]) -> bool:
    return all(holds_clips(file.target / folder) for folder in folders)


def _find_archive(file: PlannedFile) -> PlannedFile:
    """Look whether the archive, or its beginning, lies where it may."""
    source = file.request.source
    places = [file.kept, file.incoming] if source is None else _brought_archives(file, source)
    for path in places:
        if path.is_file():
            note = read_note(_note_beside(path))
            size, checksum = path.stat().st_size, file.checksum or (note or {}).get("checksum", "")
            return replace(
                file, found=path, state="archive", size=size, checksum=checksum, fetched=size
            )
    if source is not None:
        wanted = source / file.edition / file.archive.name
        return replace(file, problem=f"{wanted}: not there; put it there, or leave out --from")
    part = part_path(file.incoming)
    return replace(file, state="begun", fetched=part.stat().st_size) if part.exists() else file


def _brought_archives(file: PlannedFile, source: Path) -> list[Path]:
    """Where a zip counts that the user brought: below its edition's folder, or beside others.

    Several years have archives of one name (``dev_fan.zip``). Beside each other in one folder they
    cannot be told apart, so there one counts only if its checksum is known or its name is unique.
    """
    edition, name = load_edition(file.edition), file.archive.name
    folders = [file.edition, edition.folder, str(edition.year)]
    names = Counter(
        archive.name
        for other in {official(other).name for other in file.request.editions}
        for record in load_edition(other).records.values()
        for archive in record.archives
    )
    if file.checksum or names[name] == 1:
        folders.append("")
    return [source / folder / name for folder in folders]


def _note_beside(archive: Path) -> Path:
    return archive.with_name(f"{archive.name}.json")
