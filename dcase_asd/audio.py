"""Recordings: what a header says, the samples, and a key by which equal audio is found."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from dcase_asd.errors import AudioError
from dcase_asd.wav import (
    AGAIN,
    AudioHeader,
    WavLayout,
    decode,
    read_bytes,
    read_into,
    wav_layout,
)  # fmt: skip

__all__ = [
    "AudioHeader", "Inspection", "Packed", "Samples", "Waveform", "as_waveform", "content_hash",
    "inspect_recording", "read_blocks", "read_clip", "read_header", "read_samples", "read_span",
    "read_waveform",
]  # fmt: skip

Waveform = NDArray[np.float32]
Samples = NDArray[np.int16] | Waveform
"""16-bit samples as they stand in a file, or a waveform."""

KEY_FRAMES = 256
"""Frames from the middle of a clip that make its cheap key (16 ms at 16 kHz)."""
BLOCK_FRAMES = 1 << 18
"""Frames read at once where a whole recording is gone through."""
LOUDEST_FLOAT = 32.0
"""Float samples are between -1 and 1, or some dB above after filters. What is 30 dB above is in
another unit, and so are whole numbers: 16-bit integers, stored as floats without being scaled."""
INTEGER_SCALE = 2.0**15
"""Full scale of that unit."""

MICROPHONES = 2
"""Channels of recordings with a near and a far microphone."""
REPAIR = "repair or remove it"
"""The way out of a sample that is no number."""

_Samples = NDArray[np.float32]


@dataclass(frozen=True)
class Packed:
    """A recording within an archive that holds it as it is, such as a tar file.

    Attributes:
        archive: Path of the archive.
        start: First byte of the recording in it.
        size: Bytes.
        name: Of the recording, for messages.
    """

    archive: str
    start: int
    size: int
    name: str

    def __str__(self) -> str:
        return f"{self.archive}: {self.name}"

    def open(self) -> BinaryIO:
        """The recording as a file in memory."""
        with Path(self.archive).open("rb", buffering=0) as file:
            file.seek(self.start)
            return io.BytesIO(file.read(self.size))


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
    with _opened(path) as source:
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
    with _opened(path) as source:
        return source.header


def content_hash(path: str | Path) -> str:
    """Hash every sample of a recording; equal for equal audio, as `inspect_recording` says.

    Raises:
        AudioError: As `read_header`.
    """
    digest = hashlib.blake2b(digest_size=16)
    with _opened(path) as source:
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


def read_clip(
    path: str | Path, channel: int = 0, sample_rate: int | None = None, *, both: bool = False
) -> tuple[Waveform, list[int] | None]:
    """Read one channel of a recording, and look whether there is anything to hear.

    Args:
        path: As `read_waveform`.
        channel: As `read_waveform`.
        sample_rate: As `read_waveform`.
        both: Read the other of exactly two channels as well.

    Returns:
        The samples, (n,), or (n, 2) of both channels, the chosen one first; and None, or where all
        samples of the chosen one are equal (silence, a dead input), the channels whose are not.

    Raises:
        AudioError: As `read_waveform`, or there are not two channels.
    """
    with _opened(path) as source:
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


def as_waveform(samples: Samples) -> Waveform:
    """What `read_span` gives for what `read_samples` gives."""
    waveform: Waveform = samples.astype(np.float32, copy=False)
    if samples.dtype.kind == "i":
        waveform *= np.float32(1 / INTEGER_SCALE)
    return waveform


def read_samples(
    path: str | Path | Packed, start: int, room: NDArray[np.int16], channel: int = 0
) -> Samples:
    """Read as `read_span` does, but leave 16-bit samples of a WAV file as they are.

    Args:
        path: As in `read_span`.
        start: First frame.
        room: Where 16-bit samples go, (frames,): from the disk without a copy between.
        channel: As in `read_waveform`.

    Returns:
        The part of `room` that was filled, or a new array of other samples.

    Raises:
        AudioError: As in `read_waveform`.
    """
    with _opened(path) as source:
        _check_channel(path, channel, source.header.channels)
        if isinstance(source, _Wav) and source.layout.sample == room.dtype.str:
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
    with _opened(path) as source:
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


def _check_channel(path: str | Path | Packed, channel: int, channels: int) -> None:
    if not 0 <= channel < channels:
        raise AudioError(
            f"{path}: there is no channel {channel}, the file has {channels}; "
            "choose another with --channel"
        )


def _float_scale(source: _Wav | _Decoded, path: str | Path | Packed) -> tuple[np.float32, str]:
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
    with _opened(path) as source:
        return _float_scale(source, path)[0]


class _Wav:
    """A WAV file that is read without a decoder."""

    def __init__(self, file: BinaryIO, layout: WavLayout) -> None:
        self.file, self.layout, self.header = file, layout, layout.header
        self.note = layout.note
        self.is_float = "f" in layout.sample

    def exact(self, start: int, frames: int) -> bytes:
        """Frames as they stand in the file."""
        return read_bytes(self.file, self.layout, start, frames)

    def floats(self, start: int, frames: int) -> _Samples:
        """Frames as (n, channels)."""
        return decode(self.exact(start, frames), self.layout)

    def check_end(self) -> None:
        """The layout has been compared with the size of the file."""


class _Decoded:
    """A recording of another format, which libsndfile decodes."""

    note = ""

    def __init__(self, sound: soundfile.SoundFile, path: Path | Packed) -> None:
        self.sound, self.path = sound, path
        self.header = AudioHeader(sound.frames, sound.samplerate, sound.channels)
        self.is_float = sound.subtype in ("FLOAT", "DOUBLE")
        # GSM only goes forward, and after a jump into MPEG audio the first samples are wrong.
        self.jumps = sound.seekable() and not sound.subtype.startswith("MPEG")
        self.whole: NDArray[Any] | None = None
        if not 0 <= sound.frames < 1 << 48:
            raise AudioError(
                f"{path}: does not say its length, as {sound.format} that was written into a pipe; "
                "convert it to WAV"
            )
        if sound.frames == 0:
            raise AudioError(f"{path}: holds no sample; {AGAIN}")

    def exact(self, start: int, frames: int) -> bytes:
        """16-bit samples as they are, others as float64."""
        kind = "int16" if self.sound.subtype == "PCM_16" else "float64"
        return self._read(start, frames, kind).tobytes()

    def floats(self, start: int, frames: int) -> _Samples:
        """Frames as (n, channels)."""
        return self._read(start, frames, "float32")

    def check_end(self) -> None:
        """Decode the last frame, which is not there in a file that was cut."""
        if not self.exact(self.header.frames - 1, 1):
            raise AudioError(f"{self.path}: truncated before its last sample; {AGAIN}")

    def _read(self, start: int, frames: int, kind: str) -> NDArray[Any]:
        start = min(start, self.header.frames)
        try:
            if self.jumps:
                self.sound.seek(start)
                samples: NDArray[Any] = self.sound.read(frames, dtype=kind, always_2d=True)
                return samples
            if self.whole is None:
                self.whole = self.sound.read(self.header.frames, dtype=kind, always_2d=True)
            return self.whole[start : start + frames]
        except soundfile.SoundFileError as error:
            raise AudioError(
                f"{self.path}: cut off or damaged, as no sample from {start} on can be decoded; "
                f"{AGAIN}"
            ) from error


@contextmanager
def _opened(path: str | Path | Packed) -> Iterator[_Wav | _Decoded]:
    path = path if isinstance(path, Packed) else Path(path)
    try:
        with path.open() if isinstance(path, Packed) else path.open("rb", buffering=0) as file:
            layout = wav_layout(file, path)
            if layout is not None:
                yield _Wav(file, layout)
                return
            file.seek(0)
            with soundfile.SoundFile(file if isinstance(path, Packed) else path) as sound:
                yield _Decoded(sound, path)
    except OSError as error:
        raise AudioError(f"{path}: cannot be read ({error.strerror or error})") from error
    except soundfile.SoundFileError as error:
        reason = f"not readable as audio ({error})"
        raise AudioError(f"{path}: {_what_it_is(path) or reason}") from error


def _what_it_is(path: Path | Packed) -> str:
    """What was saved in place of a recording, with the way out; empty where that is not known."""
    with path.open() if isinstance(path, Packed) else path.open("rb") as file:
        head = file.read(256).lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if head.startswith(b"version https://git-lfs"):
        return "no audio but a Git LFS pointer to it; fetch the recording with `git lfs pull`"
    if head.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<body")):
        return "no audio but a web page; download the recording itself"
    return ""
