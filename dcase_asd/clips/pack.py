"""Recordings packed for reading: the 16-bit samples of each machine in one file, and its index.

A recording is read from a pack only where the index names the hash of its audio as it is now, so
that another recording under the same name is never taken for it. What is no longer current, and
what has no 16-bit samples, is read from its own file; the samples are the same either way.
"""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from dcase_asd.audio import Mapped, content_hash, read_int16
from dcase_asd.clips.cache import content_hashes
from dcase_asd.clips.manifest import read_manifest, writing_manifest
from dcase_asd.errors import ArtifactError, AudioError, command
from dcase_asd.files import read_table, replacing, write_table
from dcase_asd.folders import DataFolder
from dcase_asd.progress import Advance, Progress, Silent, size_text


class _Row(NamedTuple):
    """Of an index: the hash of a recording's audio, and where that is in the pack.

    `offset` counts samples from the start of the pack; the channels stand one after the other.
    """

    path: str
    hash: str
    offset: int
    frames: int
    sample_rate: int
    channels: int


COLUMNS = {
    "path": str, "hash": str, "offset": int, "frames": int, "sample_rate": int, "channels": int,
}  # fmt: skip
LEFT_OUT = -1
"""Offset of a recording without 16-bit samples, which the pack does not hold."""


@dataclass(frozen=True)
class Packing:
    """What `pack_recordings` did.

    Attributes:
        written: Machines that were packed now.
        kept: Machines whose packs were current.
        recordings: Recordings in all packs.
        left_out: Recordings that have no 16-bit samples.
        bytes: Size of all packs.
    """

    written: int
    kept: int
    recordings: int
    left_out: int
    bytes: int


def pack_recordings(data: str | Path, progress: Progress | None = None) -> Packing:
    """Write a pack of each machine whose recordings are not those of the pack that is there.

    Args:
        data: Data folder with a manifest that is up to date.
        progress: Where to tell how much room that takes, before, and how far it is.

    Raises:
        ArtifactError: There is too little room, or a pack cannot be written.
    """
    data, progress = Path(data), progress or Silent()
    clips = read_manifest(data)
    hashes = content_hashes(data, list(clips["path"]), progress)
    packs = _by_pack(data, hashes)
    # Too much where clips have other than 16 bits, which is known when they are read.
    size = dict(zip(clips["path"], 2 * clips["frames"] * clips["channels"], strict=True))
    with writing_manifest(data):
        waiting = {
            pack: paths
            for pack, paths in packs.items()
            if (index := _read_index(pack)) is None
            or {row.path: row.hash for row in index} != {path: hashes[path] for path in paths}
        }
        paths = [path for each in waiting.values() for path in each]
        if waiting:
            needed, free = int(sum(size[path] for path in paths)), shutil.disk_usage(data).free
            told = (
                f"{data}: packing {len(paths)} recordings of {len(waiting)} machine(s) takes up to "
                f"{size_text(needed)}, and {size_text(free)} of its disk are free"
            )
            if needed > free:
                raise ArtifactError(f"{told}; make room, or do without packs")
            progress.note(told)
        with progress.bar("Packing", len(paths), "clips") as advance:
            for pack, each in waiting.items():
                _write_pack(data, pack, each, hashes, advance)
    rows = [row for pack in packs for row in _read_index(pack) or ()]
    left_out = sum(row.offset == LEFT_OUT for row in rows)
    total = sum(pack.stat().st_size for pack in packs)
    kept = len(packs) - len(waiting)
    return Packing(len(waiting), kept, len(rows) - left_out, left_out, total)


def packed_recordings(
    data: str | Path, hashes: Mapping[str, str], progress: Progress
) -> dict[str, Mapped]:
    """The recordings that can be read from packs; all others have to be read from their files.

    Args:
        data: Data folder.
        hashes: Hash of the audio of each recording that is to be read, by path.
        progress: Where to tell that packs are not current.
    """
    data = Path(data)
    found: dict[str, Mapped] = {}
    stale = 0
    for pack, paths in _by_pack(data, hashes).items():
        if not _index_path(pack).exists():
            continue
        index = _read_index(pack)
        if index is None:
            stale += len(paths)
            continue
        # An empty file cannot be mapped. A view, as a slice of numpy's own class is slow to make.
        samples = np.empty(0, dtype=np.int16)
        if pack.stat().st_size:
            samples = np.asarray(np.memmap(pack, dtype=np.int16, mode="r"))
        wanted = {path: hashes[path] for path in paths}
        for row in index:
            if wanted.get(row.path) != row.hash:
                continue
            del wanted[row.path]
            if row.offset != LEFT_OUT:
                part = samples[row.offset : row.offset + row.frames * row.channels]
                shaped = part.reshape(row.channels, row.frames)
                found[row.path] = Mapped(shaped, row.sample_rate, str(data / row.path))
        stale += len(wanted)
    if stale:
        again = command("prepare", "--data", data, "--pack")
        progress.note(
            f"{data}: {stale} of {len(hashes)} recordings are new or changed since their machine "
            f"was packed, or its pack is damaged; they are read from their files until {again}"
        )
    return found


def _by_pack(data: Path, paths: Iterable[str]) -> dict[Path, list[str]]:
    """Recordings by the pack of their machine."""
    packs: dict[Path, list[str]] = defaultdict(list)
    for path in paths:
        edition, stage, _, machine = path.split("/")[:4]
        packs[DataFolder(data).pack(edition, stage, machine)].append(path)
    return packs


def _index_path(pack: Path) -> Path:
    return pack.with_suffix(".csv")


def _read_index(pack: Path) -> list[_Row] | None:
    """The index of a pack; None where there is none, or not of this pack as it is."""
    try:
        table = read_table(_index_path(pack), COLUMNS, "")
        rows = [_Row(*row) for row in zip(*(table[name].tolist() for name in COLUMNS), strict=True)]
        size = 2 * sum(row.frames * row.channels for row in rows if row.offset != LEFT_OUT)
        return rows if pack.stat().st_size == size else None
    except (ArtifactError, OSError):
        return None


def _write_pack(
    data: Path, pack: Path, paths: list[str], hashes: Mapping[str, str], advance: Advance
) -> None:
    """Write a pack, then its index, without which it does not count."""
    _index_path(pack).unlink(missing_ok=True)
    rows, offset = [], 0
    with replacing(pack) as temporary, temporary.open("wb") as file:
        for path in paths:
            try:
                found = read_int16(data / path)
            except AudioError:  # told when it is read from its file
                found = None
            if found is None or content_hash(found) != hashes[path]:
                rows.append(_Row(path, hashes[path], LEFT_OUT, 0, 0, 0))
            else:
                header = found.header
                file.write(found.samples.tobytes())
                rate, channels = header.sample_rate, header.channels
                rows.append(_Row(path, hashes[path], offset, header.frames, rate, channels))
                offset += header.frames * channels
            advance(1)
    write_table(_index_path(pack), pd.DataFrame(rows), list(COLUMNS))
