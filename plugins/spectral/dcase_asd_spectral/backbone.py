"""Statistics of the log-mel spectrogram over time: a training-free baseline."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from dcase_asd.backbone import Backbone, read_checkpoint
from dcase_asd.errors import AudioError, BackboneError, nearest_name
from dcase_asd.features import INT16_SCALE, LogMel

STATISTICS = ("mean", "std", "max", "min")
LOWEST_RATE = 1000
"""In Hz; below it hardly a mel filter holds a line of the spectrum."""


class Spectral(Backbone):
    """Mean and standard deviation over time of each log-mel bin.

    The embedding is the statistics one after the other, each scaled to length 1,
    (b, len(statistics) * mel_bins), of the natural-logarithm mel energies of 25 ms frames every
    10 ms.

    Args:
        sample_rate: Rate in Hz that clips are resampled to; the highest mel filter ends at half.
        mel_bins: Number of mel filters.
        statistics: Which of ``mean``, ``std`` (biased), ``max`` and ``min``, in this order; a list,
            or text with commas between them.

    Raises:
        ValueError: A number is out of range or a statistic does not exist.
    """

    name: ClassVar[str] = "spectral"

    def __init__(
        self,
        sample_rate: int = 16000,
        mel_bins: int = 128,
        statistics: tuple[str, ...] | str = ("mean", "std"),
    ) -> None:
        super().__init__()
        if isinstance(statistics, str):
            statistics = tuple(name.strip() for name in statistics.split(","))
        unknown = [entry for entry in statistics if entry not in STATISTICS]
        if unknown or not statistics:
            wrong = unknown[0] if unknown else ""
            raise ValueError(f"no statistic is called {wrong!r}; {nearest_name(wrong, STATISTICS)}")
        if sample_rate < LOWEST_RATE or mel_bins < 1:
            raise ValueError(f"sample_rate must be at least {LOWEST_RATE} Hz, mel_bins at least 1")
        self.sample_rate = sample_rate
        self.statistics = tuple(statistics)
        self.dimension = len(self.statistics) * mel_bins
        self.options = {
            "sample_rate": sample_rate,
            "mel_bins": mel_bins,
            "statistics": list(self.statistics),
        }
        self.log_mel = LogMel(sample_rate, mel_bins)

    @classmethod
    def from_checkpoint(
        cls,
        path: str | Path | None = None,
        sample_rate: int | None = None,
        mel_bins: int | None = None,
        statistics: tuple[str, ...] | str | None = None,
    ) -> Self:
        """Make the backbone; a checkpoint holds nothing but the options, which may be overridden.

        Raises:
            BackboneError: The checkpoint is not one of this backbone.
        """
        given = {"sample_rate": sample_rate, "mel_bins": mel_bins, "statistics": statistics}
        options: dict[str, Any] = {}
        if path is not None:
            tensors, options = read_checkpoint(path, cls.name)
            if tensors:
                raise BackboneError(f"{path}: holds weights, which this backbone has none of")
        options |= {name: value for name, value in given.items() if value is not None}
        return cls(**options)

    def tokens(
        self, waveforms: Tensor, lengths: Tensor | None = None, sample_rate: int | None = None
    ) -> Tensor:
        """Log-mel frames, (b, t, mel_bins)."""
        if sample_rate not in (None, self.sample_rate):
            raise AudioError(
                f"clips of {sample_rate} Hz, but this backbone takes {self.sample_rate} Hz"
            )
        shortest = waveforms.shape[1] if lengths is None else int(lengths.min())
        if shortest < self.log_mel.frame_length:
            raise AudioError(
                f"a clip of {shortest} samples is shorter than one frame of "
                f"{self.log_mel.frame_length} samples"
            )
        frames: Tensor = self.log_mel(waveforms * INT16_SCALE)
        return frames

    def embed(
        self, waveforms: Tensor, lengths: Tensor | None = None, sample_rate: int | None = None
    ) -> Tensor:
        """Statistics over the frames that lie wholly within a clip, (b, dimension)."""
        frames = self.tokens(waveforms, lengths, sample_rate)
        if lengths is None:
            return self._statistics(frames)
        counts = self.log_mel.frame_counts(lengths.to(frames.device))
        if bool((counts == frames.shape[1]).all()):
            return self._statistics(frames)
        return torch.cat(
            [
                self._statistics(clip[None, : int(count)])
                for clip, count in zip(frames, counts, strict=True)
            ]
        )

    def _statistics(self, frames: Tensor) -> Tensor:
        compute = {
            "mean": lambda: frames.mean(1),
            "std": lambda: frames.std(1, correction=0),
            "max": lambda: frames.amax(1),
            "min": lambda: frames.amin(1),
        }
        # Each statistic scaled to length 1, so that all weigh alike in a cosine distance: means are
        # several times larger than deviations, and would decide alone.
        return torch.cat(
            [nn.functional.normalize(compute[statistic](), dim=1) for statistic in self.statistics],
            dim=1,
        )
