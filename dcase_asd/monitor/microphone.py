"""What is unusual about a recording itself: its level, rate, microphone or recorder.

None of this is a fault of the machine, and a listener should know it before looking for one. Every
limit is the range of the normal recordings and a margin beyond it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dcase_asd.monitor.hearing import DECIBELS
from dcase_asd.monitor.meter import SILENCE, Properties

LEVEL_MARGIN, FLOOR_MARGIN = 6.0, 10.0
"""In dB beyond the normal recordings' range."""
OFFSET = 0.01
"""Smallest mean of the samples that is told of, full scale being 1."""
CLIPPED = 0.0005
"""Smallest share of samples at the extreme that is told of."""
FROZEN = 0.02
"""Shortest time in seconds without any change of the samples that is told of."""
MORE = 2.0
"""Times the normal recordings' largest that is told of."""
EMPTY = 15.0
"""A mel bin holds nothing where it is so many dB below the quietest normal recording's."""
EMPTY_BINS = 4
"""How many bins up to the highest have to be empty."""

Array = NDArray[np.float64]


def heard_bins(means: Array, normal: Array) -> int:
    """How many mel bins, from the lowest, a recording has anything in.

    Args:
        means: Mean of each bin in nepers, (k,).
        normal: Those of the normal windows, (n, k).
    """
    empty = (normal.min(axis=0) - means) * DECIBELS > EMPTY
    full = np.flatnonzero(~empty)
    last = int(full[-1]) + 1 if len(full) else 0
    return last if 0 < last <= len(means) - EMPTY_BINS else len(means)


def level_beyond(own: Properties, normal: Sequence[Properties]) -> float:
    """How many dB the level is from the middle of the normal ones; 0 where that is usual."""
    levels = [each.level for each in normal]
    if min(levels) - LEVEL_MARGIN <= own.level <= max(levels) + LEVEL_MARGIN:
        return 0.0
    return own.level - float(np.median(levels))


def recording_notes(own: Properties, normal: Sequence[Properties]) -> list[str]:
    """What is unlike all normal recordings, a sentence each."""
    if own.level <= SILENCE:
        return ["silence: all samples are equal; look at the microphone and its cable"]
    notes = []
    rates = sorted({each.rate for each in normal})
    if own.rate not in rates:
        theirs = " or ".join(f"{rate:.0f}" for rate in rates[:3])
        notes.append(f"recorded at {own.rate:.0f} Hz, the normal recordings at {theirs} Hz")
    if beyond := level_beyond(own, normal):
        side = "louder" if beyond > 0 else "quieter"
        notes.append(
            f"{abs(beyond):.0f} dB {side} than the normal recordings: another distance or gain, "
            "unless the machine itself is"
        )
    else:
        floors = [each.noise_floor for each in normal]
        if own.noise_floor > max(floors) + FLOOR_MARGIN:
            notes.append(f"its quietest moments are {own.noise_floor - max(floors):.0f} dB louder "
                         "than in any normal recording: another noise floor")  # fmt: skip
        if own.noise_floor < min(floors) - FLOOR_MARGIN:
            notes.append(f"its quietest moments are {min(floors) - own.noise_floor:.0f} dB quieter "
                         "than in any normal recording: pauses, or a noise gate")  # fmt: skip
    if abs(own.offset) > max(OFFSET, MORE * max(abs(each.offset) for each in normal)):
        notes.append(f"its samples have a mean of {own.offset:.3f}: a DC offset of the recorder")
    if own.clipped > max(CLIPPED, MORE * max(each.clipped for each in normal)):
        notes.append(f"clipped: {100 * own.clipped:.2g} % of its samples stay at the extreme")
    if own.frozen > max(FROZEN, MORE * max(each.frozen for each in normal)):
        notes.append(f"a dropout: its samples do not change for {own.frozen:.2f} s")
    return notes
