"""Batches of waveforms, read and resampled in threads while the caller computes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dcase_asd.audio import Mapped, Waveform, read_clip
from dcase_asd.errors import AudioError

BATCHES_AHEAD = 2
"""Batches that are read before they are needed; with the one in work this bounds memory."""
SECONDS_PER_CLIP = 20.0
"""A batch holds at most this much audio times the batch size, so that recordings of an hour do
not fill the memory; a longer recording is a batch of its own."""


_Reading = Future[tuple[Waveform, list[int] | None]]


@dataclass(frozen=True)
class Recording:
    """A file to read, with what its header says; and its samples, where a pack has them."""

    path: Path
    frames: int
    sample_rate: int
    packed: Mapped | None = None


@dataclass(frozen=True)
class Batch:
    """Waveforms of one rate.

    Attributes:
        paths: The files, in order; those that could not be read are in `problems` instead.
        waveforms: Samples, zero-padded at the end to the longest, (b, n), float32; of two
            microphones (b, n, 2), the near one first.
        lengths: Samples of each before padding, (b,).
        sample_rate: In Hz.
        problems: Files that could not be read, with the reason.
        constant: Files whose samples are all equal, with the channels that are not so.
    """

    paths: list[Path]
    waveforms: NDArray[np.float32]
    lengths: NDArray[np.int64]
    sample_rate: int
    problems: list[AudioError]
    constant: dict[Path, list[int]]


def read_batches(
    recordings: Iterable[Recording],
    batch_size: int,
    readers: Executor,
    channel: int = 0,
    sample_rate: int | None = None,
    *,
    both: bool = False,
) -> Iterator[Batch]:
    """Read recordings in order, in batches, `BATCHES_AHEAD` batches ahead.

    Args:
        recordings: What to read; neighbors of equal length and rate make full batches without
            padding, so the caller sorts them.
        batch_size: Clips in a batch, at most.
        readers: Threads to read with.
        channel: As in `audio.read_waveform`.
        sample_rate: As in `audio.read_waveform`; None keeps rates, and a batch has one rate.
        both: As in `audio.read_clip`.
    """
    groups = _groups(recordings, batch_size)
    ahead: deque[tuple[list[Recording], list[_Reading]]] = deque()

    def start(count: int) -> None:
        for group in islice(groups, count):
            futures = [
                readers.submit(read_clip, each.packed or each.path, channel, sample_rate, both=both)
                for each in group
            ]
            ahead.append((group, futures))

    start(BATCHES_AHEAD + 1)
    while ahead:
        group, futures = ahead.popleft()
        yield _collect(group, futures, sample_rate or group[0].sample_rate)
        start(1)


def _groups(recordings: Iterable[Recording], batch_size: int) -> Iterator[list[Recording]]:
    group: list[Recording] = []
    for recording in recordings:
        if group:
            longest = max(recording.frames, *(each.frames for each in group), 0)
            seconds = longest * (len(group) + 1) / recording.sample_rate
            full = len(group) == batch_size or seconds > SECONDS_PER_CLIP * batch_size
            if full or recording.sample_rate != group[0].sample_rate:
                yield group
                group = []
        group.append(recording)
    if group:
        yield group


def _collect(group: list[Recording], futures: list[_Reading], sample_rate: int) -> Batch:
    paths: list[Path] = []
    waveforms: list[Waveform] = []
    problems: list[AudioError] = []
    constant: dict[Path, list[int]] = {}
    for recording, future in zip(group, futures, strict=True):
        try:
            waveform, sounding = future.result()
            waveforms.append(waveform)
            paths.append(recording.path)
            if sounding is not None:
                constant[recording.path] = sounding
        except AudioError as error:
            problems.append(error)
    lengths = np.array([len(waveform) for waveform in waveforms], dtype=np.int64)
    channels = waveforms[0].shape[1:] if waveforms else ()
    shape = (len(waveforms), int(lengths.max(initial=0)), *channels)
    padded = np.zeros(shape, dtype=np.float32)
    for row, waveform in zip(padded, waveforms, strict=True):
        row[: len(waveform)] = waveform
    return Batch(paths, padded, lengths, sample_rate, problems, constant)
