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
        folders: Split folders of the machine that it fills.
        target: The machine's folder in the data tree.
        path: Where the archive lies or will lie.
        note: Where it is noted that the archive was unpacked.
        size: Bytes of the archive, None where not known.
        checksum: As ``md5:…``, empty where not known.
        fetched: Bytes that have come already.
        problem: Why it cannot be had; empty where it can.
    """

    edition: str
    part: Part
    archive: Archive
    record: Record
    folders: tuple[str, ...]
    noise_only: bool
    target: Path
    path: Path
    note: Path
    state: State
    size: int | None
    checksum: str
    fetched: int = 0
    problem: str = ""

    @property
    def complete(self) -> bool:
        """Whether nothing is to be done."""
        return self.state in ("done", "own")

    @property
    def staged(self) -> Path:
        """Where the unpacked archive lies until it is moved to its place, on the same disk."""
        return self.target.parent / f".unpacked-{self.archive.name}"


def downloads_folder(data: Path, edition: str) -> Path:
    """Where archives of an edition are kept, and the notes of which were unpacked."""
    return data / "downloads" / edition


def incoming_folder(data: Path, edition: str) -> Path:
    """Where archives lie that go as soon as they are unpacked."""
    return downloads_folder(data, edition) / "incoming"


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
    """The archives that a request names; nothing is looked up yet.

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
    return [
        file for file in files if not request.machines or file.archive.machine in request.machines
    ]


def _files(edition: Edition, part: Part, request: Request) -> Iterator[PlannedFile]:
    record = edition.records[part]
    if request.noise_only and SUPPLEMENTAL not in record.folders:
        return
    raw = request.data / edition.folder / PART_FOLDERS[part] / "raw"
    downloads = downloads_folder(request.data, edition.name)
    for archive in record.archives:
        yield PlannedFile(
            edition=edition.name,
            part=part,
            archive=archive,
            record=record,
            folders=(SUPPLEMENTAL,) if request.noise_only else record.folders,
            noise_only=request.noise_only,
            # Clips are moved within one disk, also where a machine's folder is a link to another.
            target=(raw / archive.machine).resolve(),
            path=incoming_folder(request.data, edition.name) / archive.name,
            note=downloads / f"{archive.name}.json",
            state="absent",
            size=None,
            checksum=f"md5:{archive.md5}" if archive.md5 else "",
        )


def inspect(file: PlannedFile, request: Request) -> PlannedFile:
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
    return _find_archive(file, request)


def _find_archive(file: PlannedFile, request: Request) -> PlannedFile:
    """Look whether the archive, or its beginning, lies where it may."""
    if request.source is not None:
        brought = _brought_archive(file, request.source, request)
        if brought is None:
            wanted = request.source / file.edition / file.archive.name
            return replace(file, problem=f"{wanted}: not there; put it there, or leave out --from")
        return _with_archive(file, brought)
    for path in (file.note.with_suffix(""), file.path):
        if path.exists():
            return _with_archive(file, path)
    part = part_path(file.path)
    return replace(file, state="begun", fetched=part.stat().st_size) if part.exists() else file


def _brought_archive(file: PlannedFile, source: Path, request: Request) -> Path | None:
    """A zip that the user brought: in a folder called after its edition, or in the folder itself.

    Several years have archives of one name (``dev_fan.zip``). Beside each other in one folder they
    cannot be told apart, so there one counts only if its checksum is known or its name is unique.
    """
    edition = load_edition(file.edition)
    for folder in (file.edition, edition.folder, str(edition.year)):
        if (source / folder / file.archive.name).is_file():
            return source / folder / file.archive.name
    path = source / file.archive.name
    if not path.is_file():
        return None
    names = Counter(
        archive.name
        for name in {official(name).name for name in request.editions}
        for record in load_edition(name).records.values()
        for archive in record.archives
    )
    return path if file.checksum or names[path.name] == 1 else None


def _covers(note: dict[str, Any], file: PlannedFile) -> bool:
    """Whether what was unpacked is all that is wanted."""
    return file.noise_only or not note["noise_only"]


def _has_clips(file: PlannedFile, folders: Iterable[str]) -> bool:
    return all(holds_clips(file.target / folder) for folder in folders)


def _with_archive(file: PlannedFile, path: Path) -> PlannedFile:
    note = read_note(path.with_name(path.name + ".json"))
    size = path.stat().st_size
    checksum = file.checksum or (note["checksum"] if note else "")
    return replace(file, path=path, state="archive", size=size, checksum=checksum, fetched=size)
