"""The log-mel front end without torch: what a check of one clip needs, quick to import.

Equal to `dcase_asd.features.LogMel`, and so to Kaldi's, up to rounding of float32.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Frames = NDArray[np.float32]

FRAME_SECONDS, SHIFT_SECONDS = 0.025, 0.010
PREEMPHASIS = 0.97
LOWEST_FREQUENCY = 20.0
"""In Hz, where the lowest mel filter begins."""
ENERGY_FLOOR = float(np.finfo(np.float32).eps)
INT16_SCALE = 2.0**15
"""From [-1, 1] to the 16-bit values that Kaldi's features are defined on."""
BLOCK_FRAMES = 256
"""Frames computed at once: their 512 float32 each stay in the cache."""


class LogMel:
    """Natural-logarithm mel energies of 25 ms frames every 10 ms, none beyond the end.

    Args:
        sample_rate: Rate of the waveforms in Hz.
        mel_bins: Number of mel filters, from 20 Hz to half the rate.
    """

    def __init__(self, sample_rate: int = 16000, mel_bins: int = 128) -> None:
        self.sample_rate, self.mel_bins = sample_rate, mel_bins
        self.frame_length = int(sample_rate * FRAME_SECONDS)
        self.frame_shift = int(sample_rate * SHIFT_SECONDS)
        self.fft_length = 2 ** math.ceil(math.log2(self.frame_length))
        self.window = (np.hanning(self.frame_length) ** 0.85).astype(np.float32)
        top = _mel(np.array(sample_rate / 2))
        self.edges = np.linspace(_mel(np.array(LOWEST_FREQUENCY)), top, mel_bins + 2)
        """Where the filters begin, peak and end, in mel, (mel_bins + 2,)."""
        bins = _mel(np.arange(self.fft_length // 2) * sample_rate / self.fft_length)[:, None]
        left, middle, right = self.edges[:-2], self.edges[1:-1], self.edges[2:]
        slopes = np.minimum((bins - left) / (middle - left), (right - bins) / (right - middle))
        self.filters = np.zeros((self.fft_length // 2 + 1, mel_bins), dtype=np.float32)
        self.filters[:-1] = np.maximum(slopes, 0.0)  # Kaldi leaves half the rate out

    @property
    def hertz(self) -> NDArray[np.float64]:
        """Where the filters begin, peak and end, in Hz, (mel_bins + 2,)."""
        return np.asarray(700.0 * np.expm1(self.edges / 1127.0))

    def __call__(self, waveform: NDArray[np.float32]) -> Frames:
        """Samples (n,) in [-1, 1] -> (t, mel_bins); t = 0 where they do not fill a frame."""
        count = max((len(waveform) - self.frame_length) // self.frame_shift + 1, 0)
        result = np.empty((count, self.mel_bins), dtype=np.float32)
        if not count:
            return result
        scaled = np.asarray(waveform, dtype=np.float32) * np.float32(INT16_SCALE)
        frames = np.lib.stride_tricks.sliding_window_view(scaled, self.frame_length)
        frames = frames[:: self.frame_shift]
        for start in range(0, count, BLOCK_FRAMES):
            self._log_mel(
                frames[start : start + BLOCK_FRAMES], result[start : start + BLOCK_FRAMES]
            )
        return result

    def _log_mel(self, frames: Frames, out: Frames) -> None:
        """In Kaldi's order: near-silent bins are differences of large numbers."""
        centered = frames - frames.mean(axis=1, keepdims=True)
        emphasized = np.empty_like(centered)
        emphasized[:, 1:] = centered[:, 1:] - np.float32(PREEMPHASIS) * centered[:, :-1]
        emphasized[:, 0] = centered[:, 0] - np.float32(PREEMPHASIS) * centered[:, 0]
        emphasized *= self.window
        spectrum = np.fft.rfft(emphasized, self.fft_length)
        power = spectrum.real**2 + spectrum.imag**2
        np.log(np.maximum(power @ self.filters, np.float32(ENERGY_FLOOR)), out=out)


def _mel(hertz: NDArray[np.float64]) -> NDArray[np.float64]:
    """HTK's scale."""
    return np.asarray(1127.0 * np.log1p(hertz / 700.0))
