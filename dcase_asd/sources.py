"""Where the samples of a recording come from: WAV, what libsndfile decodes, archives, memory."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np
import soundfile
from numpy.typing import NDArray

from dcase_asd.errors import AudioError
from dcase_asd.wav import AGAIN, AudioHeader, WavLayout, decode, read_bytes, wav_layout

Waveform = NDArray[np.float32]
Samples = NDArray[np.int16] | Waveform
"""16-bit samples as they stand in a file, or a waveform."""

INTEGER_SCALE = 2.0**15
"""Full scale of 16-bit integers."""


def as_waveform(samples: Samples) -> Waveform:
    """Samples in float32; those of 16 bits scaled to [-1, 1) by a power of 2, exactly."""
    waveform: Waveform = samples.astype(np.float32, copy=False)
    if samples.dtype.kind == "i":
        waveform *= np.float32(1 / INTEGER_SCALE)
    return waveform


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


@dataclass(frozen=True, eq=False, slots=True)
class Mapped:
    """A recording whose 16-bit samples are in memory, or in a file that is mapped there.

    Attributes:
        samples: (channels, frames): one after the other, so that one is read without the others.
        sample_rate: In Hz.
        name: Of the recording, for messages.
    """

    samples: NDArray[np.int16]
    sample_rate: int
    name: str

    note: ClassVar[str] = ""
    is_float: ClassVar[bool] = False
    is_int16: ClassVar[bool] = True

    def __str__(self) -> str:
        return self.name

    @property
    def header(self) -> AudioHeader:
        """What the file said of which the samples are."""
        return AudioHeader(self.samples.shape[1], self.sample_rate, self.samples.shape[0])

    def exact(self, start: int, frames: int) -> bytes:
        """Frames as they stand in a WAV file."""
        return self.samples[:, start : start + frames].T.tobytes()

    def floats(self, start: int, frames: int) -> Waveform:
        """Frames as (n, channels)."""
        return as_waveform(self.samples[:, start : start + frames].T)

    def check_end(self) -> None:
        """All of it is there."""


class WavSource:
    """A WAV file that is read without a decoder."""

    def __init__(self, file: BinaryIO, layout: WavLayout) -> None:
        self.file, self.layout, self.header = file, layout, layout.header
        self.note = layout.note
        self.is_float = "f" in layout.sample
        self.is_int16 = layout.sample == np.dtype(np.int16).str

    def exact(self, start: int, frames: int) -> bytes:
        """Frames as they stand in the file."""
        return read_bytes(self.file, self.layout, start, frames)

    def floats(self, start: int, frames: int) -> Waveform:
        """Frames as (n, channels)."""
        return decode(self.exact(start, frames), self.layout)

    def check_end(self) -> None:
        """The layout has been compared with the size of the file."""


class DecodedSource:
    """A recording of another format, which libsndfile decodes."""

    note = ""

    def __init__(self, sound: soundfile.SoundFile, path: Path | Packed) -> None:
        self.sound, self.path = sound, path
        self.header = AudioHeader(sound.frames, sound.samplerate, sound.channels)
        self.is_float = sound.subtype in ("FLOAT", "DOUBLE")
        self.is_int16 = sound.subtype == "PCM_16"
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
        kind = "int16" if self.is_int16 else "float64"
        return self._read(start, frames, kind).tobytes()

    def floats(self, start: int, frames: int) -> Waveform:
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


Source = WavSource | DecodedSource | Mapped


@contextmanager
def opened(path: str | Path | Packed | Mapped) -> Iterator[Source]:
    """Open a recording for reading.

    Raises:
        AudioError: It is missing, empty, no audio, truncated or without a sample.
    """
    if isinstance(path, Mapped):
        yield path
        return
    path = path if isinstance(path, Packed) else Path(path)
    try:
        with path.open() if isinstance(path, Packed) else path.open("rb", buffering=0) as file:
            layout = wav_layout(file, path)
            if layout is not None:
                yield WavSource(file, layout)
                return
            file.seek(0)
            with soundfile.SoundFile(file if isinstance(path, Packed) else path) as sound:
                yield DecodedSource(sound, path)
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
