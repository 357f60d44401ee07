"""Normal recordings: found, heard, and what must be said of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dcase_asd.errors import AudioError, DataError, printable_name
from dcase_asd.files import find_below
from dcase_asd.monitor.backbones import Embedder
from dcase_asd.monitor.hearing import (
    SHORTEST,
    FrontEnd,
    Heard,
    Sound,
    hear,
    open_sound,
)
from dcase_asd.monitor.log_mel import Frames
from dcase_asd.monitor.meter import Properties, new_key
from dcase_asd.monitor.microphone import heard_bins
from dcase_asd.progress import Progress

AUDIO = {
    ".wav", ".wave", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au",
    ".snd", ".w64", ".rf64", ".caf", ".voc", ".sf", ".ircam", ".nist", ".sph", ".avr", ".pvf",
}  # fmt: skip
"""Endings of recordings that libsndfile reads; other files in a folder are counted."""
READERS = 2
HIGHEST_RATE = 16000
"""In Hz, that recordings are heard at where all of them reach it."""
LOWEST_RATE = 2000
LONGEST_WINDOW = 10.0
"""In seconds, where the recordings are at least as long."""
MOST_WINDOWS = 3000
"""Normal windows that a model keeps; of more some at equal distances."""
APART = 8.0
"""Ashman's D from which on two groups are told of (K. M. Ashman, C. M. Bird and S. E. Zepf, Astron.
J. 108, 1994). In 400 draws for each of several counts the largest D of `AXES` normal samples was
above 8 in no more than 0.5 %."""
AXES = 4
"""Principal axes that are looked along."""
FEWEST_IN_ALL = 10
FEWEST_OF_A_GROUP = 3


@dataclass(frozen=True)
class Recording:
    """A normal recording: its name, the hash of its samples, its properties, and where it was."""

    name: str
    key: str
    properties: Properties
    path: str = ""

    def is_there(self, channel: int) -> bool:
        """Whether its file can still be read and holds the same samples."""
        if not Path(self.path).is_file():  # a pipe, say, that a foreign model names
            return False
        try:
            sound = open_sound(self.path, channel)
            key = new_key(sound.rate)
            for block in sound.blocks():
                key.update(block.tobytes())
        except AudioError:
            return False
        return key.hexdigest() == self.key


@dataclass(frozen=True)
class Skipped:
    """A file that was left out, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Normals:
    """What is kept of the normal recordings, in the order of their windows.

    Attributes:
        recordings: Each of them once.
        owners: Which of them a window is of, (n,).
        spectra: Mean and deviation of the log-mel bins, (n, 2 k).
        vectors: What windows are scored by, (n, d): a backbone's, or the spectra.
        grids: See `hearing.WindowHeard`.
    """

    recordings: tuple[Recording, ...]
    owners: NDArray[np.intp]
    spectra: Frames
    vectors: Frames
    grids: tuple[Frames, ...]

    def __len__(self) -> int:
        return len(self.owners)

    def name(self, window: int) -> str:
        """The name of a window's recording."""
        return self.recording(window).name

    def recording(self, window: int) -> Recording:
        """The recording that a window is of."""
        return self.recordings[int(self.owners[window])]

    @property
    def properties(self) -> list[Properties]:
        """Those of all recordings."""
        return [each.properties for each in self.recordings]

    def joined(self, other: Normals) -> Normals:
        """These and others."""
        return Normals(
            self.recordings + other.recordings,
            np.concatenate([self.owners, other.owners + len(self.recordings)]),
            np.concatenate([self.spectra, other.spectra]),
            np.concatenate([self.vectors, other.vectors]),
            self.grids + other.grids,
        )

    def fewer(self) -> Normals:
        """At most `MOST_WINDOWS` windows; every recording is still named."""
        if len(self) <= MOST_WINDOWS:
            return self
        return self.chosen(np.linspace(0, len(self) - 1, MOST_WINDOWS).round().astype(np.intp))

    def chosen(self, kept: NDArray[np.intp]) -> Normals:
        """These windows; every recording is still named."""
        return Normals(self.recordings, self.owners[kept], self.spectra[kept], self.vectors[kept],
                       tuple(self.grids[at] for at in kept))  # fmt: skip


