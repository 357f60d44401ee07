"""Statistics of the log-mel spectrogram over time: a training-free baseline."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from dcase_asd.backbone import Backbone
from dcase_asd.errors import nearest_name
from dcase_asd.features import INT16_SCALE, LogMel

SCALED = ("mean", "std", "max", "min")
"""Statistics that are each scaled to length 1, so that all weigh alike in a cosine distance: means
are several times larger than deviations, and would decide alone."""
QUANTILES = ("q5", "q10", "q25", "q50", "q75", "q90", "q95")
"""Quantiles over time in percent, which stay as they are: all are log energies."""
BANDS = 8
"""Bands of `token_grid`, where they divide the mel bins."""
LOWEST_RATE = 1000
"""In Hz; below it hardly a mel filter holds a line of the spectrum."""


class Spectral(Backbone):
    """Quantiles over time of each log-mel bin.

    The embedding is the statistics one after the other, (b, len(statistics) * mel_bins), of the
    natural-logarithm mel energies of 25 ms frames every 10 ms. By default they are what is always
    there (10 %), what is usual (the median) and what comes and goes (90 %); how they are scored is
    `scoring`, chosen on recordings as the README tells ("Which detector").

    Args:
        sample_rate: Rate in Hz that clips are resampled to; the highest mel filter ends at half.
        mel_bins: Number of mel filters.
        statistics: Which of `SCALED` and `QUANTILES`, in this order; a list, or text with commas
            between them. ``std`` is the biased one.
        bands: Bands of neighboring mel bins that `token_grid` has, which must divide `mel_bins`;
            None for 8, or the most below 8 that do. `embed` does not depend on it.

    Raises:
        ValueError: A number is out of range or a statistic does not exist.
    """

    name: ClassVar[str] = "spectral"
    scoring: ClassVar[dict[str, Any]] = {
        "detector": "mean",
        "options": {"of": ["varmin", "mahalanobis"]},
        "standardize": True,
    }

    def __init__(
        self,
        sample_rate: int = 16000,
        mel_bins: int = 128,
        statistics: tuple[str, ...] | str = ("q10", "q50", "q90"),
        bands: int | None = None,
    ) -> None:
        super().__init__()
        if isinstance(statistics, str):
            statistics = tuple(name.strip() for name in statistics.split(","))
        known = (*SCALED, *QUANTILES)
        unknown = [entry for entry in statistics if entry not in known]
        if unknown or not statistics:
            wrong = unknown[0] if unknown else ""
            raise ValueError(f"no statistic is called {wrong!r}; {nearest_name(wrong, known)}")
        if sample_rate < LOWEST_RATE or mel_bins < 1:
            raise ValueError(f"sample_rate must be at least {LOWEST_RATE} Hz, mel_bins at least 1")
        divisors = [count for count in range(1, mel_bins + 1) if mel_bins % count == 0]
        if bands is not None and bands not in divisors:
            raise ValueError(f"bands is {bands}; it must divide the {mel_bins} mel_bins: choose "
                             f"from {', '.join(map(str, divisors))}")  # fmt: skip
        self.bands = bands or max(count for count in divisors if count <= BANDS)
        self.sample_rate = sample_rate
        self.statistics = tuple(statistics)
        self.dimension = len(self.statistics) * mel_bins
        self.options = {
            "sample_rate": sample_rate,
            "mel_bins": mel_bins,
            "statistics": list(self.statistics),
            "bands": self.bands,
        }
        self.log_mel = LogMel(sample_rate, mel_bins)

    def tokens(
        self, waveforms: Tensor, lengths: Tensor | None = None, sample_rate: int | None = None
    ) -> Tensor:
        """Log-mel frames, (b, t, mel_bins)."""
        self.check_rate(sample_rate)
        self.log_mel.check_lengths(waveforms, lengths)
        frames: Tensor = self.log_mel(waveforms * INT16_SCALE)
        return frames

    def token_grid(
        self, waveforms: Tensor, lengths: Tensor | None = None, sample_rate: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Log-mel frames, their bins in bands from low to high, (b, t, bands, mel_bins / bands)."""
        frames = self.tokens(waveforms, lengths, sample_rate)
        if lengths is None:
            lengths = torch.full((len(frames),), waveforms.shape[1], device=frames.device)
        mask = self.log_mel.frame_mask(lengths, frames.shape[1])
        return frames.reshape(*frames.shape[:2], self.bands, -1), mask

    def embed(
        self, waveforms: Tensor, lengths: Tensor | None = None, sample_rate: int | None = None
    ) -> Tensor:
        """Statistics over the frames that lie wholly within a clip, (b, dimension)."""
        if lengths is not None:
            return super().embed(waveforms, lengths, sample_rate)  # each clip alone
        return self._statistics(self.tokens(waveforms, None, sample_rate))

    def _statistics(self, frames: Tensor) -> Tensor:
        ordered = frames.sort(1).values if set(self.statistics) & set(QUANTILES) else frames
        compute = {
            "mean": lambda: frames.mean(1),
            "std": lambda: frames.std(1, correction=0),
            "max": lambda: frames.amax(1),
            "min": lambda: frames.amin(1),
        }
        found = [
            nn.functional.normalize(compute[statistic](), dim=1)
            if statistic in SCALED
            else _quantile(ordered, int(statistic[1:]) / 100)
            for statistic in self.statistics
        ]
        return torch.cat(found, dim=1)


def _quantile(ordered: Tensor, share: float) -> Tensor:
    """A quantile of sorted values (b, t, f), linear between two of them; any number of times."""
    place = share * (ordered.shape[1] - 1)
    below = int(place)
    above = min(below + 1, ordered.shape[1] - 1)
    return torch.lerp(ordered[:, below], ordered[:, above], place - below)
