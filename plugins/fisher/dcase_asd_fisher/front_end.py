"""FISHER's front end: the logarithm of magnitudes at a clip's own rate, 40 Hz for each bin."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dcase_asd.backbone.vision_transformer import PATCH
from dcase_asd.errors import AudioError
from dcase_asd.features import Spectrogram, without_mean

LOWEST_RATE = 1000
"""In Hz; below, a frame holds hardly a sample for each bin that is made up."""
FLOOR = 1e-10
"""Added to magnitudes before the logarithm."""
MEAN, DEVIATION = -3.017344307886898, 2.1531635155379805
"""Of the log magnitudes in pre-training; a value is normalized to mean 0 and deviation 0.5."""


class FrontEnd(nn.Module):
    """Normalized log magnitudes of clips without their mean, at any sampling rate.

    Args:
        band_width: Bins of a sub-band; fewer (at rates below 8 kHz) are padded with zeros.
        target_length: Frames of 10 ms that a clip is cropped to.
        padded: Whether a shorter clip is padded with zeros to `target_length`, to be seen as part
            of the clip; otherwise its frames are all there is.
    """

    def __init__(self, band_width: int, target_length: int, padded: bool) -> None:
        super().__init__()
        self.band_width = band_width
        self.target_length = target_length
        self.padded = padded
        self.spectrograms: dict[int, Spectrogram] = {}

    def at_rate(self, sample_rate: int, device: torch.device) -> Spectrogram:
        """The spectrogram for a rate in Hz, made when it is first needed.

        Raises:
            AudioError: The rate is too low.
        """
        if sample_rate < LOWEST_RATE:
            raise AudioError(f"clips of {sample_rate} Hz; FISHER takes {LOWEST_RATE} Hz and more")
        if sample_rate not in self.spectrograms:
            self.spectrograms[sample_rate] = Spectrogram(sample_rate)
        return self.spectrograms[sample_rate].to(device)

    @torch.no_grad()
    def forward(self, waveforms: Tensor, lengths: Tensor | None, sample_rate: int) -> Tensor:
        """Compute what the network sees.

        Args:
            waveforms: Samples in [-1, 1], (b, n).
            lengths: Samples of each clip before padding, (b,); None when none is padded.
            sample_rate: In Hz.

        Returns:
            Normalized log magnitudes, (b, t, f), float32; 0 beyond a clip's own frames;
            f >= `band_width`.

        Raises:
            AudioError: A clip is shorter than a patch (a frame, if it is padded), or the rate too
                low.
        """
        spectrogram = self.at_rate(sample_rate, waveforms.device)
        spectrogram.check_lengths(waveforms, lengths, 1 if self.padded else PATCH)
        samples = spectrogram.samples(self.target_length)
        magnitudes = spectrogram(without_mean(waveforms.float(), lengths)[:, :samples])
        frames: Tensor = ((magnitudes + FLOOR).log() - MEAN) / (2 * DEVIATION)
        if lengths is not None:
            frames = frames * spectrogram.frame_mask(lengths, frames.shape[1])[..., None]
        bins = max(self.band_width - frames.shape[2], 0)
        padding = self.target_length - frames.shape[1] if self.padded else 0
        return nn.functional.pad(frames, (0, bins, 0, padding))

    def frame_counts(self, lengths: Tensor, sample_rate: int) -> Tensor:
        """Frames that the network sees of clips of `lengths` samples, (b,) -> (b,)."""
        if self.padded:
            return torch.full_like(lengths, self.target_length)
        counts = self.at_rate(sample_rate, lengths.device).frame_counts(lengths)
        return counts.clamp(max=self.target_length)
