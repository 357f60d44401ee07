"""FISHER's network: sub-bands of 4 kHz through one transformer that is not told which is which.

Fan et al., "FISHER: A Foundation Model for Multi-Modal Industrial Signal Comprehensive
Representation", arXiv 2507.16696.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from dcase_asd.backbone.vision_transformer import PATCH, TransformerSize, VisionTransformer
from dcase_asd.features import Spectrogram

Representation = Literal["cls", "frame_mean", "mean"]


@dataclass(frozen=True)
class Architecture(TransformerSize):
    """What a checkpoint says of its network; the defaults are FISHER-tiny.

    Attributes:
        band_width: Bins of a sub-band, 40 Hz each.
        max_length: Patches in time of the grid that positions are computed for.
        max_freq: Patches in frequency of that grid.
        target_length: Frames that the network was trained on.

    Raises:
        ValueError: A size is out of range.
    """

    embed_dim: int = 192
    depth: int = 12
    num_heads: int = 3
    band_width: int = 100
    max_length: int = 128
    max_freq: int = 50
    target_length: int = 1024

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.band_width, int) or self.band_width < PATCH:
            raise ValueError(f"band_width must be at least {PATCH} bins, not {self.band_width!r}")
        self.check_target_length(self.target_length)

    @property
    def rows(self) -> int:
        """Patches on top of each other in a band: tokens of one moment of 160 ms."""
        return self.band_width // PATCH

    def check_target_length(self, frames: int) -> None:
        """Refuse a number of frames that there are no positions for.

        Raises:
            ValueError: It is not in [16, 16 * max_length * max_freq / rows].
        """
        longest = self.max_length * self.max_freq // self.rows * PATCH
        if not isinstance(frames, int) or not PATCH <= frames <= longest:
            raise ValueError(
                f"target_length must be a number of frames from {PATCH} to {longest}, "
                f"not {frames!r}"
            )

    def bands(self, sample_rate: int) -> int:
        """Sub-bands of clips of a rate in Hz; bins that fill none are dropped."""
        return max(Spectrogram(sample_rate).bins // self.band_width, 1)


class FisherNetwork(nn.Module):
    """One transformer for all sub-bands; in a band, token t * rows + f follows [CLS].

    Positions are those of a grid of `max_freq` columns, taken in order: token k has the position
    (k // max_freq, k % max_freq), as in the published code, and not its own (t, f).

    Its tensors are not filled: load them, or draw them.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.band_width = architecture.band_width
        grid = (architecture.max_length, architecture.max_freq)
        # Without memory at first, so that nothing is drawn from the global generator.
        with torch.device("meta"):
            self.encoder = VisionTransformer(architecture, grid)
        self.to_empty(device="cpu")

    def images(self, spectrogram: Tensor) -> Tensor:
        """Sub-bands from low to high, clip after clip: (b, t, f) -> (b * bands, t, band_width)."""
        clips, frames, bins = spectrogram.shape
        bands = bins // self.band_width
        used = spectrogram[..., : bands * self.band_width]
        split = used.reshape(clips, frames, bands, self.band_width).transpose(1, 2)
        return split.reshape(clips * bands, frames, self.band_width)

    def forward(
        self, spectrogram: Tensor, mask: Tensor | None = None, *, cls_only: bool = False
    ) -> Tensor:
        """Encode all bands of all clips at once.

        Args:
            spectrogram: Normalized log magnitudes, (b, t, f).
            mask: Which tokens may be attended to, (b, n); None for all.
            cls_only: Compute only what [CLS] needs.

        Returns:
            Tokens, (b, n, bands, d), bands from low to high; n = 1 with `cls_only`.
        """
        images = self.images(spectrogram)
        clips = len(spectrogram)
        bands = len(images) // clips
        if mask is not None:
            mask = mask.repeat_interleave(bands, dim=0)
        tokens: Tensor = self.encoder(images, mask, cls_only=cls_only)
        return tokens.view(clips, bands, *tokens.shape[1:]).transpose(1, 2)
