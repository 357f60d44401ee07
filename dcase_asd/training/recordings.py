"""Recordings to pre-train on: folders of audio, and shards (tar files of recordings as they are).

Shards are of the WebDataset's form. Theirs can be read, and ours by their libraries. What is in a
shard is looked up once, header by header, so that any recording can be read at any moment: that is
how a killed training goes on exactly where it was, without a stream to be wound forward.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from dcase_asd.audio import Packed, read_header
from dcase_asd.errors import AudioError, DataError
from dcase_asd.files import fingerprint, is_litter, replacing
from dcase_asd.progress import Progress, Silent
from dcase_asd.training.pipes import PIPE, Pipe

AUDIO = {
    ".wav", ".wave", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".w64",
    ".rf64", ".au", ".caf",
}  # fmt: skip
"""Endings of what is taken for a recording."""
SHARD = ".tar"
STANDARD_INPUT = ("-", "/dev/stdin")
SHARDS_AT_ONCE = 16
"""Shards whose recordings are drawn in turn: mixed well, and read where the disk is already."""

_ORDER = 0
"""Told to the random generators; `batches` has the same for fine-tuning."""


@dataclass(frozen=True)
class Recordings:
    """Recordings by number, in parts: a shard each, and all files of folders in one.

    Attributes:
        files: Those that are in no shard.
        shards: Paths of shards, and commands that print some.
        spans: Where recordings begin in their shards, and their bytes, (n, 2).
        parts: Number of recordings of each part, files first where there are any.
        fingerprint: Equal for the same recordings, whatever folder they are in.
    """

    files: tuple[Path, ...]
    shards: tuple[Path | Pipe, ...]
    spans: NDArray[np.int64]
    parts: tuple[int, ...]
    fingerprint: str

    def __len__(self) -> int:
        return len(self.files) + len(self.spans)

    def __getitem__(self, number: int) -> Path | Packed:
        """Where a recording is; a pipe's shard is fetched.

        Raises:
            AudioError: Its shard is gone, or the command of a pipe prints less than before.
        """
        if number < len(self.files):
            return self.files[number]
        ends = np.cumsum(self.parts)
        shard = self.shards[int(np.searchsorted(ends, number, side="right")) - bool(self.files)]
        start, size = self.spans[number - len(self.files)].tolist()
        path = shard.fetched() if isinstance(shard, Pipe) else shard
        try:
            with path.open("rb") as file:
                file.seek(start - tarfile.BLOCKSIZE)
                head = file.read(tarfile.BLOCKSIZE)
            whole = path.stat().st_size >= start + size
        except OSError as error:
            raise AudioError(f"{shard}: cannot be read ({error.strerror or error})") from error
        name = head[:100].rstrip(b"\0").decode(errors="replace")
        if isinstance(shard, Pipe):
            name += f" of {shard}"
            if not whole:
                raise AudioError(f"{shard}: {shard.failure() or 'prints less than at first'}")
        return Packed(str(path), start, size, name)

    def order(self, epoch: int, seed: int) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """Numbers of an epoch in random order: where each stretch begins, and its numbers.

        A stretch is what a few parts hold, so that whoever wants a place far into an epoch of
        millions shuffles no more than that.
        """
        random = np.random.default_rng([seed, _ORDER, epoch])
        parts = random.permutation(len(self.parts))
        begins = np.concatenate([[0], np.cumsum(self.parts)])
        first = 0
        for index in range(0, len(parts), SHARDS_AT_ONCE):
            chosen = parts[index : index + SHARDS_AT_ONCE]
            yield first, np.concatenate([np.arange(begins[p], begins[p + 1]) for p in chosen])
            first += sum(self.parts[part] for part in chosen)


def find_recordings(
    sources: Sequence[str | Path], progress: Progress | None = None, pipes: Path | None = None
) -> Recordings:
    """Find all recordings of folders and shards.

    Args:
        sources: Folders with recordings or shards anywhere below; audio files; shards. Patterns
            (``*``) and ranges (``{000000..000999}``) stand for the names that they match.
            ``pipe:`` and a shell command stand for the shard that it prints.
        progress: Where to tell how far it is, and of shards that end in the middle.
        pipes: Where to keep what pipes print; None takes no pipes.

    Raises:
        DataError: There is none, or a source does not exist.
    """
    progress = progress or Silent()
    files: dict[Path, str] = {}
    shards: dict[Path | Pipe, str] = {}
    for source in sources:
        if printed := _pipes(str(source), pipes):
            shards |= {pipe: pipe.name for pipe in printed}
            continue
        paths = expanded(str(source))
        if not paths:
            raise DataError(f"{source}: no such file or folder; say what to read with --audio")
        for path in paths:
            _add(path, files, shards)
    spans: list[NDArray[np.int64]] = []
    kept: list[Path | Pipe] = []
    if shards:
        with progress.bar("Reading the index of shards", len(shards), "shards") as advance:
            for shard in sorted(shards, key=lambda each: shards[each]):
                found = _index(shard, progress)
                if len(found):
                    spans.append(found)
                    kept.append(shard)
                advance(1)
    if not files and not spans:
        listed = ", ".join(map(str, sources))
        raise DataError(
            f"{listed}: no recording here; WAV, FLAC, Ogg, MP3 and AIFF files are taken, in "
            "folders or in .tar shards; name another folder with --audio"
        )
    ordered = tuple(sorted(files, key=lambda each: (files[each], str(each))))
    names = [(files[path], path.stat().st_size) for path in ordered]
    packed = [(path.name, each.tolist()) for path, each in zip(kept, spans, strict=True)]
    return Recordings(
        ordered,
        tuple(kept),
        np.concatenate(spans) if spans else np.zeros((0, 2), np.int64),
        (*([len(ordered)] if ordered else []), *map(len, spans)),
        fingerprint(names, packed),
    )


def _pipes(source: str, folder: Path | None) -> list[Pipe]:
    """The pipes that a source stands for; none for a path."""
    if source in STANDARD_INPUT:
        raise DataError(
            f"{source}: the standard input can be read but once, and a stopped run could not go "
            "on; give a command that prints the shard, as --audio 'pipe:cat a.tar'"
        )
    if not source.startswith(PIPE):
        return []
    if folder is None:
        raise DataError(f"{source}: only pretrain reads pipes; save what it prints, and name that")
    return [Pipe(each, folder) for each in with_ranges(source.removeprefix(PIPE))]


def with_ranges(source: str) -> list[str]:
    """The names that a name with ranges, as ``{000..012}``, stands for; in order."""
    found = re.search(r"\{(\d+)\.\.(\d+)\}", source)
    if not found:
        return [source]
    first, last = found.groups()
    names = (
        f"{source[: found.start()]}{number:0{len(first)}d}{source[found.end() :]}"
        for number in range(int(first), int(last) + 1)
    )
    return [each for name in names for each in with_ranges(name)]


def expanded(source: str) -> list[Path]:
    """The paths that a name with ranges and patterns stands for, those that exist; in order."""
    return [path for name in with_ranges(source) for path in _matching(name)]


def _matching(source: str) -> list[Path]:
    path = Path(source).expanduser()
    if path.exists() or not re.search(r"[*?\[]", source):
        return [path] if path.exists() else []
    root = Path(path.anchor or ".")
    return sorted(root.glob(str(path.relative_to(path.anchor)) if path.anchor else str(path)))


def _add(path: Path, files: dict[Path, str], shards: dict[Path | Pipe, str]) -> None:
    """Put what a path is or holds into `files` or `shards`, with its name below the path."""
    below = [path] if path.is_file() else sorted(path.rglob("*"))
    for each in below:
        name = each.name if each == path else each.relative_to(path).as_posix()
        if is_litter(name) or not each.is_file():
            continue
        ending = each.suffix.lower()
        if ending == SHARD:
            shards.setdefault(each, name)
        elif ending in AUDIO or each == path:
            files.setdefault(each, name)


def _index(shard: Path | Pipe, progress: Progress) -> NDArray[np.int64]:
    """Where the recordings of a shard begin, and their bytes; of a damaged one those before it."""
    if not isinstance(shard, Pipe):
        spans, damage = _read_index(shard)
    elif kept := shard.kept_index():
        spans, damage = kept
    else:
        spans, damage = _read_index(shard.fetched())
        damage = shard.failure() or damage
        shard.keep_index(spans, damage)
    if damage:
        progress.note(f"{shard}: {damage}; {len(spans)} recordings before that are used")
    return np.array(spans, dtype=np.int64).reshape(-1, 2)


def _read_index(path: Path) -> tuple[list[list[int]], str]:
    """The same, and what is wrong with the shard."""
    spans: list[list[int]] = []
    size, damage = path.stat().st_size, ""
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                ending = PurePosixPath(member.name).suffix.lower()
                if not member.isfile() or ending not in AUDIO or is_litter(member.name):
                    continue
                if member.offset_data + member.size > size:
                    damage = "ends in the middle of a recording"
                else:
                    spans.append([member.offset_data, member.size])
        with path.open("rb") as file:  # tarfile takes a lost end for the end
            file.seek(max(size - 2 * tarfile.BLOCKSIZE, 0))
            if any(file.read()):
                damage = damage or "ends without the mark of an end"
    except (tarfile.TarError, OSError, EOFError) as error:
        damage = damage or f"is damaged ({error})"
    return spans, damage


@dataclass(frozen=True)
class Packing:
    """What `write_shards` did."""

    shards: tuple[Path, ...]
    recordings: int
    skipped: int


def write_shards(
    sources: Sequence[str | Path], out: str, progress: Progress | None = None
) -> Packing:
    """Pack recordings into shards, in random order, each as it is.

    A shard that is there is not written again, so that a stopped packing goes on.

    Args:
        sources: As in `find_recordings`.
        out: Names of the shards with one range, such as ``shards/{000000..000999}.tar``.
        progress: Where to tell how far it is, and of files that are no audio.

    Raises:
        DataError: `out` has no range, there are fewer recordings than shards, or none.
        ArtifactError: A shard cannot be written.
    """
    progress = progress or Silent()
    found = re.search(r"\{(\d+)\.\.(\d+)\}", out)
    if not found or not out.endswith(SHARD):
        raise DataError(f"{out}: no range of shards; write --out 'shards/{{000000..000099}}.tar'")
    first, last = found.groups()
    numbers = range(int(first), int(last) + 1)
    recordings = find_recordings(sources, progress)
    if len(recordings) < len(numbers) or not numbers:
        raise DataError(
            f"{out}: {len(numbers)} shards for {len(recordings)} recordings; write a smaller range"
        )
    order = np.random.default_rng(0).permutation(len(recordings))
    names = [f"{out[: found.start()]}{n:0{len(first)}d}{out[found.end() :]}" for n in numbers]
    written, skipped = 0, 0
    with progress.bar("Packing", len(recordings), "recordings") as advance:
        for name, part in zip(names, np.array_split(order, len(names)), strict=True):
            if Path(name).exists():
                written += len(_index(Path(name), progress))
            else:
                added = _write_shard(Path(name), recordings, part.tolist(), progress)
                written, skipped = written + added, skipped + len(part) - added
            advance(len(part))
    return Packing(tuple(map(Path, names)), written, skipped)


def _write_shard(
    path: Path, recordings: Recordings, numbers: Sequence[int], progress: Progress
) -> int:
    """Write one shard; returns how many recordings it holds, without those that are no audio."""
    added = 0
    with replacing(path) as temporary, tarfile.open(temporary, "w") as archive:
        for number in numbers:
            source = recordings[number]
            try:
                read_header(source)
            except AudioError as error:
                progress.note(f"left out: {error}")
                continue
            name = source.name
            # WebDataset takes what follows the first point for the kind of content.
            stem = re.sub(r"[^\w-]", "_", PurePosixPath(name).stem)
            member = tarfile.TarInfo(f"{number:09d}_{stem}"[:90] + PurePosixPath(name).suffix)
            if isinstance(source, Packed):
                member.size = source.size
                with source.open() as file:
                    archive.addfile(member, file)
            else:
                member.size = source.stat().st_size
                with source.open("rb") as file:
                    archive.addfile(member, file)
            added += 1
    return added
