"""Embeddings of one machine of one edition: an array, the clips of its rows, a marker."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dcase_asd.errors import ArtifactError, command
from dcase_asd.files import read_json, read_table, replacing, write_json, write_table
from dcase_asd.folders import PLAN, there_or_made
from dcase_asd.recipe.subset import EVERYTHING, Subset
from dcase_asd.recipe.system import ADDED, read_system, recipe_path

COLUMNS: dict[str, type] = {"file": str, "section": str, "domain": str, "split": str}
"""Columns that tell which clip a row of the array belongs to."""

MEMBERS = "members"
"""Folder of a fine-tuned run with the embeddings of each of several checkpoints."""


@dataclass(frozen=True)
class MachineEmbeddings:
    """Embeddings of one machine.

    Attributes:
        stage: ``dev`` or ``eval``.
        machine: Machine type.
        clips: One row per clip with the columns of `COLUMNS`.
        vectors: Embeddings in the same order, (n, d), or (n, bands, d) where bands are kept
            apart, float32, mapped from disk.
        provenance: What made them: `backbone`, `parameters`, `sample_rate`, `fingerprint`; in
            `content` the hash of each clip's audio, in `notes` what has to be known of it,
            in `silent` the files without any sound.
        marker: Where the provenance is; without this file they are made again.
    """

    stage: str
    machine: str
    clips: pd.DataFrame
    vectors: NDArray[np.float32]
    provenance: dict[str, Any]
    marker: Path


def embeddings_folder(run: str | Path, edition: str) -> Path:
    """Where a run's embeddings of an edition lie."""
    return Path(run) / "embeddings" / edition


def machine_marker(run: str | Path, edition: str, stage: str, machine: str) -> Path:
    """The marker of a machine's embeddings, written last; the array and table lie beside it."""
    return embeddings_folder(run, edition) / stage / f"{machine}.json"


def is_complete(marker: str | Path, fingerprint: str) -> bool:
    """Whether embeddings were finished from the very inputs that have this fingerprint."""
    content = read_json(marker)
    return content is not None and content.get("fingerprint") == fingerprint


@contextmanager
def writing_vectors(
    marker: str | Path, rows: int, shape: int | tuple[int, ...]
) -> Iterator[BinaryIO]:
    """Write an array row after row, without holding it in memory.

    Args:
        marker: Of the machine.
        rows: Clips.
        shape: Of one clip's embedding: its length, or (bands, length of each).

    Yields:
        A file to write float32 rows to.

    Raises:
        ArtifactError: The file cannot be written.
    """
    marker = Path(marker)
    marker.unlink(missing_ok=True)
    with replacing(marker.with_suffix(".npy")) as temporary, temporary.open("wb") as file:
        whole = (rows, *(shape if isinstance(shape, tuple) else (shape,)))
        header = {"descr": "<f4", "fortran_order": False, "shape": whole}
        np.lib.format.write_array_header_1_0(file, header)
        yield file


def finish(marker: str | Path, clips: pd.DataFrame, provenance: dict[str, Any]) -> None:
    """Write the table of clips, then the marker that all is complete."""
    write_table(Path(marker).with_suffix(".csv"), clips, list(COLUMNS))
    write_json(marker, provenance)


def write_plan(
    run: str | Path,
    edition: str,
    machines: list[tuple[str, str]],
    data: str | Path | None = None,
    subset: Subset = EVERYTHING,
) -> None:
    """Write which machines (stage, machine type) an edition's embeddings consist of, and of where.

    Args:
        run: Run folder.
        edition: Which edition.
        machines: The machines.
        data: Data folder with their recordings; written as it was given, so that the same command
            writes the same everywhere.
        subset: Which clips of the edition are taken, where not all are.
    """
    plan: dict[str, Any] = {"machines": [list(machine) for machine in machines]}
    if data is not None:
        plan["data"] = str(data)
    if subset:
        plan["subset"] = subset.given()
    write_json(embeddings_folder(run, edition) / PLAN, plan)


def planned_data(run: str | Path, edition: str) -> Path | None:
    """The data folder that was embedded; None where that was not written down."""
    data = (read_json(embeddings_folder(run, edition) / PLAN) or {}).get("data")
    return None if data is None else Path(data)


def planned_subset(run: str | Path, edition: str) -> Subset:
    """Which clips of an edition's machine types and sections are embedded; all by default."""
    plan = read_json(embeddings_folder(run, edition) / PLAN) or {}
    return Subset(**plan.get("subset", {}))


def planned_markers(run: str | Path, edition: str) -> list[Path] | None:
    """Where the machines' markers are, or will be; None where nothing was begun."""
    plan = read_json(embeddings_folder(run, edition) / PLAN)
    if plan is None:
        return None
    return [machine_marker(run, edition, *machine) for machine in plan["machines"]]


def read_embeddings(run: str | Path, edition: str) -> list[MachineEmbeddings]:
    """Open a run's embeddings of an edition, sorted by stage and machine.

    Raises:
        ArtifactError: There are none, some are not finished, or a file is damaged.
    """
    run = Path(run)
    markers = planned_markers(run, edition)
    whole = run.parents[1] if run.parent.name == MEMBERS else run
    part = planned_subset(run, edition).flags()
    again = command("embed", "--data", "data", "--edition", edition, "--run", whole, *part)
    if markers is None:
        have = [path.parent.name for path in sorted(run.glob(f"embeddings/*/{PLAN}"))]
        raise ArtifactError(
            f"{run}: no embeddings of {edition} {there_or_made(edition, have, again)}"
        )
    missing = [f"{marker.parent.name} {marker.stem}" for marker in markers if not marker.exists()]
    if missing:
        raise ArtifactError(
            f"{run}: {len(missing)} of {len(markers)} machine(s) of {edition} are not embedded yet "
            f"({', '.join(missing)}); finish them with {again}"
        )
    machines = [_read_machine(marker, again) for marker in markers]
    if recipe_path(whole).is_file():
        wanted = read_system(whole).embed.added()
        for machine in machines:
            found = {name: machine.provenance[name] for name in ADDED if name in machine.provenance}
            if found != wanted:
                raise ArtifactError(
                    f"{whole}: {machine.stage} {machine.machine} of {edition} is embedded with "
                    f"{_told(found)}, not with {_told(wanted)} as its recipe says; embed "
                    f"it again with {again}"
                )
    return machines


def _told(settings: dict[str, Any]) -> str:
    words = [f"{name} = {value}" for name, value in settings.items()]
    return ", ".join(words) or "the plugin's own representation of the channel as it is"


def _read_machine(marker: Path, embed: str) -> MachineEmbeddings:
    again = f"remove this file and embed again with {embed}"
    provenance = read_json(marker)
    if provenance is None:
        raise ArtifactError(f"{marker}: damaged; {again}")
    clips = read_table(marker.with_suffix(".csv"), COLUMNS, embed)
    path = marker.with_suffix(".npy")
    try:
        vectors = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path}: damaged ({error}); {again}") from error
    if len(vectors) != len(clips):
        raise ArtifactError(f"{path}: {len(vectors)} rows for {len(clips)} clips; {again}")
    return MachineEmbeddings(marker.parent.name, marker.stem, clips, vectors, provenance, marker)


def rows_of(clips: pd.DataFrame, section: str, split: str) -> slice:
    """Where a section's clips of one split stand: one slice, as `embed` writes them together."""
    chosen = (clips["section"] == section) & (clips["split"] == split)
    rows = np.flatnonzero(chosen.to_numpy())
    return slice(int(rows[0]), int(rows[-1]) + 1) if len(rows) else slice(0, 0)
