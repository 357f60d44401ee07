"""Fetch an edition's evaluation labels, pinned by commit; they are never part of this project."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from dcase_asd.downloads.archive import archive_comment, list_members, unpack
from dcase_asd.downloads.fetch import fetch
from dcase_asd.downloads.http import Connection, Patience
from dcase_asd.downloads.partial import RemoteFile
from dcase_asd.downloads.request import official
from dcase_asd.downloads.zenodo import read_record
from dcase_asd.editions.publication import LabelSource
from dcase_asd.errors import DownloadError, EditionError
from dcase_asd.files import is_litter, only_writer, write_json
from dcase_asd.folders import DataFolder
from dcase_asd.progress import Advance, Progress, Silent


@dataclass(frozen=True)
class LabelPlan:
    """The labels of an edition: where they come from, the folder for them, whether they are there.

    `folder` stands below the data folder `data`; it has the shape of an official evaluator, as
    ``evaluate --ground-truth`` reads it.
    """

    data: Path
    edition: str
    source: LabelSource
    folder: Path
    there: bool


def plan_labels(data: str | Path, editions: Iterable[str]) -> list[LabelPlan]:
    """Find out which labels are wanted and which are there.

    Raises:
        EditionError: An edition does not exist or publishes no labels.
    """
    plans = []
    for edition in {edition.name: edition for edition in map(official, editions)}.values():
        if edition.ground_truth is None:
            raise EditionError(f"{edition.name}: no labels of its evaluation set are published")
        folder = DataFolder(Path(data)).ground_truth(edition.name)
        plans.append(
            LabelPlan(Path(data), edition.name, edition.ground_truth, folder, folder.exists())
        )
    return plans


def fetch_labels(
    plan: LabelPlan,
    *,
    checkout: str | Path | None = None,
    mirror: str = "",
    patience: Patience | None = None,
    progress: Progress | None = None,
) -> None:
    """Put an edition's labels into its folder, whole or not at all.

    The caller has shown the licence to the user, who accepted it.

    Args:
        plan: What to fetch, as `plan_labels` made it.
        checkout: A folder that holds the evaluator already; then nothing is fetched.
        mirror: Address that takes the place of scheme and host.
        patience: How long faults of the server are borne.
        progress: Told what the user should know.

    Raises:
        DownloadError: The labels cannot be fetched, or are not what is expected there.
    """
    progress = progress or Silent()
    if plan.there:
        return
    with only_writer(plan.folder.parent):
        temporary = plan.folder.parent / f".unpacking-{plan.edition}"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        source, origin = plan.source, plan.source.page
        try:
            if checkout is not None:
                _copy(plan, Path(checkout), temporary)
                progress.note(f"{checkout}: taken as it is; its commit was not checked")
                origin = f"a folder of the user's, said to be {origin}"
            else:
                with Connection(mirror, patience) as connection:
                    _fetch(plan, connection, temporary, progress)
            for path in source.paths:
                labels = temporary / PurePosixPath(path).name
                if not labels.is_file() and not any(labels.glob("*.csv")):
                    where = checkout or source.page
                    raise DownloadError(f"{where}: holds no labels in {path}; nothing was changed")
            note = {"source": origin, "licence": source.licence, "terms": source.terms}
            write_json(temporary / "source.json", note)
            temporary.rename(plan.folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _fetch(plan: LabelPlan, connection: Connection, folder: Path, progress: Progress) -> None:
    source = plan.source
    with progress.bar(f"Labels of {plan.edition}", 0, "bytes") as advance:
        if not source.record:
            _fetch_repository(plan, connection, folder, advance)
            return
        record = read_record(connection, source.record)
        for name in source.paths:
            if name not in record.files:
                raise DownloadError(f"{source.page}: holds no {name}; was it replaced?")
            fetch(connection, record.files[name], folder / name, advance)


def _fetch_repository(
    plan: LabelPlan, connection: Connection, folder: Path, advance: Advance
) -> None:
    """Unpack the labels of a repository's archive, if it is of the right commit."""
    source = plan.source
    name = f"{source.repository.partition('/')[2]}-{source.commit}.zip"
    archive = DataFolder(plan.data).downloads(plan.edition) / "incoming" / name
    if not archive.exists():
        fetch(connection, RemoteFile(source.archive), archive, advance)
    if not archive_comment(archive).startswith(source.commit):
        archive.unlink()
        raise DownloadError(
            f"{connection.address(source.archive)}: what came is not commit {source.commit}; "
            "it was thrown away: try without --mirror, or --from a checkout"
        )
    places = {
        name: place
        for name in list_members(archive)
        # The archive of a repository begins with one folder, <name>-<commit>.
        if (place := _place(source, name.partition("/")[2]))
    }
    unpack(archive, folder, places.get, advance, connection.check_stop)
    archive.unlink()


def _copy(plan: LabelPlan, checkout: Path, folder: Path) -> None:
    source = plan.source
    name = source.repository.partition("/")[2]
    roots = [checkout, checkout / name, checkout / plan.edition] if name else [checkout]
    for root in roots:
        if not any((root / path).exists() for path in source.paths):
            continue
        for path in sorted(path for path in root.rglob("*") if path.is_file()):
            place = _place(source, path.relative_to(root).as_posix())
            if place:
                (folder / place).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, folder / place)
        return
    raise DownloadError(
        f"{checkout}: holds no {' or '.join(source.paths)}; "
        f"--from names a checkout of {source.page}"
    )


def _place(source: LabelSource, path: str) -> str | None:
    """Where a file of the repository goes: labels and their licence are taken, nothing else."""
    if is_litter(path):
        return None
    if path in source.paths:
        return PurePosixPath(path).name
    folder, _, name = path.rpartition("/")
    if folder in source.paths and name.endswith(".csv"):
        return path
    return path if not folder and name.upper().startswith(("LICENSE", "LICENCE")) else None
