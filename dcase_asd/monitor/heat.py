"""When and where a recording differs from the normal ones: heat map, spans, one plain sentence.

Each cell of a recording's grid (0.25 s, a band of two mel bins) is compared with what the normal
recordings do in this band: by its mean level, by its peak level, by the mean of a second, and by
that of the whole window, so that a single knock, a hiss of a second and a faint lasting tone are
each seen on the scale that shows them best.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from dcase_asd.monitor.log_mel import Frames

Array = NDArray[np.float64]

MEAN, PEAK, SECOND = 0, 1, 4
VIEWS = ((MEAN, 1), (PEAK, 1), (MEAN, SECOND), (MEAN, 0))
"""How a grid is looked at: which value of its cells, and the mean of how many; 0 of all."""
FAINT = 1e-3
"""Deviation in dB below which a second is as usual."""
TAIL = 0.001
"""Share of normal cells on either side beyond the range that counts as usual."""
LEAST_SPREAD = 1.0
"""Smallest distance in dB from the middle to the end of the usual range."""
NOTICED, SHOWN = 1.5, 1.0
"""Deviation, in units of the usual range, that a span has at least, and that of a recording has
which is not normal as a whole."""
UNUSUAL = 0.95
"""Share of normal recordings that no span is to be marked in."""
FOLDS, FEWEST_APART = 10, 3
"""Parts of the normal recordings that are left out in turn; recordings that are left out whole."""
PART_OF_PEAK = 0.5
"""A span reaches as far as the deviation is at least so much of its largest."""
MOST_SPANS = 3


@dataclass(frozen=True)
class Span:
    """A time and band that differ.

    Attributes:
        start: In seconds.
        end: In seconds.
        low: In Hz.
        high: In Hz.
        decibels: Level above (or, negative, below) the nearest normal recording's.
        deviation: How far beyond the middle of what is normal, 1 being the end of the usual range.
    """

    start: float
    end: float
    low: float
    high: float
    decibels: float
    deviation: float

    def __str__(self) -> str:
        side = "above" if self.decibels >= 0 else "below"
        return (
            f"{self.start:.1f} to {self.end:.1f} s, {_hertz(self.low, self.high)}, "
            f"{abs(self.decibels):.0f} dB {side} the nearest normal"
        )

    def as_json(self) -> dict[str, float | str]:
        """Its values, rounded, and its sentence."""
        return {name: round(value, 3) for name, value in asdict(self).items()} | {"text": str(self)}


@dataclass(frozen=True)
class HeatMap:
    """Deviations from normal.

    Attributes:
        values: Signed deviation of each time and band, (t, f); beyond -1 and 1 it is unusual.
        times: Where the cells meet, in seconds, (t + 1,).
        bands: Where the bands meet, in Hz, (f + 1,).
    """

    values: Array
    times: Array
    bands: Array


def usual_range(grids: Sequence[Frames]) -> Array:
    """What normal recordings do in each band, (views, 3, f): lower end, middle and upper end.

    Args:
        grids: Of all normal windows, each (t, f, 2).
    """
    ranges = []
    for value, cells in VIEWS:
        seen = np.concatenate([_looked_at(grid, value, cells, spread=False) for grid in grids])
        low, middle, high = np.quantile(seen, (TAIL, 0.5, 1 - TAIL), axis=0)
        ranges.append([low, middle, high])
    return np.array(ranges)


def normal_events(grids: Sequence[Frames], owners: NDArray[np.intp]) -> Array:
    """The strongest deviation in each normal window from what the others do, (n,).

    Each tenth of the recordings is compared with the range of the others.

    Args:
        grids: Of all normal windows.
        owners: Recording of each of them, (n,).
    """
    names, places = np.unique(owners, return_inverse=True)
    # Windows of very few recordings are compared with other windows of the same ones.
    groups = (places if len(names) >= FEWEST_APART else np.arange(len(grids))) % FOLDS
    events = np.empty(len(grids))
    for group in np.unique(groups):
        usual = usual_range([grids[at] for at in np.flatnonzero(groups != group).tolist()])
        for at in np.flatnonzero(groups == group).tolist():
            events[at] = np.abs(deviations(grids[at], usual)[0]).max()
    return events


def deviations(grid: Frames, usual: Array) -> tuple[Array, NDArray[np.intp]]:
    """Signed deviation of each cell, (t, f), in the view that shows it best, and which that is."""
    seen = []
    for (value, cells), (low, middle, high) in zip(VIEWS, usual, strict=True):
        away = _looked_at(grid, value, cells, spread=True) - middle
        up, down = np.maximum(high - middle, LEAST_SPREAD), np.maximum(middle - low, LEAST_SPREAD)
        deviation = np.where(away >= 0, away / up, away / down)
        seen.append(deviation if cells else deviation * _presence(grid, middle, deviation))
    stacked = np.array(seen)
    best = np.abs(stacked).argmax(axis=0)
    return np.take_along_axis(stacked, best[None], axis=0)[0], best


def find_spans(
    heat: HeatMap, grid: Frames, views: NDArray[np.intp], nearest: Frames, least: float = NOTICED
) -> list[Span]:
    """The times and bands that differ most, the strongest first.

    Args:
        heat: The deviations.
        grid: The recording's, (t, f, 2).
        views: In which of `VIEWS` each cell is seen, (t, f).
        nearest: Level of the nearest normal recording in each band, (f, 2).
        least: Deviation of a span at least.
    """
    left = heat.values.copy()
    spans: list[Span] = []
    while len(spans) < MOST_SPANS:
        time, band = np.unravel_index(np.abs(left).argmax(), left.shape)
        peak = float(left[time, band])
        if abs(peak) < least:
            break
        strong = left * np.sign(peak) >= PART_OF_PEAK * abs(peak)
        times = _around(strong[:, band], int(time))
        bands = _around(strong[times].mean(axis=0) >= PART_OF_PEAK, int(band))
        times = _around(strong[:, bands].mean(axis=1) >= PART_OF_PEAK, int(time))
        value = VIEWS[views[time, band]][0]
        level = float((grid[times, bands, value] - nearest[bands, value]).mean())
        spans.append(
            Span(
                float(heat.times[times.start]), float(heat.times[times.stop]),
                float(heat.bands[bands.start]), float(heat.bands[bands.stop]), level, peak,
            )
        )  # fmt: skip
        left[times, bands] = 0.0
    return spans


def _presence(grid: Frames, middle: Array, deviation: Array) -> Array:
    """At which times that is so by which a whole window deviates, (t, f) in [0, 1]."""
    away = (_looked_at(grid, MEAN, SECOND, spread=True) - middle) * np.sign(deviation)
    present: Array = np.clip(away / np.maximum(away.max(axis=0), FAINT), 0.0, 1.0)
    return present


def _looked_at(grid: Frames, value: int, cells: int, *, spread: bool) -> Array:
    """One view of a grid, (t, f); without `spread` a view of all cells is one row."""
    seen = grid[:, :, value].astype(np.float64)
    cells = min(cells or len(seen), len(seen))
    if cells == len(seen):
        mean = seen.mean(axis=0, keepdims=True)
        return np.repeat(mean, len(seen), axis=0) if spread else mean
    if cells == 1:
        return seen
    sums = np.cumsum(np.concatenate([np.zeros((1, seen.shape[1])), seen]), axis=0)
    moving: Array = (sums[cells:] - sums[:-cells]) / cells
    if not spread:
        return moving
    # Of a cell the mean around it; near the ends that of the first and the last cells.
    at = np.clip(np.arange(len(seen)) - cells // 2, 0, len(moving) - 1)
    return np.asarray(moving[at])


def _around(there: NDArray[np.bool_], at: int) -> slice:
    """The run of true values around one, which counts as true."""
    start = stop = at
    while start > 0 and there[start - 1]:
        start -= 1
    while stop + 1 < len(there) and there[stop + 1]:
        stop += 1
    return slice(start, stop + 1)


def _hertz(low: float, high: float) -> str:
    if high < 1000:  # noqa: PLR2004 - below it in Hz
        return f"{low:.0f} to {high:.0f} Hz"
    return f"{low / 1000:.2g} to {high / 1000:.2g} kHz"
