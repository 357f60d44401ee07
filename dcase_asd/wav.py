"""WAV files of plain samples: where those stand, by a walk that also reads what streams leave.

libsndfile refuses or misreads several files that recorders and pipes write: a length that was not
known yet, a block align that contradicts the format, the format after the samples, samples in two
chunks. Here the walk is our own; what had to be assumed is told.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from dcase_asd.errors import AudioError

HEADER_BYTES = 4096
"""Read at once from the start of a file; every WAV header of the challenge fits."""
AGAIN = "copy, record or download it again"
"""The way out of a file that is not whole."""
STREAMED = "its length is not given, as in a stream: read to the end of the file"
"""Note of a file that a program streams into, or has streamed into."""

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_SUBFORMAT = bytes.fromhex("000000001000800000aa00389b71")
"""What follows the format tag in the GUID of an extensible format."""
_SAMPLES = {
    (_PCM, 1): ("u1", 2**-7),
    (_PCM, 2): ("<i2", 2**-15),
    (_PCM, 3): ("<i3", 2**-31),
    (_PCM, 4): ("<i4", 2**-31),
    (_FLOAT, 4): ("<f4", 1.0),
    (_FLOAT, 8): ("<f8", 1.0),
}
"""Format tag and bytes of a sample -> its type (``<i3`` is ours) and the factor to [-1, 1)."""
_CHUNKS = {
    b"data", b"fmt ", b"LIST", b"fact", b"JUNK", b"junk", b"PAD ", b"FLLR", b"bext", b"iXML",
    b"axml", b"cue ", b"smpl", b"inst", b"PEAK", b"id3 ", b"ID3 ", b"_PMX", b"umid", b"minf",
}  # fmt: skip
"""Names that begin a chunk, and no sample or text, wherever they may be looked for."""
_UNKNOWN_LENGTHS = (
    range(0x7FFF0000, 0x80010000),  # sox, arecord and others: about 2 GiB
    range(0xFFFF0000, 0x100000000),  # ffmpeg and others: about 4 GiB
)
"""Lengths of programs that stream, and cannot go back to write the length when they know it."""


@dataclass(frozen=True)
class AudioHeader:
    """What a file's header says: length in frames, rate in Hz, number of channels."""

    frames: int
    sample_rate: int
    channels: int


@dataclass(frozen=True)
class WavLayout:
    """Where the samples of a WAV file are.

    Attributes:
        header: Its length, rate and channels.
        spans: Start and length in bytes of each part of the samples.
        sample: Type of a sample.
        factor: What a sample is multiplied with.
        frame_bytes: Size of one sample of each channel.
        note: What was assumed, in words; empty where the file says all.
    """

    header: AudioHeader
    spans: tuple[tuple[int, int], ...]
    sample: str
    factor: float
    frame_bytes: int
    note: str


