"""Recordings: what a header says, the samples, and a key by which equal audio is found."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import soxr
from numpy.typing import NDArray

from dcase_asd.errors import AudioError
from dcase_asd.sources import (
    INTEGER_SCALE,
    Mapped,
    Packed,
    Samples,
    Source,
    Waveform,
    WavSource,
    as_waveform,
    opened,
)
from dcase_asd.wav import AGAIN, AudioHeader, read_into

__all__ = [
    "AudioHeader", "Inspection", "Mapped", "Packed", "Samples", "Waveform", "as_waveform",
    "content_hash", "inspect_recording", "read_blocks", "read_clip", "read_header", "read_int16",
    "read_samples", "read_span", "read_waveform",
]  # fmt: skip

KEY_FRAMES = 256
"""Frames from the middle of a clip that make its cheap key (16 ms at 16 kHz)."""
BLOCK_FRAMES = 1 << 18
"""Frames read at once where a whole recording is gone through."""
LOUDEST_FLOAT = 32.0
"""Float samples are between -1 and 1, or some dB above after filters. What is 30 dB above is in
another unit, and so are whole numbers: 16-bit integers, stored as floats without being scaled."""
MICROPHONES = 2
"""Channels of recordings with a near and a far microphone."""
REPAIR = "repair or remove it"
"""The way out of a sample that is no number."""


@dataclass(frozen=True)
class Inspection:
    """What is seen of a recording without reading all of it.

    Attributes:
        header: Its length, rate and channels.
        key: A cheap key: equal audio has equal keys, not the reverse.
        note: What has to be assumed to read it; empty where the file says all.
    """

    header: AudioHeader
    key: str
    note: str


def inspect_recording(path: str | Path) -> Inspection:
    """Read a recording's header, a few samples, and of floats all, since their unit is not said.

    The key covers the header and `KEY_FRAMES` frames from the middle. WAV files that differ in
    nothing but other chunks (comments, cue points) have equal keys, as do 16-bit WAV and FLAC.

    Raises:
        AudioError: The file is missing, empty, no audio, truncated, without a sample, or its float
            samples are in no known unit or in no channel all finite.
    """
    with opened(path) as source:
        digest = hashlib.blake2b(repr(source.header).encode(), digest_size=8)
        digest.update(source.exact(source.header.frames // 2, KEY_FRAMES))
        source.check_end()
        notes = [source.note]
        if source.is_float:
            notes.append(_float_scale(source, path)[1])
        return Inspection(source.header, digest.hexdigest(), "; ".join(filter(None, notes)))


def read_header(path: str | Path | Packed) -> AudioHeader:
    """Read a recording's header.

    Raises:
        AudioError: The file is missing, empty, no audio, truncated or without a sample.
    """
    with opened(path) as source:
        return source.header


def content_hash(path: str | Path | Mapped) -> str:
    """Hash every sample of a recording; equal for equal audio, as `inspect_recording` says.

    Raises:
        AudioError: As `read_header`.
    """
    digest = hashlib.blake2b(digest_size=16)
    with opened(path) as source:
        digest.update(repr(source.header).encode())
        for start in range(0, source.header.frames, BLOCK_FRAMES):
            digest.update(source.exact(start, BLOCK_FRAMES))
    return digest.hexdigest()


def read_waveform(path: str | Path, channel: int = 0, sample_rate: int | None = None) -> Waveform:
    """Read one channel of a recording.

    Args:
        path: A WAV or FLAC file of any sample format.
        channel: Which channel, from 0.
        sample_rate: Resample to this rate in Hz (band-limited); None keeps the file's own.

    Returns:
        Samples (n,) in float32; integer formats are scaled to [-1, 1), and so are floats that are
        in the unit of 16-bit integers (see `LOUDEST_FLOAT`).

    Raises:
        AudioError: As `read_header`, or there is no such channel, or a sample is not finite.
    """
    return read_clip(path, channel, sample_rate)[0]


def read_int16(path: str | Path) -> Mapped | None:
    """Read all of a recording of 16-bit samples, WAV or FLAC; None where it has others.

    As far as it goes: the content hash tells one that ends before its header says.

    Raises:
        AudioError: As in `read_header`.
    """
    with opened(path) as source:
        if not source.is_int16:
            return None
        header = source.header
        samples = np.frombuffer(source.exact(0, header.frames), dtype=np.int16)
        return Mapped(samples.reshape(-1, header.channels).T, header.sample_rate, str(path))


def read_clip(
    path: str | Path | Mapped,
    channel: int = 0,
    sample_rate: int | None = None,
    *,
    both: bool = False,
) -> tuple[Waveform, list[int] | None]:
    """Read one channel of a recording, and look whether there is anything to hear.

    Args:
        path: As `read_waveform`, or a recording in memory.
        channel: As `read_waveform`.
        sample_rate: As `read_waveform`.
        both: Read the other of exactly two channels as well.

    Returns:
        The samples, (n,), or (n, 2) of both channels, the chosen one first; and None, or where all
        samples of the chosen one are equal (silence, a dead input), the channels whose are not.

    Raises:
        AudioError: As `read_waveform`, or there are not two channels.
    """
    with opened(path) as source:
        _check_channel(path, channel, source.header.channels)
        if both and source.header.channels != MICROPHONES:
            raise AudioError(f"{path}: has {source.header.channels} channel(s), and there is a far "
                             "microphone only where there are two; give --far none")  # fmt: skip
        samples = source.floats(0, source.header.frames)
        if len(samples) < source.header.frames:
            raise AudioError(
                f"{path}: truncated, {len(samples)} of {source.header.frames} samples; {AGAIN}"
            )
        rate = source.header.sample_rate
        chosen: slice | int = slice(None, None, -1 if channel else 1) if both else channel
        waveform: Waveform = np.ascontiguousarray(samples[:, chosen])
        if source.is_float:
            if not np.isfinite(waveform).all():
                wrong = ~np.isfinite(waveform)
                where = int(np.argwhere(wrong)[0][0])
                raise AudioError(
                    f"{path}: sample {where} is {waveform[wrong][0]}, not a finite number; {REPAIR}"
                )
            waveform = waveform * _float_scale(source, path)[0]
    sounding = None
    near = waveform[:, 0] if both else waveform
    if (near == near[0]).all():
        sounding = [int(each) for each in np.flatnonzero((samples != samples[0]).any(axis=0))]
    if sample_rate is not None and rate != sample_rate:
        waveform = soxr.resample(waveform, rate, sample_rate, quality="HQ").astype(np.float32)
    return waveform, sounding


def read_span(path: str | Path | Packed, start: int, frames: int, channel: int = 0) -> Waveform:
    """Read part of one channel at the file's own rate.

    Args:
        path: As in `read_waveform`, or a recording in an archive.
        start: First frame.
        frames: How many frames; fewer are read at the end of the file.
        channel: As in `read_waveform`.

    Returns:
        Samples (n,) in float32, n <= frames.

    Raises:
        AudioError: As in `read_waveform`.
    """
    return as_waveform(read_samples(path, start, np.empty(frames, dtype=np.int16), channel))


def read_samples(
    path: str | Path | Packed | Mapped, start: int, room: NDArray[np.int16], channel: int = 0
) -> Samples:
    """Read as `read_span` does, but leave 16-bit samples of a WAV file as they are.

    Args:
        path: As in `read_span`, or a recording in memory.
        start: First frame.
        room: Where 16-bit samples go, (frames,): from the disk without a copy between.
        channel: As in `read_waveform`.

    Returns:
        The part of `room` that was filled; or a view of samples in memory, or a new array of
        samples that are not of 16 bits.

    Raises:
        AudioError: As in `read_waveform`.
    """
    if isinstance(path, Mapped):
        _check_channel(path, channel, len(path.samples))
        return path.samples[channel, start : start + len(room)]
    with opened(path) as source:
        _check_channel(path, channel, source.header.channels)
        if isinstance(source, WavSource) and source.is_int16:
            return room[: read_into(source.file, source.layout, start, room, channel)]
        frames = len(room)
        span = np.ascontiguousarray(source.floats(start, frames)[:, channel])
        if not source.is_float:
            return span
        changed = Path(path.archive if isinstance(path, Packed) else path).stat().st_mtime_ns
    if not np.isfinite(span).all():
        raise AudioError(f"{path}: holds a sample that is not a finite number; {REPAIR}")
    return span * _scale_of_file(path, changed)


def read_blocks(path: str | Path, channel: int = 0) -> Iterator[Waveform]:
    """Read one channel at the file's own rate, `BLOCK_FRAMES` at a time: for any length.

    Raises:
        AudioError: As in `read_waveform`, where the fault is reached.
    """
    with opened(path) as source:
        _check_channel(path, channel, source.header.channels)
        scale = _float_scale(source, path)[0] if source.is_float else None
        for start in range(0, source.header.frames, BLOCK_FRAMES):
            frames = min(BLOCK_FRAMES, source.header.frames - start)
            block = np.ascontiguousarray(source.floats(start, frames)[:, channel])
            if len(block) < frames:
                raise AudioError(f"{path}: truncated after {start + len(block)} samples; {AGAIN}")
            if scale is not None:
                if not np.isfinite(block).all():
                    where = start + int(np.flatnonzero(~np.isfinite(block))[0])
                    raise AudioError(f"{path}: sample {where} is no finite number; {REPAIR}")
                block *= scale
            yield block


def _check_channel(path: str | Path | Packed | Mapped, channel: int, channels: int) -> None:
    if not 0 <= channel < channels:
        raise AudioError(
            f"{path}: there is no channel {channel}, the file has {channels}; "
            "choose another with --channel"
        )


def _float_scale(source: Source, path: str | Path | Packed | Mapped) -> tuple[np.float32, str]:
    """What float samples are multiplied with, one factor for all channels, and why in words."""
    peaks, whole = np.zeros(source.header.channels, dtype=np.float32), True
    for start in range(0, source.header.frames, BLOCK_FRAMES):
        block = source.floats(start, BLOCK_FRAMES)
        peaks = np.maximum(peaks, np.abs(block).max(axis=0, initial=0))  # NaN stays NaN
        whole = whole and bool((block == np.rint(block)).all())
    finite = peaks[np.isfinite(peaks)]
    if not len(finite):
        raise AudioError(f"{path}: holds samples that are not finite numbers; {REPAIR}")
    peak = float(finite.max())
    if peak <= (1 if whole else LOUDEST_FLOAT):
        return np.float32(1), ""
    if peak > 2 * INTEGER_SCALE:
        raise AudioError(
            f"{path}: float samples up to {peak:,.0f}, neither between -1 and 1 nor in the unit of "
            "16-bit integers; divide them by full scale and store them again"
        )
    note = f"float samples up to {peak:,.0f} are taken for 16-bit integers: divided by 32,768"
    return np.float32(1 / INTEGER_SCALE), note


@lru_cache(maxsize=1 << 17)
def _scale_of_file(path: str | Path | Packed, changed: int) -> np.float32:  # noqa: ARG001 - a key of the cache
    with opened(path) as source:
        return _float_scale(source, path)[0]