Opened = Callable[[], Sound]


def find_recordings(place: str | Path) -> tuple[list[Path], int]:
    """The recordings at a place, and how many other files there are.

    Args:
        place: A file, or a folder, which is looked through with all folders in it.

    Raises:
        DataError: There is no such place, or no recording.
    """
    place = Path(place)
    if place.is_file():
        return [place], 0
    if not place.is_dir():
        raise DataError(f"{place}: no such file or folder; give recordings, or a folder of them")
    files = [path for path in find_below(place, "**/*") if path.is_file()]
    found = [path for path in files if path.suffix.lower() in AUDIO]
    if not found:
        others = f"; of its {len(files)} file(s) none is named as one" if files else ""
        raise DataError(f"{place}: no recording here{others}; give a folder of .wav or .flac files")
    return found, len(files) - len(found)


def listed(place: str | Path, channel: int) -> tuple[dict[str, Opened], int]:
    """Name, relative to the place, of each recording, and how it is opened; number of others."""
    place = Path(place)
    found, others = find_recordings(place)
    base = place if place.is_dir() else place.parent
    names = {printable_name(path.relative_to(base).as_posix()): path for path in found}
    return {name: partial(open_sound, path, channel, name) for name, path in names.items()}, others


def choose_front_end(
    sounds: dict[str, Opened], channel: int, window: float | None, sample_rate: int | None
) -> FrontEnd:
    """What the recordings are heard with: at a rate and in windows that all of them have.

    Raises:
        AudioError: None of them can be read.
    """
    rates, lengths, fault = [], [], None
    for each in sounds.values():
        try:
            sound = each()
        except AudioError as error:
            fault = fault or error
            continue
        if sound.rate >= LOWEST_RATE and sound.seconds >= SHORTEST:
            rates.append(sound.rate)
            lengths.append(sound.seconds)
    if not rates:
        raise fault or AudioError(
            f"{next(iter(sounds))}: as all others, shorter than {SHORTEST} s or below "
            f"{LOWEST_RATE} Hz; give longer recordings"
        )
    usual = min(LONGEST_WINDOW, float(np.median(lengths)))
    rate = sample_rate or min(HIGHEST_RATE, *rates)
    return FrontEnd(rate, window=window or usual, channel=channel)


def gather(
    sounds: dict[str, Opened],
    front: FrontEnd,
    embedder: Embedder | None,
    known: Iterable[str],
    progress: Progress,
) -> tuple[Normals | None, list[Skipped]]:
    """Hear recordings, all but those that say nothing of the machine.

    Args:
        sounds: How each is opened, by name.
        front: What they are heard with.
        embedder: Makes the vectors; None takes the spectra.
        known: Keys of recordings that are there already.
        progress: Where to tell how far it is.

    Returns:
        None where nothing is left, and what was left out.
    """
    keys, skipped = set(known), []
    parts: list[tuple[Heard, Frames]] = []

    def one(opened: Opened) -> tuple[Heard, Frames] | str:
        try:
            sound = opened()
            if sound.rate < front.sample_rate:
                return f"recorded at {sound.rate} Hz, less than {front.sample_rate} Hz"
            heard = hear(sound, front)
            spectra = np.stack([each.vector for each in heard.windows])
            return heard, spectra if embedder is None or heard.is_silent else embedder.embed(
                sound, front
            )
        except AudioError as error:
            return str(error)

    readers = 1 if embedder else READERS
    with (
        progress.bar("hear", len(sounds), "recordings") as advance,
        ThreadPoolExecutor(readers) as pool,
    ):
        for name, found in zip(sounds, pool.map(one, sounds.values()), strict=True):
            advance(1)
            if isinstance(found, str):
                skipped.append(Skipped(name, found.partition(f"{name}: ")[2] or found))
            elif found[0].is_silent:
                skipped.append(Skipped(name, "silence: all samples are equal"))
            elif found[0].key in keys:
                skipped.append(Skipped(name, "the same samples as another"))
            else:
                keys.add(found[0].key)
                parts.append(found)
    return _kept(parts), skipped