def wav_layout(file: BinaryIO, path: object) -> WavLayout | None:
    """Find the samples of a WAV file of integers or floats.

    Args:
        file: The file, opened at its start.
        path: Its name, for messages.

    Returns:
        None for every other format, which libsndfile reads.

    Raises:
        AudioError: The file is empty or truncated, or holds no sample or unknown ones.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(HEADER_BYTES)
    if size == 0:
        raise AudioError(f"{path}: the file is empty; {AGAIN}")
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
        return None
    form, notes = b"", []
    spans: list[tuple[int, int]] = []
    peek = partial(_peek, file, head)
    for name, start, length, streamed in _chunks(peek, size):
        if name == b"fmt " and not form:
            form = peek(start, min(length, 40))
        if name != b"data":
            continue
        if start + length > size:
            raise AudioError(
                f"{path}: truncated, {size - start} of {length} bytes of audio; {AGAIN}"
            )
        spans.append((start, length))
        if streamed:
            notes.append(STREAMED)
    if not spans:
        raise AudioError(f"{path}: the WAV header ends before any sample; {AGAIN}")
    filled = tuple(span for span in spans if span[1])
    if len(filled) > 1:
        notes.append(f"its samples are in {len(filled)} parts: joined")
    return sample_layout(path, form, filled, notes)


def _peek(file: BinaryIO, head: bytes, position: int, count: int) -> bytes:
    if position + count <= len(head):
        return head[position : position + count]
    file.seek(position)
    return file.read(count)


def _chunks(peek: Callable[[int, int], bytes], size: int) -> Iterator[tuple[bytes, int, int, bool]]:
    """Name, start and length of each chunk, and whether its length had to be assumed."""
    position = 12
    while position + 8 <= size:
        name, length = struct.unpack("<4sI", peek(position, 8))
        if not (name.isascii() and name.decode("ascii").isprintable()):
            return  # no chunk, but what somebody left behind the last one
        start = position + 8
        streamed = False
        if name == b"LIST" and peek(start, 4) == b"wavl":
            length = 4  # the samples are chunks of this list
        elif name == b"data" and length == 0:
            streamed = start < size and peek(start, 4) not in _CHUNKS
        elif name == b"data" and start + length > size:
            streamed = any(length in lengths for lengths in _UNKNOWN_LENGTHS)
        if streamed:
            length = size - start
        yield name, start, length, streamed
        position = start + length
        # Chunks are padded to an even size, though not by every program.
        if length % 2 and not (
            peek(position, 4) in _CHUNKS and peek(position + 1, 4) not in _CHUNKS
        ):
            position += 1


def sample_layout(
    path: object, form: bytes, spans: tuple[tuple[int, int], ...], notes: list[str]
) -> WavLayout | None:
    """What the format chunk says of samples that stand at `spans`; None where they are coded.

    Raises:
        AudioError: It is malformed, says unknown samples, or there is none.
    """
    if len(form) < 16:  # noqa: PLR2004 - the shortest format chunk
        raise AudioError(f"{path}: the WAV file says no sample format; {AGAIN}")
    tag, channels, rate, byte_rate, align, bits = struct.unpack_from("<HHIIHH", form)
    if tag == _EXTENSIBLE and form[26:40] == _SUBFORMAT:
        (tag,) = struct.unpack_from("<H", form, 24)
    if tag not in (_PCM, _FLOAT):
        return None
    if not (channels and rate):
        raise AudioError(f"{path}: its header says {channels} channels at {rate} Hz; {AGAIN}")
    # The block align follows from the bits of a sample; programs are known to write a wrong one.
    width = -(-bits // 8) or align // channels
    sample, factor = _SAMPLES.get((tag, width), ("", 0.0))
    if (width, align, byte_rate) == (3, 4 * channels, 4 * channels * rate):
        sample = ""  # packed, at either end of four bytes, or floats: programs differ
    if not sample:
        kind = "float" if tag == _FLOAT else "integer"
        raise AudioError(
            f"{path}: {kind} samples of {bits} bits in blocks of {align} bytes for {channels} "
            "channel(s) cannot be told apart; convert it to 16-bit WAV"
        )
    if align != width * channels:
        notes.append(f"its block align is {align}, where {width * channels} is right")
    frames = sum(length for _, length in spans) // (width * channels)
    if not frames:
        raise AudioError(f"{path}: holds no sample; {AGAIN}")
    header = AudioHeader(frames, rate, channels)
    return WavLayout(header, spans, sample, factor, width * channels, "; ".join(notes))


def read_bytes(file: BinaryIO, layout: WavLayout, start: int, frames: int) -> bytes:
    """Read frames as they stand in the file; fewer at its end."""
    first, left = start * layout.frame_bytes, frames * layout.frame_bytes
    parts = []
    for begin, length in layout.spans:
        if first < length:
            file.seek(begin + first)
            parts.append(file.read(min(left, length - first)))
            left -= len(parts[-1])
        first = max(first - length, 0)
    content = b"".join(parts)
    return content[: len(content) - len(content) % layout.frame_bytes]


def read_into(
    file: BinaryIO, layout: WavLayout, start: int, room: NDArray[np.int16], channel: int
) -> int:
    """Read 16-bit samples of one channel into an array; how many, fewer at the end of the file."""
    channels = layout.header.channels
    if channels == len(layout.spans) == 1:
        begin, length = layout.spans[0]
        file.seek(begin + 2 * start)
        left = max(length // 2 - start, 0)
        return (file.readinto(room[:left].data) or 0) // 2  # type: ignore[attr-defined] # BinaryIO lacks it
    content = read_bytes(file, layout, start, len(room))
    samples = np.frombuffer(content, dtype=layout.sample)[channel::channels]
    room[: len(samples)] = samples
    return len(samples)


def decode(content: bytes, layout: WavLayout) -> NDArray[np.float32]:
    """Samples (n, channels) of frames as `read_bytes` gives them, scaled as libsndfile does."""
    if layout.sample == "<i3":
        wide = np.zeros((len(content) // 3, 4), dtype=np.uint8)
        wide[:, 1:] = np.frombuffer(content, dtype=np.uint8).reshape(-1, 3)
        values = wide.view("<i4")[:, 0]
    else:
        values = np.frombuffer(content, dtype=layout.sample)
    with np.errstate(over="ignore"):  # a double too large for float32 becomes infinite
        samples: NDArray[np.float32] = values.astype(np.float32)
    if layout.sample == "u1":
        samples -= 128
    if layout.factor != 1:
        samples *= np.float32(layout.factor)
    return samples.reshape(-1, layout.header.channels)
