"""What BEATs hears: normalized log-mel frames, and which patches of them are padding."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dcase_asd.features import INT16_SCALE, LogMel

SAMPLE_RATE = 16000
"""Rate in Hz of everything that BEATs was trained on."""
MEL_BINS = 128
FBANK_MEAN = 15.41663
FBANK_STD = 6.55582
"""Of the log-mel of AudioSet's 16-bit samples; `preprocess` in the authors' code."""


class FrontEnd(nn.Module):
    """Waveforms to log-mel frames, (x - 15.41663) / (2 * 6.55582), without any padding or cropping.

    Args:
        patch: Frames and mel bins of a square patch; frames that fill none are dropped.
    """

    def __init__(self, patch: int) -> None:
        super().__init__()
        self.patch = patch
        self.bands = MEL_BINS // patch
        self.log_mel = LogMel(SAMPLE_RATE, MEL_BINS, window="povey")

    def forward(self, waveforms: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Compute the normalized log-mel spectrogram.

        Args:
            waveforms: Samples in [-1, 1], (b, n).
            lengths: Samples of each clip before padding, (b,).

        Returns:
            (b, t, 128), float32; t = 1 + (n - 400) // 160.

        Raises:
            AudioError: A clip is too short for one patch.
        """
        self.log_mel.check_lengths(waveforms, lengths, self.patch)
        frames: Tensor = self.log_mel(waveforms * INT16_SCALE)
        return frames.sub_(FBANK_MEAN).div_(2 * FBANK_STD)

    def token_mask(self, lengths: Tensor, frames: int) -> Tensor:
        """Which tokens of clips padded to `frames` are no padding, (b, n).

        A token counts if all frames of its patch lie within its clip: these are the tokens that the
        clip has on its own, so that padding never changes its embedding. The authors' code instead
        shrinks a mask of samples twice by a whole factor, which lets in patches that reach into the
        padding and some bands of a moment without the others; for clips that are not padded, the
        only ones on which it gives the same answer twice, both rules keep every token.
        """
        tokens = frames // self.patch * self.bands
        counts = self.log_mel.frame_counts(lengths) // self.patch * self.bands
        return torch.arange(tokens, device=lengths.device) < counts[:, None]
