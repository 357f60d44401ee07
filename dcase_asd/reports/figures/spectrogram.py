"""Spectrograms of a clip and of the normal clip nearest to it, and where the two differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dcase_asd.audio import Waveform
from dcase_asd.metrics.ranking import Floats
from dcase_asd.reports.figures.style import new_figure

COLUMNS, BANDS = 200, 64
"""Squares of a spectrogram at most; the picture is about 280 CSS pixels wide."""
FRAME_SECONDS = 0.064
DEPTH = 80.0
"""Decibels from the darkest to the brightest color."""
SHADES = 24
"""Colors that are told apart; few make small files."""
FAINTEST = 1e-12
"""Power below which all is silence, -120 dB of full scale."""
PANEL = 0.95
"""Inches."""
LINEAR = MaxNLocator(nbins=4)
MEL_TICKS = (0, 500, 2000, 7000, 20000)
"""In Hz, about as far from each other."""


@dataclass(frozen=True)
class Map:
    """Values over time and frequency.

    Attributes:
        times: Edges of the columns in seconds, (t + 1,), ascending.
        frequencies: Edges of the rows in Hz, (f + 1,), ascending.
        values: (t, f); of a spectrogram in decibels of full scale.
    """

    times: Floats
    frequencies: Floats
    values: Floats


def spectrogram(samples: Waveform, sample_rate: int, highest: float | None = None) -> Map:
    """Mean level of each piece of time and band of equal width, in decibels of full scale.

    Hann windows of `FRAME_SECONDS` that overlap by half; a full-scale sine has 0 dB in the band
    that holds it.

    Args:
        samples: (n,), in [-1, 1].
        sample_rate: In Hz.
        highest: Up to which frequency in Hz, with bands of equal width in mel; None has bands of
            equal width in Hz up to half the rate.
    """
    frame = 2 ** max(5, round(np.log2(FRAME_SECONDS * sample_rate)))
    hop = frame // 2
    padded = np.pad(samples, (0, max(0, frame - len(samples))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, frame)[::hop]
    window = np.hanning(frame + 1)[:-1].astype(np.float32)
    power = np.abs(np.fft.rfft(frames * window)[:, 1:]) ** 2 * (32 / 3 / frame**2)
    columns = np.unique(np.linspace(0, len(power), min(COLUMNS, len(power)) + 1).astype(int))
    edges = np.linspace(0, power.shape[1], min(BANDS, power.shape[1]) + 1)
    if highest is not None:
        top = min(highest, sample_rate / 2)
        edges = _hertz(np.linspace(0, _mel(top), len(edges))) * (frame / sample_rate)
    rows = np.unique(edges.astype(int))
    power = power[:, : rows[-1]]
    pooled = np.add.reduceat(power, columns[:-1], axis=0) / np.diff(columns)[:, None]
    pooled = np.add.reduceat(pooled, rows[:-1], axis=1)
    times = columns * (len(padded) / len(power) / sample_rate)
    levels = 10 * np.log10(np.maximum(pooled.astype(np.float64), FAINTEST))
    return Map(times, rows * (sample_rate / frame), levels)


def clip_figure(panels: Sequence[tuple[str, Map]], brightest: float, difference: Map | None,
                greatest: float) -> Figure:  # fmt: skip
    """Maps one above the other, with the same time and frequency axes.

    Where a difference is given, they reach as far up as it does, on a mel scale: it is known in mel
    bands, of which the lowest would be a line on a scale of Hz.

    Args:
        panels: Title and spectrogram of the clip and perhaps of another one.
        brightest: Decibels of the brightest color, the same for all clips of a list.
        difference: Where the clip differs, 0 for not at all; None where that is not known.
        greatest: Its value from which on a color is the brightest, the same for all clips of a
            list.
    """
    shown = [(title, each, brightest - DEPTH, brightest) for title, each in panels]
    if difference is not None:
        shown.append(("difference", difference, 0.0, greatest))
    count = len(shown)
    top = max(each.frequencies[-1] for _, each in panels) if difference is None else (
        difference.frequencies[-1])  # fmt: skip
    height, hertz = (_same, _same) if difference is None else (_mel, _hertz)
    figure = new_figure(0.22 + 0.46 + (PANEL + 0.22) * count, left=0.56, top=0.22, bottom=0.46)
    figure.subplots_adjust(hspace=0.22 / PANEL)
    grid = figure.subplots(count, 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    for axes, (title, each, low, high) in zip(grid, shown, strict=True):
        axes.set_title(title)
        # An image has rows of equal height: each takes the value of the band that it lies in.
        low_end, high_end = height(each.frequencies[[0, -1]])
        edges = np.linspace(low_end, high_end, 2 * BANDS + 1)
        middles = hertz((edges[1:] + edges[:-1]) / 2)
        bands = np.searchsorted(each.frequencies, middles, side="right") - 1
        share = np.clip((each.values[:, bands].T - low) / max(high - low, 1e-9), 0, 1)
        axes.imshow(
            np.round(share * SHADES) / SHADES, origin="lower", aspect="auto", cmap="magma", vmin=0,
            vmax=1, interpolation="none",
            extent=(each.times[0], each.times[-1], low_end, high_end),
        )  # fmt: skip
        axes.set_ylabel("kHz")
    grid[0].set_xlim(0, max(each.times[-1] for _, each, *_ in shown))
    grid[0].set_ylim(0, height(top))
    ticks = np.array(LINEAR.tick_values(0, top) if difference is None else MEL_TICKS)
    ticks = ticks[ticks <= top]
    grid[0].set_yticks(height(ticks), [f"{each / 1000:g}" for each in ticks])
    grid[-1].set_xlabel("seconds")
    return figure


def _mel(hertz: float | Floats) -> Floats:
    """HTK's scale."""
    return np.asarray(1127.0 * np.log1p(np.asarray(hertz) / 700.0))


def _hertz(mel: Floats) -> Floats:
    return np.asarray(700.0 * np.expm1(np.asarray(mel) / 1127.0))


def _same(hertz: float | Floats) -> Floats:
    return np.asarray(hertz)
