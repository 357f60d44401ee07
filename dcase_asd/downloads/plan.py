"""What a download would do: which archives, how large, what is there already, does it fit."""

from __future__ import annotations

from dataclasses import dataclass, replace

from dcase_asd.downloads.archive import free_space, list_members
from dcase_asd.downloads.http import Connection, UnreachableError
from dcase_asd.downloads.request import PlannedFile, Request, select
from dcase_asd.downloads.zenodo import ZenodoRecord, read_record
from dcase_asd.editions.publication import Part
from dcase_asd.errors import DataError, DownloadError
from dcase_asd.progress import size_text

UNPACKED_RATIO = 1.4
"""Size of the clips over size of their zip, where only the latter is known. The 5550 clips of
2020's fan (10 s, 16 kHz, 16 bit) are 1.31 times as large as its zip."""


@dataclass(frozen=True)
class Plan:
    """What will be done; sizes in bytes.

    `licences` has a row for each record: edition, part, licence (empty where not known), page.
    `notes` say what could not be found out. `unreachable` is the message of a server to which there
    is no way, empty where all is well.
    """

    request: Request
    files: tuple[PlannedFile, ...]
    licences: tuple[tuple[str, Part, str, str], ...]
    notes: tuple[str, ...]
    unreachable: str
    archives_size: int
    unpacked_size: int
    free: int

    @property
    def needed(self) -> int:
        """Room that it takes at its peak, with what is on its way."""
        return self.archives_size + self.unpacked_size

    def require_space(self) -> None:
        """Refuse what cannot end well.

        Raises:
            DownloadError: The disk cannot hold it.
        """
        if self.needed > self.free:
            raise DownloadError(
                f"{self.request.data}: about {size_text(self.needed)} are needed and "
                f"{size_text(self.free)} are free; make room, choose less with --split or "
                "--machine, or name a folder on another disk with --data"
            )


def plan_download(request: Request) -> Plan:
    """Find out what is wanted, what is there and what it takes; changes nothing.

    Raises:
        EditionError: An edition does not exist, or publishes nothing of what is wanted.
        DataError: `request.source` is no folder.
    """
    if request.source is not None and not request.source.is_dir():
        raise DataError(f"{request.source}: no folder; --from names the folder of your zips")
    wanted = select(request)
    records: dict[int, ZenodoRecord] = {}
    notes: list[str] = []
    unreachable = ""
    if numbers := sorted({file.record.number for file in wanted if _asks_record(file)}):
        with Connection(request.mirror, request.patience) as connection:
            for number in numbers:
                try:
                    records[number] = read_record(connection, number)
                except DownloadError as error:
                    notes = notes or [f"sizes and checksums could not be read: {error}"]
                    if isinstance(error, UnreachableError):
                        unreachable = str(error)
                        break
    files = [_describe(file, records.get(file.record.number)) for file in wanted]
    archives, unpacked = _room(files, request)
    return Plan(
        request=request, files=tuple(files), licences=_licences(files, records), notes=tuple(notes),
        unreachable=unreachable, archives_size=archives, unpacked_size=unpacked,
        free=free_space(request.data),
    )  # fmt: skip


def _asks_record(file: PlannedFile) -> bool:
    """Whether the record has to say something about a file."""
    if file.complete or file.state == "unpacked" or file.request.source is not None:
        return False
    return file.state != "archive" or not file.checksum


def _describe(file: PlannedFile, record: ZenodoRecord | None) -> PlannedFile:
    """Add what the record says."""
    if record is None or not _asks_record(file):
        return file
    published = record.files.get(file.archive.name)
    if published is None:
        problem = f"{file.record.page} holds no {file.archive.name}; was it replaced?"
        return replace(file, problem=problem)
    if file.checksum not in ("", published.checksum):
        problem = (
            f"{file.record.page} has another {file.archive.name} ({published.checksum}) than the "
            f"published one ({file.checksum}); do not use it before you know why"
        )
        return replace(file, problem=problem)
    return replace(file, size=published.size, checksum=published.checksum)


def _room(files: list[PlannedFile], request: Request) -> tuple[int, int]:
    """Bytes that archives and clips will take at the peak, beyond what is there."""
    coming = [file for file in files if not file.complete and not file.problem]
    missing = sorted((max(0, (f.size or 0) - f.fetched) for f in coming), reverse=True)
    # Archives that are not kept go as soon as they are unpacked: only those under way count.
    archives = sum(missing if request.keep_archives else missing[: request.jobs])
    return archives, sum(_unpacked(file) for file in coming)


def _unpacked(file: PlannedFile) -> int:
    if file.state == "unpacked" or file.request.noise_only or file.size is None:
        return 0
    if file.state == "archive":
        try:
            return sum(list_members(file.path).values())
        except DownloadError:
            return 0  # said when it is unpacked
    return int(file.size * UNPACKED_RATIO)


def _licences(
    files: list[PlannedFile], records: dict[int, ZenodoRecord]
) -> tuple[tuple[str, Part, str, str], ...]:
    rows = {}
    for file in files:
        number = file.record.number
        licence = records[number].licence if number in records else ""
        rows[number] = (file.edition, file.part, licence or file.record.licence, file.record.page)
    return tuple(rows.values())
