"""What a recording says of its microphone and recorder, measured as it is gone through."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dcase_asd.audio import Waveform

QUIET_SHARE = 0.05
"""The noise floor is the level that so many of the 10 ms pieces of a recording stay below."""
SILENCE = -200.0
"""Level in dB that stands for digital silence."""
POWER_FLOOR = 10 ** (SILENCE / 10)
"""The same as a power, full scale being 1."""
FLOOR_BINS, FLOOR_STEP = 2048, 0.1
"""Levels of pieces are counted in so many steps of so many dB, from `SILENCE` on."""


@dataclass(frozen=True)
class Properties:
    """What a recording says of its microphone and recorder, not of the machine.

    Levels are in dB of full scale; `noise_floor` is that of the quietest 10 ms pieces, `offset` the
    mean of the samples, `clipped` the share of samples that stay at the recording's own extreme,
    `frozen` the longest time in seconds in which no sample differs from the one before.
    """

    rate: float
    seconds: float
    level: float
    noise_floor: float
    offset: float
    clipped: float
    frozen: float

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, vars(self).values())):
            raise ValueError("holds a number that is not finite")


def new_key(rate: int) -> hashlib.blake2b:
    """Becomes `Heard.key` when it is updated with the bytes of all blocks."""
    return hashlib.blake2b(str(rate).encode(), digest_size=16)


class Meter:
    """Measures `Properties`, block by block."""

    def __init__(self, rate: int) -> None:
        self.rate, self.piece = rate, max(1, rate // 100)
        self.digest = new_key(rate)
        self.count, self.total, self.energy = 0, 0.0, 0.0
        self.pieces = np.zeros(FLOOR_BINS, dtype=np.int64)
        self.low, self.high, self.at_low, self.at_high = np.inf, -np.inf, 0, 0
        self.last = np.zeros(0, dtype=np.float32)
        self.frozen = self.run = 0

    def add(self, block: Waveform) -> None:
        """Go on with the next samples, (n,), n > 0."""
        self.digest.update(block.tobytes())
        wide = block.astype(np.float64)
        self.count += len(block)
        self.total += float(wide.sum())
        self.energy += float(wide @ wide)
        whole = wide[: len(wide) - len(wide) % self.piece].reshape(-1, self.piece)
        levels = 10 * np.log10(np.maximum(whole.var(axis=1), POWER_FLOOR)) - SILENCE
        steps = np.minimum(np.rint(levels / FLOOR_STEP).astype(np.intp), FLOOR_BINS - 1)
        self.pieces += np.bincount(steps, minlength=FLOOR_BINS)
        joined = np.concatenate([self.last, block])
        self.last = block[-1:]
        self._extremes(joined)
        self._runs(np.diff(joined) == 0)

    def _extremes(self, joined: Waveform) -> None:
        low, high = float(joined.min()), float(joined.max())
        if low < self.low:
            self.low, self.at_low = low, 0
        if high > self.high:
            self.high, self.at_high = high, 0
        if low <= self.low:
            at = joined == self.low
            self.at_low += int((at[1:] & at[:-1]).sum())
        if high >= self.high:
            at = joined == self.high
            self.at_high += int((at[1:] & at[:-1]).sum())

    def _runs(self, equal: NDArray[np.bool_]) -> None:
        changes = np.flatnonzero(~equal)
        if not len(changes):
            self.run += len(equal)
        else:
            inside = int(np.diff(changes).max(initial=1)) - 1
            self.frozen = max(self.frozen, self.run + int(changes[0]), inside)
            self.run = len(equal) - 1 - int(changes[-1])
        self.frozen = max(self.frozen, self.run)

    def properties(self) -> Properties:
        """Of all samples so far."""
        mean = self.total / self.count
        variance = max(self.energy / self.count - mean**2, 0.0)
        silent = self.high == self.low
        below = self.pieces.cumsum()
        floor = SILENCE + FLOOR_STEP * int((below < QUIET_SHARE * below[-1]).sum())
        return Properties(
            rate=self.rate,
            seconds=self.count / self.rate,
            level=SILENCE if silent else _decibels(variance),
            noise_floor=floor if below[-1] else _decibels(variance),
            offset=mean,
            clipped=(self.at_low + self.at_high) / self.count,
            frozen=self.frozen / self.rate,
        )


def _decibels(power: float) -> float:
    return float(10 * np.log10(max(power, POWER_FLOOR)))
