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
from dcase_asd.downloads.request import incoming_folder, official
from dcase_asd.downloads.zenodo import read_record
from dcase_asd.editions.publication import LabelSource
from dcase_asd.errors import DownloadError, EditionError
from dcase_asd.files import is_litter, only_writer, write_json
from dcase_asd.progress import Advance, Progress, Silent


@dataclass(frozen=True)
class LabelPlan:
    """The labels of an edition: where they come from, the folder for them, whether they are there.

    The folder has the shape of an official evaluator, as ``evaluate --ground-truth`` reads it.
    """

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
        folder = Path(data) / "ground_truth" / edition.name
        plans.append(LabelPlan(edition.name, edition.ground_truth, folder, folder.exists()))
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
    plan.folder.parent.mkdir(parents=True, exist_ok=True)
    with only_writer(plan.folder.parent):
        temporary = plan.folder.parent / f".unpacking-{plan.edition}"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        try:
            if checkout is not None:
                _copy(plan.source, Path(checkout), plan.edition, temporary)
                progress.note(f"{checkout}: taken as it is; its commit was not checked")
            else:
                with Connection(mirror, patience) as connection:
                    _fetch(plan, connection, temporary, progress)
            _require_all(plan.source, temporary, str(checkout or plan.source.page))
            write_json(temporary / "source.json", _provenance(plan.source, checkout))
            temporary.rename(plan.folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _fetch(plan: LabelPlan, connection: Connection, folder: Path, progress: Progress) -> None:
    source = plan.source
    downloads = incoming_folder(folder.parents[1], plan.edition)
    with progress.bar(f"Labels of {plan.edition}", 0, "bytes") as advance:
        if source.record:
            record = read_record(connection, source.record)
            for name in source.paths:
                file = record.files.get(name)
                if file is None:
                    raise DownloadError(f"{source.page}: holds no {name}; was it replaced?")
                url = f"{source.page}/files/{name}"
                fetch(connection, RemoteFile(url, file.size, file.checksum), folder / name, advance)
            return
        archive = downloads / f"{source.repository.partition('/')[2]}-{source.commit}.zip"
        if not archive.exists():
            fetch(connection, RemoteFile(source.archive), archive, advance)
        _take_labels(source, archive, folder, advance, connection)


def _take_labels(
    source: LabelSource, archive: Path, folder: Path, advance: Advance, connection: Connection
) -> None:
    """Unpack the labels of a repository's archive, if it is of the right commit."""
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


def _copy(source: LabelSource, checkout: Path, edition: str, folder: Path) -> None:
    name = source.repository.partition("/")[2]
    roots = [checkout, checkout / name, checkout / edition] if name else [checkout]
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


def _require_all(source: LabelSource, folder: Path, where: str) -> None:
    for path in source.paths:
        labels = folder / PurePosixPath(path).name
        if not labels.is_file() and not any(labels.glob("*.csv")):
            raise DownloadError(f"{where}: holds no labels in {path}; nothing was changed")


def _provenance(source: LabelSource, checkout: str | Path | None) -> dict[str, str]:
    origin = (
        source.page if checkout is None else f"a folder of the user's, said to be {source.page}"
    )
    return {"source": origin, "licence": source.licence, "terms": source.terms}
