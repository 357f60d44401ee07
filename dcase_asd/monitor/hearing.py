"""A recording, heard once from beginning to end in little memory: windows, grid and properties.

A recording of any length is cut into equal windows of about the usual length. Each becomes one
vector, mean and deviation over time of its log-mel bins, and a grid of times and bands that says
when and where something was. What the microphone and the recorder do is measured beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soxr
from numpy.typing import NDArray

from dcase_asd.audio import BLOCK_FRAMES, Waveform, read_blocks, read_header
from dcase_asd.errors import AudioError
from dcase_asd.monitor.log_mel import LOWEST_FREQUENCY, Frames, LogMel
from dcase_asd.monitor.meter import SILENCE, Meter, Properties

PASSBAND = 0.9
"""Share of half the rate up to which mel bins are used: above it resamplers differ."""
CELL_FRAMES = 25
"""Frames of a grid's cell: 0.25 s."""
BAND_BINS = 2
"""Mel bins of a grid's band."""
DECIBELS = 10 / np.log(10)
"""Of a neper of energy."""
LIMITS = ((1000, 384_000), (8, 1024), (0.5, 3600))
"""Of a front end's sample rate in Hz, mel bins, and window in seconds."""
SHORTEST = 0.5
"""Seconds below which statistics over time mean nothing."""
MOST_GRIDS = 360
"""Windows up to which all grids are kept, 7 MB of 10 s each: an hour."""


@dataclass(frozen=True)
class Sound:
    """A recording that can be gone through.

    Attributes:
        name: What it is called in a verdict.
        rate: In Hz.
        frames: Its length in samples.
        blocks: Goes through the samples from the start.
        start: When it begins, in seconds, where it is a part of something longer.
        path: Its file, absolute; empty where there is none.
    """

    name: str
    rate: int
    frames: int
    blocks: Callable[[], Iterable[Waveform]]
    start: float = 0.0
    path: str = ""

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.frames / self.rate


def open_sound(path: str | Path, channel: int = 0, name: str = "") -> Sound:
    """A recording in a file.

    Raises:
        AudioError: Its header cannot be read.
    """
    header = read_header(path)
    blocks = lambda: read_blocks(path, channel)  # noqa: E731 - it has the two arguments
    where = str(Path(path).absolute())
    return Sound(name or str(path), header.sample_rate, header.frames, blocks, path=where)


def sound_of(
    samples: NDArray[np.floating], rate: int, name: str = "array", start: float = 0.0
) -> Sound:
    """A recording in memory.

    Args:
        samples: Of one channel, (n,), in [-1, 1].
        rate: In Hz.
        name: What it is called in a verdict.
        start: When it begins, in seconds.

    Raises:
        AudioError: It is of another shape, holds no sample or one that is no number.
    """
    if samples.ndim != 1 or not len(samples) or rate < 1:
        raise AudioError(
            f"{name}: samples {samples.shape} at {rate} Hz; give one channel, (n,), and its rate"
        )
    if not np.isfinite(samples).all():
        where = int(np.flatnonzero(~np.isfinite(samples))[0])
        raise AudioError(f"{name}: sample {where} is {samples[where]}, not a finite number")
    waveform = np.asarray(samples, dtype=np.float32)
    starts = range(0, len(waveform), BLOCK_FRAMES)
    blocks = lambda: (waveform[at : at + BLOCK_FRAMES] for at in starts)  # noqa: E731 - has them
    return Sound(name, rate, len(waveform), blocks, start)


