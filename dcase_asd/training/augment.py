"""Augmentation of a batch on its device; what is random is drawn from an explicit generator."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dcase_asd.features import without_mean

SILENCE = 1e-10
"""Share of a recording's energy that is not its mean, below which it is constant: float32 leaves
such a rest of one whose samples are all alike."""


def mix_at_snr(waveforms: Tensor, lengths: Tensor, noise: Tensor, snr: Tensor) -> Tensor:
    """Add noise at a signal-to-noise ratio, measured over each whole clip.

    The ratio is that of the energies without the mean: a constant offset of a recorder is no sound.

    Args:
        waveforms: Clips, (b, n).
        lengths: Samples of each clip before padding, (b,); padding stays silent.
        noise: One noise for each clip, (b, n), which is added without its mean.
        snr: In dB, (b,); infinity adds nothing.

    Returns:
        The mixtures, (b, n). Where the clip or its noise is silent or constant there is no ratio to
        reach, and the clip stays as it is.
    """
    signal_energy, _ = _energy(waveforms, lengths)
    noise_energy, noise = _energy(noise, lengths)
    gain = (signal_energy / noise_energy.clamp(min=torch.finfo(noise.dtype).tiny)).sqrt()
    gain = torch.where(noise_energy > 0, gain * 10.0 ** (-snr / 20.0), 0.0)
    return waveforms + gain[:, None] * noise


def _energy(waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Energy of each clip without its mean, (b,), 0 of a constant one; and the clips without it."""
    centered = without_mean(waveforms, lengths)
    inside = torch.arange(waveforms.shape[1], device=waveforms.device) < lengths[:, None]
    whole, energy = ((each * inside).square().sum(1) for each in (waveforms, centered))
    return torch.where(energy > SILENCE * whole, energy, 0.0), centered


def mask_spectrogram(
    spectrogram: Tensor,
    time_mask: int,
    frequency_mask: int,
    generator: torch.Generator,
    inside: Tensor | None = None,
) -> Tensor:
    """SpecAugment (Park et al. 2019): in each clip a time span and a frequency band are its mean.

    Widths are uniform over 0 … `time_mask` frames and 0 … `frequency_mask` bins, as far as the clip
    has so many, and places uniform over those where the whole mask fits. Padding is no part of the
    clip: it is neither masked nor counted in the mean.

    Args:
        spectrogram: (b, t, f).
        time_mask: Largest width in frames.
        frequency_mask: Largest width in bins.
        generator: Of the CPU, so that every device draws the same masks.
        inside: Which frames are of the clip, (b, t); None where all are.

    Returns:
        A masked copy, (b, t, f).
    """
    clips, _, bins = spectrogram.shape
    if inside is None:
        inside = spectrogram.new_ones(spectrogram.shape[:2], dtype=torch.bool)
    frames = inside.sum(1)
    # A span counts the frames of the clip, so that it never reaches into others.
    span = _random_span(inside.cumsum(1) - 1, frames.cpu(), time_mask, generator)
    bands = torch.arange(bins, device=spectrogram.device)
    band = _random_span(bands, torch.full((clips,), bins), frequency_mask, generator)
    inside = inside[..., None]
    masked = (span[..., None] | band[:, None]) & inside
    mean = (spectrogram * inside).sum((1, 2)) / (frames * bins)
    return torch.where(masked, mean[:, None, None], spectrogram)


def _random_span(places: Tensor, sizes: Tensor, largest: int, generator: torch.Generator) -> Tensor:
    """True at the places (…, n) that lie in a span of random width and start within each size."""
    uniform = torch.rand(2, len(sizes), generator=generator, dtype=torch.float64)
    width = (uniform[0] * (sizes.clamp(max=largest) + 1)).long()
    start = (uniform[1] * (sizes - width + 1)).long()
    start, end = (each.to(places.device)[:, None] for each in (start, start + width))
    return (places >= start) & (places < end)


@dataclass(frozen=True)
class Mixup:
    """How a batch is mixed with itself: each clip's partner and its own coefficient, (b,) each."""

    partner: Tensor
    lambda_: Tensor

    def mix(self, values: Tensor) -> Tensor:
        """Mix (b, ...) by the coefficients."""
        lambda_ = self.lambda_.view(-1, *[1] * (values.ndim - 1)).to(values.dtype)
        return lambda_ * values + (1 - lambda_) * values[self.partner]

    def lengths(self, lengths: Tensor) -> Tensor:
        """Samples of each mixture, (b,): those of the longer of its two clips."""
        longer = torch.maximum(lengths, lengths[self.partner])
        return torch.where(self.lambda_ < 1, longer, lengths)


def draw_mixup(
    batch: int,
    alpha: float,
    generator: torch.Generator,
    device: torch.device,
    probability: float = 1.0,
) -> Mixup:
    """Draw partners and Beta(alpha, alpha) coefficients (Zhang et al. 2018).

    Args:
        batch: Clips in the batch.
        alpha: Larger than 0; the larger, the more even the mixtures.
        generator: Of the CPU.
        device: Where the batch is.
        probability: Of a clip to be mixed; the others have the coefficient 1.
    """
    partner = torch.randperm(batch, generator=generator)
    # A Beta variable is the share of one of two Gamma variables, which torch draws by a generator.
    shape = torch.full((2, batch), alpha, dtype=torch.float64)
    gamma = torch._standard_gamma(shape, generator=generator)  # noqa: SLF001 - no public name
    lambda_ = gamma[0] / gamma.sum(0)
    if probability < 1:
        alone = torch.rand(batch, generator=generator, dtype=torch.float64) >= probability
        lambda_ = lambda_.masked_fill(alone, 1.0)
    return Mixup(partner.to(device), lambda_.float().to(device))
