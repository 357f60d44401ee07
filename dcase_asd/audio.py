"""Recordings: what a header says, the samples, and a key by which equal audio is found."""

from __future__ import annotations

import hashlib
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from dcase_asd.errors import AudioError

Waveform = NDArray[np.float32]

HEADER_BYTES = 4096
"""Read at once from the start of a file; every WAV header of the challenge fits."""
KEY_FRAMES = 256
"""Frames from the middle of a clip that make its cheap key (16 ms at 16 kHz)."""

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_UNKNOWN_SIZE = 0xFFFFFFFF
"""Chunk size written by programs that stream and do not know the length."""


@dataclass(frozen=True)
class AudioHeader:
    """What a file's header says: length in frames, rate in Hz, number of channels."""

    frames: int
    sample_rate: int
    channels: int


@dataclass(frozen=True)
class _WavLayout:
    header: AudioHeader
    data_start: int
    frame_bytes: int
    sample_format: int


def read_header(path: Path) -> AudioHeader:
    """Read a recording's header, and no sample.

    Raises:
        AudioError: The file is missing, empty, no audio, truncated or without a sample.
    """
    header, _ = read_header_and_key(path)
    return header


def read_header_and_key(path: Path) -> tuple[AudioHeader, str]:
    """Read a recording's header and a cheap key: equal audio has equal keys, not the reverse.

    The key covers the header and `KEY_FRAMES` frames from the middle. WAV files that differ in
    nothing but other chunks (comments, cue points) have equal keys, as do 16-bit WAV and FLAC.

    Raises:
        AudioError: As `read_header`.
    """
    try:
        with path.open("rb") as file:
            layout = _wav_layout(file, path)
            if layout is not None:
                middle = layout.header.frames // 2
                count = min(KEY_FRAMES, layout.header.frames - middle)
                file.seek(layout.data_start + middle * layout.frame_bytes)
                return layout.header, _digest(layout.header, file.read(count * layout.frame_bytes))
    except OSError as error:
        raise AudioError(f"{path}: cannot be read ({error.strerror or error})") from error
    return _other_header_and_key(path)


def content_hash(path: Path) -> str:
    """Hash every sample of a recording; equal for equal audio, as `read_header_and_key` says.

    Raises:
        AudioError: As `read_header`.
    """
    digest = hashlib.blake2b(digest_size=16)
    try:
        with path.open("rb") as file:
            layout = _wav_layout(file, path)
            if layout is not None:
                digest.update(repr(layout.header).encode())
                left = layout.header.frames * layout.frame_bytes
                file.seek(layout.data_start)
                while left and (block := file.read(min(left, 1 << 20))):
                    digest.update(block)
                    left -= len(block)
                return digest.hexdigest()
        with soundfile.SoundFile(path) as sound:
            header = AudioHeader(sound.frames, sound.samplerate, sound.channels)
            digest.update(repr(header).encode())
            for block in sound.blocks(1 << 18, dtype=_exact_type(sound)):
                digest.update(block.tobytes())
    except (OSError, soundfile.SoundFileError) as error:
        raise AudioError(f"{path}: cannot be read ({error})") from error
    return digest.hexdigest()


def read_waveform(path: Path, channel: int = 0, sample_rate: int | None = None) -> Waveform:
    """Read one channel of a recording.

    Args:
        path: A WAV or FLAC file of any sample format.
        channel: Which channel, from 0.
        sample_rate: Resample to this rate in Hz (band-limited); None keeps the file's own.

    Returns:
        Samples (n,) in float32; integer formats are scaled to [-1, 1).

    Raises:
        AudioError: As `read_header`, or there is no such channel, or a sample is not finite.
    """
    header = read_header(path)
    _check_channel(path, channel, header.channels)
    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (OSError, soundfile.SoundFileError) as error:
        raise AudioError(f"{path}: cannot be decoded ({error})") from error
    waveform: Waveform = np.ascontiguousarray(samples[:, channel])
    if not np.isfinite(waveform).all():
        where = int(np.flatnonzero(~np.isfinite(waveform))[0])
        raise AudioError(
            f"{path}: sample {where} is {waveform[where]}, not a finite number; repair or remove it"
        )
    if sample_rate is not None and rate != sample_rate:
        waveform = soxr.resample(waveform, rate, sample_rate, quality="HQ").astype(np.float32)
    return waveform