@dataclass(frozen=True)
class FrontEnd:
    """What a recording is heard with; part of a model's file.

    Attributes:
        sample_rate: That recordings are resampled to, in Hz.
        mel_bins: Mel filters up to half of it; see `used`.
        window: Usual length in seconds of what is judged at once.
        channel: Which one, from 0.
    """

    sample_rate: int = 16000
    mel_bins: int = 128
    window: float = 10.0
    channel: int = 0

    def __post_init__(self) -> None:
        numbers = (self.sample_rate, self.mel_bins, self.window)
        for value, (low, high) in zip(numbers, LIMITS, strict=True):
            if not low <= value <= high:
                raise ValueError(f"{value:g} is not within {low:g} and {high:g}")
        if self.channel < 0:
            raise ValueError(f"there is no channel {self.channel}")

    @cached_property
    def log_mel(self) -> LogMel:
        """The spectrum, made once."""
        return LogMel(self.sample_rate, self.mel_bins)

    @property
    def shift(self) -> float:
        """Seconds from one frame to the next: 10 ms, or a little less at 11,025 Hz and the like."""
        return self.log_mel.frame_shift / self.sample_rate

    @cached_property
    def used(self) -> NDArray[np.intp]:
        """The mel filters that are used, (k,): in the passband, and with a line of the spectrum.

        Some of the lowest are narrower than the lines' distance, and say nothing whatever sounds.
        """
        inside = self.log_mel.hertz[2:] <= PASSBAND * self.sample_rate / 2
        return np.flatnonzero(inside & (self.log_mel.filters > 0).any(axis=0))

    @property
    def bins(self) -> int:
        """How many mel bins are used, k."""
        return len(self.used)

    @cached_property
    def tops(self) -> NDArray[np.float64]:
        """Where the used mel bins end, in Hz, (k,)."""
        return self.log_mel.hertz[2:][self.used]

    @cached_property
    def band_starts(self) -> NDArray[np.intp]:
        """First mel bin of each band of the grid, (f,)."""
        return np.arange(0, max(self.bins - BAND_BINS + 1, 1), BAND_BINS)

    @cached_property
    def band_edges(self) -> NDArray[np.float64]:
        """Where the bands meet, in Hz, (f + 1,): halfway between the peaks of their filters."""
        peaks = self.log_mel.hertz[1:-1][self.used]
        between = (peaks[self.band_starts[1:] - 1] + peaks[self.band_starts[1:]]) / 2
        return np.array([LOWEST_FREQUENCY, *between, self.tops[-1]])

    def windows_in(self, seconds: float) -> int:
        """Into how many equal windows a recording is cut."""
        return max(1, round(seconds / self.window))


class WindowHeard(NamedTuple):
    """One window: `start` and `end` in seconds, `vector` (2 k,), `grid` (t, f, 2) in dB.

    The grid holds of each cell and band the mean over its frames and their maximum; it is empty
    where it was not kept.
    """

    start: float
    end: float
    vector: Frames
    grid: Frames


@dataclass(frozen=True)
class Heard:
    """What was heard of a recording; `key` is equal for equal samples, `path` is `Sound.path`."""

    name: str
    windows: list[WindowHeard]
    properties: Properties
    key: str
    path: str = ""

    @property
    def is_silent(self) -> bool:
        """Whether all samples are equal."""
        return self.properties.level <= SILENCE


def hear(sound: Sound, front: FrontEnd, *, all_grids: bool = True) -> Heard:
    """Go through a recording once.

    Args:
        sound: The recording.
        front: What it is heard with.
        all_grids: Keep every window's grid, not only where there are at most `MOST_GRIDS` windows;
            `hear_grids` makes them later.

    Raises:
        AudioError: It cannot be read, or is shorter than `SHORTEST`.
    """
    if sound.seconds < SHORTEST:
        raise AudioError(
            f"{sound.name}: {sound.seconds:.2g} s long; a recording to judge has {SHORTEST} s "
            "at least"
        )
    meter = Meter(sound.rate)
    cut = _Cutter(sound, front, all_grids or front.windows_in(sound.seconds) <= MOST_GRIDS)
    change = _resampler(sound.rate, front.sample_rate)
    for block in sound.blocks():
        meter.add(block)
        cut.add(change(block, False))
    cut.add(change(np.zeros(0, dtype=np.float32), True))
    windows, key = cut.finish(), meter.digest.hexdigest()
    return Heard(sound.name, windows, meter.properties(), key, sound.path)


def hear_grids(sound: Sound, front: FrontEnd, heard: Heard) -> Iterator[Frames]:
    """The windows' grids; where they were not kept, the recording is gone through once more."""
    if heard.windows[0].grid.size:
        yield from (each.grid for each in heard.windows)
        return
    for samples in waveforms(sound, front, front.sample_rate):
        yield _grid(front.log_mel(samples)[:, front.used], front)


