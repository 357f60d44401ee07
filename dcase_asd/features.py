"""Batched front ends on any device, equal to the per-clip ones that the field's models use."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor, nn
from torchaudio.compliance import kaldi

from dcase_asd.errors import AudioError

FRAME_SECONDS = 0.025
SHIFT_SECONDS = 0.010
PREEMPHASIS = 0.97
LOWEST_FREQUENCY = 20.0
"""In Hz, where the lowest mel filter begins (Kaldi's choice)."""
ENERGY_FLOOR = torch.finfo(torch.float32).eps
"""Smallest mel energy before the logarithm (Kaldi's choice; ln of it is -15.94)."""
INT16_SCALE = 2.0**15
"""From [-1, 1] to the 16-bit sample values that Kaldi's features are defined on."""

CPU_BLOCK_FRAMES = 256
"""Frames computed at once on a CPU: their 512 float32 each (0.5 MiB) stay in the cache."""

Window = Literal["povey", "hanning"]


class _Framing(nn.Module):
    """What the front ends share: frames of 25 ms every 10 ms, none beyond the end of a clip."""

    def __init__(self, sample_rate: int) -> None:
        super().__init__()
        self.sample_rate = sample_rate
        self.frame_length = int(sample_rate * FRAME_SECONDS)
        self.frame_shift = int(sample_rate * SHIFT_SECONDS)

    def frame_counts(self, lengths: Tensor) -> Tensor:
        """Frames of clips of `lengths` samples, (b,) -> (b,); 0 for less than one frame."""
        return ((lengths - self.frame_length) // self.frame_shift + 1).clamp(min=0)

    def frame_mask(self, lengths: Tensor, frames: int) -> Tensor:
        """Which of a batch's `frames` lie wholly within clips of `lengths` samples, (b, frames)."""
        return torch.arange(frames, device=lengths.device) < self.frame_counts(lengths)[:, None]

    def samples(self, frames: int) -> int:
        """Samples that so many frames take."""
        return self.frame_length + (frames - 1) * self.frame_shift

    def check_lengths(
        self, waveforms: Tensor, lengths: Tensor | None = None, frames: int = 1
    ) -> None:
        """Refuse clips that do not fill so many frames.

        Args:
            waveforms: Samples (b, n).
            lengths: Samples of each clip before padding, (b,); None when none is padded.
            frames: The fewest that can be made use of.

        Raises:
            AudioError: A clip is shorter.
        """
        shortest = waveforms.shape[1] if lengths is None else int(lengths.min())
        least = self.samples(frames)
        if shortest < least:
            needed = f"one frame of {least}" if frames == 1 else f"{frames} frames, that is {least}"
            raise AudioError(
                f"a clip of {shortest} samples is shorter than {needed} "
                f"({1000 * least / self.sample_rate:g} ms at {self.sample_rate} Hz)"
            )

    def _frames(self, waveforms: Tensor) -> Tensor:
        """A view of the frames, (b, n) -> (b, t, frame_length); t = 1 + (n - length) // shift."""
        self.check_lengths(waveforms)
        return waveforms.float().unfold(-1, self.frame_length, self.frame_shift)


def _blocks(frames: Tensor) -> Iterator[tuple[slice, slice]]:
    """Which clips and frames of (b, t, n) to compute at once.

    A CPU is fastest on blocks that fit its cache, a GPU on everything.
    """
    clips, count = frames.shape[:2]
    if frames.device.type != "cpu":
        yield slice(clips), slice(count)
        return
    for clip in range(clips):
        for start in range(0, count, CPU_BLOCK_FRAMES):
            yield slice(clip, clip + 1), slice(start, start + CPU_BLOCK_FRAMES)


class LogMel(_Framing):
    """Log-mel spectrogram of a batch, as ``torchaudio.compliance.kaldi.fbank`` gives for one clip.

    Each frame of 25 ms (every 10 ms, none beyond the end) loses its mean, is pre-emphasised with
    0.97, windowed, zero-padded to a power of two and transformed; HTK's triangular mel filters
    (1127 ln(1 + f/700), from 20 Hz to half the rate) weight the power spectrum. No dither.

    Args:
        sample_rate: Rate of the waveforms in Hz.
        mel_bins: Number of mel filters.
        window: ``povey`` (a Hann window to the power 0.85, Kaldi's) or ``hanning``.
    """

    window: Tensor
    filters: Tensor

    def __init__(
        self, sample_rate: int = 16000, mel_bins: int = 128, window: Window = "povey"
    ) -> None:
        super().__init__(sample_rate)
        self.fft_length = 2 ** math.ceil(math.log2(self.frame_length))
        shape = torch.hann_window(self.frame_length, periodic=False)
        self.register_buffer("window", shape.pow(0.85) if window == "povey" else shape, False)
        edges = (LOWEST_FREQUENCY, 0.0, 100.0, -500.0, 1.0)  # 0: half the rate; then no warping
        filters, _ = kaldi.get_mel_banks(mel_bins, self.fft_length, float(sample_rate), *edges)
        # Bins by filters, with a row of zeros for half the rate, which Kaldi leaves out.
        filters = nn.functional.pad(filters, (0, 1)).T.contiguous()
        self.register_buffer("filters", filters, persistent=False)

    @torch.no_grad()
    def forward(self, waveforms: Tensor) -> Tensor:
        """Compute the log-mel spectrogram.

        Args:
            waveforms: Samples (b, n), float32; models in Kaldi's tradition expect the 16-bit
                range, ``INT16_SCALE`` times [-1, 1].

        Returns:
            Natural logarithm of the mel energies, (b, t, mel_bins), on the waveforms' device;
            t = 1 + (n - frame_length) // frame_shift.

        Raises:
            AudioError: The waveforms are shorter than one frame.
        """
        with torch.autocast(waveforms.device.type, enabled=False):
            frames = self._frames(waveforms)
            batch, count = frames.shape[:2]
            result = frames.new_empty(batch, count, self.filters.shape[1])
            space = frames.new_zeros(0)
            for block in _blocks(frames):
                part = frames[block]
                if space.shape[:2] != part.shape[:2]:
                    space = frames.new_zeros(*part.shape[:2], self.fft_length)
                self._log_mel(part, space, result[block])
        return result

    def _log_mel(self, frames: Tensor, space: Tensor, out: Tensor) -> None:
        """Log-mel energies of (c, f, frame_length) into `out`; `space` keeps its zero padding.

        The order of the operations is Kaldi's: near-silent bins are differences of large numbers,
        where another order changes the fourth digit.
        """
        padded = space[..., : self.frame_length]
        centered = frames - frames.mean(-1, keepdim=True)
        torch.mul(centered[..., :-1], PREEMPHASIS, out=padded[..., 1:])
        torch.mul(centered[..., :1], PREEMPHASIS, out=padded[..., :1])
        torch.sub(centered, padded, out=padded)
        padded.mul_(self.window)
        spectrum = torch.view_as_real(torch.fft.rfft(space))
        power = spectrum[..., 0].square().addcmul_(spectrum[..., 1], spectrum[..., 1])
        torch.matmul(power, self.filters, out=out)
        out.clamp_(min=ENERGY_FLOOR).log_()


class Spectrogram(_Framing):
    """Magnitude spectrogram of a batch, as ``torchaudio.transforms.Spectrogram`` gives it.

    Each frame of 25 ms (every 10 ms, none beyond the end) is multiplied with a periodic Hann window
    and transformed without zero padding, so that a bin is 40 Hz wide at every rate. Nothing is
    normalized: ``power=1, center=False``.

    Args:
        sample_rate: Rate of the waveforms in Hz.
    """

    window: Tensor

    def __init__(self, sample_rate: int) -> None:
        super().__init__(sample_rate)
        self.bins = self.frame_length // 2 + 1
        self.register_buffer("window", torch.hann_window(self.frame_length), persistent=False)

    @torch.no_grad()
    def forward(self, waveforms: Tensor) -> Tensor:
        """Compute the magnitude spectrogram.

        Args:
            waveforms: Samples (b, n), float32.

        Returns:
            Magnitudes, (b, t, bins), on the waveforms' device; t = 1 + (n - frame_length) //
            frame_shift, bins = 1 + frame_length // 2.

        Raises:
            AudioError: The waveforms are shorter than one frame.
        """
        with torch.autocast(waveforms.device.type, enabled=False):
            frames = self._frames(waveforms)
            result = frames.new_empty(*frames.shape[:2], self.bins)
            for block in _blocks(frames):
                torch.abs(torch.fft.rfft(frames[block] * self.window), out=result[block])
        return result


def without_mean(waveforms: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Subtract from each clip the mean of its samples.

    Args:
        waveforms: Samples (b, n).
        lengths: Samples of each clip before padding, (b,); None when none is padded.

    Returns:
        Clips of mean 0, (b, n); what lies beyond `lengths` is 0, whatever it was.
    """
    if lengths is None:
        return waveforms - waveforms.mean(-1, keepdim=True)
    inside = torch.arange(waveforms.shape[1], device=waveforms.device) < lengths[:, None]
    clips = waveforms * inside
    return (clips - clips.sum(-1, keepdim=True) / lengths[:, None]) * inside
