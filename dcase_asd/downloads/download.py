"""Do what a plan says: fetch, check, unpack, several archives at once."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import partial

from dcase_asd.downloads.fetch import fetch
from dcase_asd.downloads.http import Connection, run_parallel
from dcase_asd.downloads.install import finish, install
from dcase_asd.downloads.partial import RemoteFile, file_checksum, memo_path
from dcase_asd.downloads.plan import Plan
from dcase_asd.downloads.request import STAGED_NOTE, PlannedFile, inspect, read_note
from dcase_asd.errors import DcaseAsdError, DownloadError
from dcase_asd.files import only_writer
from dcase_asd.folders import DataFolder
from dcase_asd.progress import Advance, Progress, Silent


@dataclass(frozen=True)
class Outcome:
    """How it went: how many archives are unpacked now, and a sentence for each that is not."""

    complete: int
    problems: tuple[str, ...]


def download(plan: Plan, progress: Progress | None = None) -> Outcome:
    """Fetch and unpack what a plan names; a problem with one archive does not stop the others.

    Args:
        plan: As `plan_download` made it.
        progress: Told about every file and about all of them.

    Returns:
        What is there and what is not.

    Raises:
        DownloadError: The disk cannot hold it, or there is no way to the server.
        ArtifactError: Another process is downloading into the same folder.
    """
    progress = progress or Silent()
    request = plan.request
    plan.require_space()
    open_files = [file for file in plan.files if not file.complete]
    if plan.unreachable and any(file.state in ("absent", "begun") for file in open_files):
        raise DownloadError(plan.unreachable)
    if not open_files:
        return Outcome(len(plan.files), ())
    for message in plan.notes:
        progress.note(message)
    total = sum(file.size or 0 for file in open_files if file.state in ("absent", "begun"))
    with (
        only_writer(DataFolder(request.data).downloads("")),
        Connection(request.mirror, request.patience) as connection,
        progress.bar("All files", total, "bytes") as advance,
    ):
        tasks = [partial(_get, file, connection, progress, advance) for file in open_files]
        results = run_parallel(tasks, request.jobs, connection.stop)
    problems = tuple(str(result) for result in results if isinstance(result, DcaseAsdError))
    return Outcome(len(plan.files) - len(problems), problems)


def _get(
    file: PlannedFile, connection: Connection, progress: Progress, advance_all: Advance
) -> None:
    try:
        if note := read_note(file.staged / STAGED_NOTE):
            finish(file, note, progress)
        if inspect(file).state in ("done", "unpacked"):
            _clear(file)
            return
        if file.problem:
            raise DownloadError(file.problem)
        if file.state == "archive":
            checksum = _check_archive(file, progress)
        else:
            checksum = _fetch(file, connection, progress, advance_all)
        install(file, checksum, progress, connection.check_stop)
        _clear(file)
    except OSError as error:
        where, reason = error.filename2 or error.filename or file.path, error.strerror or str(error)
        raise DownloadError(
            f"{where}: {reason}; mend that and run the same command again"
        ) from error


def _fetch(
    file: PlannedFile, connection: Connection, progress: Progress, advance_all: Advance
) -> str:
    remote = RemoteFile(file.record.address(file.archive.name), file.size, file.checksum)
    if not file.checksum:
        raise DownloadError(
            f"{remote.url}: its checksum is known neither here nor from the record, so it is not "
            "fetched; try again later, or fetch it by hand and use --from"
        )
    with progress.bar(file.archive.name, file.size or 0, "bytes") as advance_one:

        def advance(count: int) -> None:
            advance_one(count)
            advance_all(count)

        return f"{remote.algorithm}:{fetch(connection, remote, file.path, advance)}"


def _check_archive(file: PlannedFile, progress: Progress) -> str:
    """Checksum of an archive that lies on the disk, verified where one is known."""
    algorithm = file.checksum.partition(":")[0] or "md5"
    checksum = f"{algorithm}:{file_checksum(file.path, algorithm)}"
    if not file.checksum:
        progress.note(
            f"{file.path}: its checksum is not known, so only its own (CRC-32) are checked"
        )
    elif checksum != file.checksum:
        raise DownloadError(
            f"{file.path}: not the {file.archive.name} of {file.edition} ({checksum} instead of "
            f"{file.checksum}); fetch it again"
        )
    return checksum


def _clear(file: PlannedFile) -> None:
    """Remove an archive that was fetched, or keep it if that is wanted; never a user's own."""
    shutil.rmtree(file.staged, ignore_errors=True)
    if file.request.keep_archives and file.incoming.exists():
        file.incoming.replace(file.kept)
    file.incoming.unlink(missing_ok=True)
    memo_path(file.incoming).unlink(missing_ok=True)