def waveforms(sound: Sound, front: FrontEnd, rate: int | None) -> Iterator[Waveform]:
    """The windows as samples at another rate, for a backbone; None keeps the recording's own."""
    rate = rate or sound.rate
    change = _resampler(sound.rate, rate)
    count = front.windows_in(sound.seconds)
    ends = [round(sound.seconds * rate * (at + 1) / count) for at in range(count - 1)]
    parts: list[Waveform] = []
    done = 0
    last = [(np.zeros(0, dtype=np.float32), True)]
    for block, final in chain(((each, False) for each in sound.blocks()), last):
        piece = change(block, final)
        while ends and done + len(piece) >= ends[0]:
            here = ends.pop(0) - done
            yield np.concatenate([*parts, piece[:here]])
            done, parts, piece = done + here, [], piece[here:]
        parts.append(piece)
        done += len(piece)
    yield np.concatenate(parts)


def _resampler(rate: int, wanted: int) -> Callable[[Waveform, bool], Waveform]:
    if rate == wanted:
        return lambda block, _: block
    stream = soxr.ResampleStream(rate, wanted, 1, dtype="float32", quality="HQ")
    return lambda block, last: np.asarray(stream.resample_chunk(block, last=last))


@dataclass
class _Cutter:
    """Cuts frames into windows as they come."""

    sound: Sound
    front: FrontEnd
    grids: bool
    rest: Waveform = field(default_factory=lambda: np.zeros(0, dtype=np.float32))
    frames: list[Frames] = field(default_factory=list)
    count: int = 0
    done: list[WindowHeard] = field(default_factory=list)

    def __post_init__(self) -> None:
        count = self.front.windows_in(self.sound.seconds)
        total = self.sound.seconds / self.front.shift
        self.ends = [round(total * (at + 1) / count) for at in range(count - 1)]

    def add(self, samples: Waveform) -> None:
        log_mel = self.front.log_mel
        self.rest = np.concatenate([self.rest, samples])
        frames = log_mel(self.rest)[:, self.front.used]
        self.rest = self.rest[len(frames) * log_mel.frame_shift :]
        while self.ends and self.count + len(frames) >= self.ends[0]:
            here = self.ends[0] - self.count
            self._close([*self.frames, frames[:here]], self.ends.pop(0))
            self.frames, frames = [], frames[here:]
            self.count += here
        self.frames.append(frames)
        self.count += len(frames)

    def finish(self) -> list[WindowHeard]:
        self._close(self.frames, None)
        return self.done

    def _close(self, parts: list[Frames], end: int | None) -> None:
        frames = np.concatenate(parts)
        begin = self.sound.start
        start = self.done[-1].end if self.done else begin
        until = begin + (self.sound.seconds if end is None else end * self.front.shift)
        # The sum of a minute's frames is off by more than normal windows differ in float32.
        wide = frames.astype(np.float64)
        vector = np.concatenate([wide.mean(axis=0), wide.std(axis=0)]).astype(np.float32)
        nothing = np.zeros((0, len(self.front.band_starts), 2), dtype=np.float32)
        grid = _grid(frames, self.front) if self.grids else nothing
        self.done.append(WindowHeard(start, until, vector, grid))


def _grid(frames: Frames, front: FrontEnd) -> Frames:
    """Frames (n, k) -> cells (t, f, 2): mean and maximum over time of the bands' levels in dB."""
    starts = np.arange(max(len(frames) // CELL_FRAMES, 1)) * CELL_FRAMES
    widths = np.diff(np.append(front.band_starts, front.bins))
    bands = np.add.reduceat(frames, front.band_starts, axis=1) / widths
    lengths = np.diff(np.append(starts, len(frames)))[:, None]
    mean = np.add.reduceat(bands, starts, axis=0) / lengths
    peak = np.maximum.reduceat(bands, starts, axis=0)
    grid: Frames = (np.stack([mean, peak], axis=2) * DECIBELS).astype(np.float32)
    return grid