def _kept(parts: Sequence[tuple[Heard, Frames]]) -> Normals | None:
    if not parts:
        return None
    heard = [each for each, _ in parts]
    return Normals(
        tuple(Recording(each.name, each.key, each.properties, each.path) for each in heard),
        np.repeat(np.arange(len(heard)), [len(each.windows) for each in heard]),
        np.stack([window.vector for each in heard for window in each.windows]),
        np.concatenate([vectors for _, vectors in parts]),
        tuple(window.grid for each in heard for window in each.windows),
    )


def several_conditions(normals: Normals) -> str | None:
    """That the normal recordings are of two kinds, where a principal axis shows a clear gap."""
    vectors = normals.spectra.astype(np.float64)
    if len(vectors) < FEWEST_IN_ALL:
        return None
    deviation = vectors.std(axis=0)
    standard = (vectors - vectors.mean(axis=0)) / np.where(deviation > 0, deviation, 1.0)
    axes = np.linalg.svd(standard, full_matrices=False)[0][:, :AXES].T
    for axis in axes:
        order = np.argsort(axis)
        at, apart = _two_groups(axis[order])
        if apart > APART:
            middle = (order[at // 2], order[(at + len(order)) // 2])
            examples = " and ".join(normals.name(int(each)) for each in middle)
            return (
                f"the normal recordings are of two kinds ({at} and {len(axis) - at} windows, such "
                f"as {examples}): two operating conditions or places; a fault between them is hard "
                "to tell"
            )
    return None


def _two_groups(ordered: NDArray[np.float64]) -> tuple[int, float]:
    """Where values in order fall into two groups (Otsu), and how far apart they are (Ashman)."""
    count = len(ordered)
    least = max(FEWEST_OF_A_GROUP, count // 10)
    cuts = range(least, count - least + 1)
    inside = [ordered[:at].var() * at + ordered[at:].var() * (count - at) for at in cuts]
    at = cuts[int(np.argmin(inside))]
    low, high = ordered[:at], ordered[at:]
    spread = math.sqrt((low.var(ddof=1) + high.var(ddof=1)) / 2)
    return at, float(high.mean() - low.mean()) / max(spread, 1e-9)


def narrow_recordings(normals: Normals, front: FrontEnd) -> str | None:
    """That some recordings have nothing at high frequencies where the others have."""
    means = normals.spectra[:, : front.bins].astype(np.float64)
    middle = np.median(means, axis=0, keepdims=True)
    kept = [heard_bins(each, middle) for each in means]
    narrow = [at for at, bins in enumerate(kept) if bins < front.bins]
    if not narrow:
        return None
    names = list(dict.fromkeys(normals.name(at) for at in narrow))
    top = front.tops[min(kept) - 1]
    return (
        f"{len(names)} recording(s), such as {names[0]}, hold nothing above {top:.0f} Hz, where "
        "the others do: resampled or another microphone; leave them out"
    )


def low_rates(recordings: Sequence[Recording], front: FrontEnd) -> str | None:
    """That a few recordings of a low rate take high frequencies from all."""
    rates = np.array([each.properties.rate for each in recordings])
    low, least = rates[rates < HIGHEST_RATE], int(rates.min())
    if not len(low) or len(low) == len(rates) or front.sample_rate > least:
        return None
    name = recordings[int(rates.argmin())].name
    return (
        f"{len(low)} of {len(rates)} recordings are of less than {HIGHEST_RATE} Hz ({name}: "
        f"{least} Hz), so that nothing above {front.tops[-1]:.0f} Hz is heard; leave them out"
    )
