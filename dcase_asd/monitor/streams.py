"""A stream of samples, such as a microphone's through a pipe: window by window, as they come."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from dcase_asd.audio import Waveform
from dcase_asd.errors import AudioError
from dcase_asd.monitor.hearing import SHORTEST, sound_of
from dcase_asd.monitor.monitor import Monitor
from dcase_asd.monitor.verdict import Rule, Verdict
from dcase_asd.wav import AudioHeader, WavLayout, decode, sample_layout

STANDARD_INPUT = Path("-")
RAW = WavLayout(AudioHeader(1, 1, 1), (), "<i2", 2**-15, 2, "")
"""Samples without a header: signed 16-bit, little-endian, one channel."""
AT_ONCE = 1 << 16
LONGEST_HEADER = 1 << 20
"""Bytes before the samples of a WAV stream."""
WINDOW_LIMITS = (SHORTEST, 3600.0)
"""In seconds."""


@dataclass(frozen=True)
class Windows:
    """How a stream is cut: `window` and `hop` in seconds; `rate` in Hz of raw samples."""

    window: float
    hop: float
    rate: int | None = None

    def __post_init__(self) -> None:
        low, high = WINDOW_LIMITS
        if not (low <= self.window <= high and 0 < self.hop <= self.window):
            raise AudioError(
                f"--window {self.window:g} --hop {self.hop:g}: a window has {low:g} to {high:g} s, "
                "and a hop is at most as long"
            )


def check_stream(
    monitor: Monitor,
    stream: BinaryIO,
    windows: Windows,
    false_alarms: float,
    rule: Rule | None = None,
) -> Iterator[Verdict | str]:
    """Judge each window of a stream as soon as its last sample is there.

    With a rule a window is called anomalous only where so many of the last ones are. What is left
    at the end is judged together with what comes before it.

    Args:
        monitor: Of the machine.
        stream: Raw 16-bit samples of one channel, or a WAV file.
        windows: How it is cut.
        false_alarms: Share of normal windows that may be called anomalous.
        rule: See above.

    Yields:
        A verdict, or a line that says what is wrong with the samples of a window.

    Raises:
        AudioError: Raw samples have no rate, a WAV stream has another; or it ends too early.
    """
    rate, pieces = _samples(stream, windows.rate, monitor.front.channel)
    size, hop = round(windows.window * rate), max(1, round(windows.hop * rate))
    held = np.zeros(0, dtype=np.float32)
    waiting: list[Waveform] = []  # joined when they fill a window: pieces may be a few samples
    start, fresh, there = 0, 0, 0
    last = deque[bool](maxlen=rule.of if rule else 1)

    def judged(samples: Waveform, at: int) -> Verdict | str:
        begin = at / rate
        name = f"- {begin:.1f} to {begin + len(samples) / rate:.1f} s"
        try:
            sound = sound_of(samples, rate, name, begin)
        except AudioError as error:  # floats that are no numbers, and the machine runs on
            last.append(False)
            return str(error)
        found = monitor.judge.judge(sound, false_alarms, None)
        last.append(found.verdict == "anomalous")
        if rule and found.verdict == "anomalous" and sum(last) < rule.least:
            return replace(found, verdict="suspicious")
        return found

    for piece in pieces:
        waiting.append(piece)
        fresh, there = fresh + len(piece), there + len(piece)
        if there < size:
            continue
        held, waiting = np.concatenate([held, *waiting]), []
        while len(held) >= size:
            yield judged(held[:size], start)
            fresh = len(held) - size
            held, start = held[hop:], start + hop
        there = len(held)
    held = np.concatenate([held, *waiting])
    if start == 0 and len(held) < SHORTEST * rate:
        raise AudioError(
            f"standard input: ended after {len(held) / rate:.2f} s, and a recording to judge has "
            f"{SHORTEST} s at least"
        )
    if fresh >= SHORTEST * rate:
        yield judged(held, start)


def _samples(stream: BinaryIO, rate: int | None, channel: int) -> tuple[int, Iterator[Waveform]]:
    head = _more(stream, b"", 12)
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
        if rate is None:
            raise AudioError(
                "standard input: raw samples do not say their rate; give it in Hz, as in "
                "--rate 16000, or send a WAV file"
            )
        return rate, _decoded(stream, head, RAW, None, 0)
    layout, head, length = _wav_header(stream, head)
    given = layout.header
    if rate not in (None, given.sample_rate):
        raise AudioError(f"standard input: a WAV file of {given.sample_rate} Hz, not --rate {rate}"
                         "; leave --rate out")  # fmt: skip
    if channel >= given.channels:
        raise AudioError(f"standard input: there is no channel {channel}, it has {given.channels}")
    return given.sample_rate, _decoded(stream, head, layout, length, channel)


def _more(stream: BinaryIO, head: bytes, count: int) -> bytes:
    """Read on until there are so many bytes, or the end."""
    while len(head) < count and (part := stream.read(count - len(head))):
        head += part
    return head


def _wav_header(stream: BinaryIO, head: bytes) -> tuple[WavLayout, bytes, int | None]:
    """The layout, what was read of the samples, and their bytes; None up to the end."""
    form, at = b"", 12
    while len(head := _more(stream, head, at + 8)) >= at + 8 <= LONGEST_HEADER:
        name, length = struct.unpack_from("<4sI", head, at)
        at += 8
        if name == b"data":
            layout = sample_layout(Path("standard input"), form, ((0, 1 << 40),), [])
            if layout is None:
                break
            # A program that streams does not know the length: 0, or about 2 or 4 GiB.
            known = 0 < length < 0x7FFF0000  # noqa: PLR2004
            return layout, head[at:], length if known else None
        head = _more(stream, head, at + length + length % 2)
        if name == b"fmt ":
            form = head[at : at + length]
        at += length + length % 2
    raise AudioError("standard input: a WAV file without plain samples; send 16-bit PCM")


def _decoded(
    stream: BinaryIO, head: bytes, layout: WavLayout, length: int | None, channel: int
) -> Iterator[Waveform]:
    read = getattr(stream, "read1", stream.read)  # what is there, without waiting for more
    pending, part, left = b"", head, length
    while True:
        if left is not None:
            part = part[:left]
            left -= len(part)
        pending += part
        if whole := len(pending) - len(pending) % layout.frame_bytes:
            yield np.ascontiguousarray(decode(pending[:whole], layout)[:, channel])
            pending = pending[whole:]
        if left == 0 or not (part := read(AT_ONCE)):
            return
