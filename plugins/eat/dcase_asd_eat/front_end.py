"""EAT's front end: log-mel frames of fixed number, normalized with AudioSet's statistics."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dcase_asd.features import LogMel, without_mean

SAMPLE_RATE = 16000
MEL_BINS = 128
MEAN, DEVIATION = -4.268, 4.569
"""Of the log-mel energies of AudioSet; a value is normalized to mean 0 and deviation 0.5."""


class FrontEnd(nn.Module):
    """Kaldi's log-mel energies of clips in [-1, 1] without their mean, then cropped or padded.

    A clip is cropped to its first `target_length` frames. A shorter one is padded with zeros, which
    EAT has learned to see: its network takes them as part of the clip.

    Args:
        target_length: Frames of 10 ms that the network sees.
    """

    def __init__(self, target_length: int) -> None:
        super().__init__()
        self.target_length = target_length
        self.log_mel = LogMel(SAMPLE_RATE, MEL_BINS, "hanning")
        self.longest = self.log_mel.samples(target_length)

    @torch.no_grad()
    def forward(self, waveforms: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Compute what the network sees.

        Args:
            waveforms: Samples in [-1, 1], (b, n).
            lengths: Samples of each clip before padding, (b,); None when none is padded.

        Returns:
            Normalized log-mel energies, (b, target_length, 128), float32.

        Raises:
            AudioError: A clip is shorter than one frame.
        """
        self.log_mel.check_lengths(waveforms, lengths)
        clips = without_mean(waveforms.float(), lengths)[:, : self.longest]
        frames: Tensor = self.log_mel(clips)
        if lengths is not None:
            frames = frames * self.log_mel.frame_mask(lengths, frames.shape[1])[..., None]
        frames = nn.functional.pad(frames, (0, 0, 0, self.target_length - frames.shape[1]))
        return (frames - MEAN) / (2 * DEVIATION)