def read_span(path: Path, start: int, frames: int, channel: int = 0) -> Waveform:
    """Read part of one channel at the file's own rate; 16-bit WAV without a decoder.

    Args:
        path: As in `read_waveform`.
        start: First frame.
        frames: How many frames; fewer are read at the end of the file.
        channel: As in `read_waveform`.

    Returns:
        Samples (n,) in float32, n <= frames.

    Raises:
        AudioError: As in `read_waveform`.
    """
    try:
        with path.open("rb", buffering=0) as file:
            layout = _wav_layout(file, path)
            if layout is not None and _is_int16(layout):
                channels = layout.header.channels
                _check_channel(path, channel, channels)
                count = max(0, min(frames, layout.header.frames - start))
                file.seek(layout.data_start + start * layout.frame_bytes)
                samples = np.frombuffer(file.read(count * layout.frame_bytes), dtype="<i2")
                return samples[channel::channels].astype(np.float32) * np.float32(2**-15)
        with soundfile.SoundFile(path) as sound:
            _check_channel(path, channel, sound.channels)
            sound.seek(min(start, sound.frames))
            decoded = sound.read(frames, dtype="float32", always_2d=True)[:, channel]
    except (OSError, soundfile.SoundFileError) as error:
        raise AudioError(f"{path}: cannot be read ({error})") from error
    if not np.isfinite(decoded).all():
        raise AudioError(f"{path}: holds a sample that is not a finite number; repair or remove it")
    return np.ascontiguousarray(decoded)


def _is_int16(layout: _WavLayout) -> bool:
    return (
        layout.sample_format == _PCM
        and layout.frame_bytes == np.dtype("<i2").itemsize * layout.header.channels
    )


def _check_channel(path: Path, channel: int, channels: int) -> None:
    if not 0 <= channel < channels:
        raise AudioError(
            f"{path}: there is no channel {channel}, the file has {channels}; "
            "choose another with --channel"
        )


def _wav_layout(file: BinaryIO, path: Path) -> _WavLayout | None:
    """Find the samples of a plain WAV file; None for other formats, which libsndfile reads."""
    size = os.fstat(file.fileno()).st_size
    head = file.read(HEADER_BYTES)
    if size == 0:
        raise AudioError(f"{path}: the file is empty; record or download it again")
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
        return None
    position, shape = 12, None
    while position + 8 <= size:
        chunk = head[position : position + 24]
        if len(chunk) < 24:  # noqa: PLR2004 - name, size and format
            file.seek(position)
            chunk = file.read(24)
        name, length = struct.unpack_from("<4sI", chunk)
        if name == b"fmt " and len(chunk) == 24:  # noqa: PLR2004
            shape = struct.unpack_from("<HHIIHH", chunk, 8)
        if name == b"data":
            return _data_layout(path, shape, position + 8, length, size)
        position += 8 + length + length % 2  # chunks are padded to an even size
    raise AudioError(f"{path}: the WAV header ends before any sample; record or download it again")


def _data_layout(
    path: Path, shape: tuple[int, ...] | None, start: int, length: int, size: int
) -> _WavLayout | None:
    if shape is None:
        raise AudioError(f"{path}: the WAV file says no sample format; record or download it again")
    tag, channels, rate, _, frame_bytes, _ = shape
    if tag not in (_PCM, _FLOAT, _EXTENSIBLE) or not (channels and rate and frame_bytes):
        return None
    if length == _UNKNOWN_SIZE:
        length = size - start
    if start + length > size:
        raise AudioError(
            f"{path}: truncated, {size - start} of {length} bytes of audio; download it again"
        )
    if length < frame_bytes:
        raise AudioError(f"{path}: holds no sample; record or download it again")
    return _WavLayout(AudioHeader(length // frame_bytes, rate, channels), start, frame_bytes, tag)


def _other_header_and_key(path: Path) -> tuple[AudioHeader, str]:
    try:
        with soundfile.SoundFile(path) as sound:
            header = AudioHeader(sound.frames, sound.samplerate, sound.channels)
            if header.frames == 0:
                raise AudioError(f"{path}: holds no sample; record or download it again")
            sound.seek(header.frames // 2)
            block = sound.read(KEY_FRAMES, dtype=_exact_type(sound), always_2d=True)
    except (OSError, soundfile.SoundFileError) as error:
        raise AudioError(f"{path}: not readable as audio ({error})") from error
    return header, _digest(header, block.tobytes())


def _exact_type(sound: soundfile.SoundFile) -> str:
    return "int16" if sound.subtype == "PCM_16" else "float64"


def _digest(header: AudioHeader, samples: bytes) -> str:
    digest = hashlib.blake2b(repr(header).encode(), digest_size=8)
    digest.update(samples)
    return digest.hexdigest()
