"""Augmentation of a batch on its device; what is random is drawn from an explicit generator."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


def mix_at_snr(waveforms: Tensor, lengths: Tensor, noise: Tensor, snr: Tensor) -> Tensor:
    """Add noise at a signal-to-noise ratio, measured by the RMS over each whole clip.

    Args:
        waveforms: Clips, (b, n).
        lengths: Samples of each clip before padding, (b,); padding stays silent.
        noise: One noise for each clip, (b, n).
        snr: In dB, (b,); infinity adds nothing.

    Returns:
        The mixtures, (b, n). Where the clip or its noise is silent there is no ratio to reach, and
        the clip stays as it is.
    """
    inside = torch.arange(waveforms.shape[1], device=waveforms.device) < lengths[:, None]
    noise = noise * inside
    signal_energy = (waveforms * inside).square().sum(1)
    noise_energy = noise.square().sum(1)
    gain = (signal_energy / noise_energy.clamp(min=torch.finfo(noise.dtype).tiny)).sqrt()
    gain = torch.where(noise_energy > 0, gain * 10.0 ** (-snr / 20.0), 0.0)
    return waveforms + gain[:, None] * noise


def mask_spectrogram(
    spectrogram: Tensor, time_mask: int, frequency_mask: int, generator: torch.Generator
) -> Tensor:
    """SpecAugment (Park et al. 2019): in each clip a time span and a frequency band are its mean.

    Widths are uniform over 0 … `time_mask` frames and 0 … `frequency_mask` bins, as far as there
    are so many, and places uniform over those where the whole mask fits.

    Args:
        spectrogram: (b, t, f).
        time_mask: Largest width in frames.
        frequency_mask: Largest width in bins.
        generator: Of the CPU, so that every device draws the same masks.

    Returns:
        A masked copy, (b, t, f).
    """
    _, frames, bins = spectrogram.shape
    span = _random_span(spectrogram, frames, time_mask, generator)
    band = _random_span(spectrogram, bins, frequency_mask, generator)
    masked = span[:, :, None] | band[:, None, :]
    return torch.where(masked, spectrogram.mean((1, 2), keepdim=True), spectrogram)


def _random_span(like: Tensor, size: int, largest: int, generator: torch.Generator) -> Tensor:
    """A span of random width and place in each clip, (b, size), True inside."""
    uniform = torch.rand(2, len(like), generator=generator, dtype=torch.float64)
    width = (uniform[0] * (min(largest, size) + 1)).long()
    start = (uniform[1] * (size - width + 1)).long()
    start, width = start.to(like.device)[:, None], width.to(like.device)[:, None]
    place = torch.arange(size, device=like.device)
    return (place >= start) & (place < start + width)


@dataclass(frozen=True)
class Mixup:
    """How a batch is mixed with itself: with which clip, (b,), and each clip's own share, (b,)."""

    partner: Tensor
    share: Tensor

    def mix(self, values: Tensor) -> Tensor:
        """Mix (b, ...) by the shares."""
        share = self.share.view(-1, *[1] * (values.ndim - 1)).to(values.dtype)
        return share * values + (1 - share) * values[self.partner]


def draw_mixup(batch: int, alpha: float, generator: torch.Generator, device: torch.device) -> Mixup:
    """Draw partners and Beta(alpha, alpha) shares (Zhang et al. 2018).

    Args:
        batch: Clips in the batch.
        alpha: Larger than 0; the larger, the more even the mixtures.
        generator: Of the CPU.
        device: Where the batch is.
    """
    partner = torch.randperm(batch, generator=generator)
    # A Beta variable is the share of one of two Gamma variables, which torch draws by a generator.
    shape = torch.full((2, batch), alpha, dtype=torch.float64)
    gamma = torch._standard_gamma(shape, generator=generator)  # noqa: SLF001 - no public name
    share = gamma[0] / gamma.sum(0)
    return Mixup(partner.to(device), share.float().to(device))
