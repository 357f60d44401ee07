"""FISHER: sub-bands of any sampling rate behind the contract of a backbone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import ClassVar, Literal

import torch
from torch import Tensor

from dcase_asd.backbone import check_choice, masked_mean
from dcase_asd.backbone.family import Family, FamilyBackbone, PretrainingDefaults
from dcase_asd.backbone.vision_transformer import PATCH, Merge
from dcase_asd.errors import BackboneError
from dcase_asd_fisher.checkpoint import FISHER, PRETRAINING
from dcase_asd_fisher.front_end import LOWEST_RATE, FrontEnd
from dcase_asd_fisher.network import Architecture, FisherNetwork, Representation

NATIVE: Literal["native"] = "native"
Rate = int | Literal["native"]
Bands = Literal["concatenate", "mean"]
SAMPLE_RATE = 16000
"""Rate in Hz of the challenge's recordings."""


class Fisher(FamilyBackbone):
    """FISHER (Fan et al. 2025) on clips of any sampling rate.

    A spectrogram is cut into sub-bands of 4 kHz, which one transformer encodes independently: two
    at 16 kHz, six at 48 kHz. Clips are not resampled where `sample_rate` is theirs.

    Args:
        architecture: Sizes of the network, whose tensors are yet to be filled.
        representation: What `embed` gives of each band: ``cls``, the [CLS] token; ``frame_mean``,
            the mean over the other tokens; ``mean``, over all of them.
        bands: ``concatenate`` them from low to high, so that the dimension grows with the rate; or
            take their ``mean``.
        sample_rate: Rate in Hz that clips are resampled to, at least 1000; ``native`` takes each at
            its own, for which `bands` must be ``mean``.
        target_length: Frames of 10 ms that a longer clip is cropped to; None for the checkpoint's
            own (1024).
        padded: Whether a shorter clip is zero-padded to `target_length` and the padding seen as
            part of it (as in the RMIS benchmark) instead of taken as it is.
        layer: Which block's output to take, from 1; None for the last. Later blocks are left out.
        layers: Several such, without `layer`.
        merge: What becomes of several layers: ``mean``, or ``concat`` of their features.

    Raises:
        BackboneError: There is no such representation, way of joining bands, or layer.
        ValueError: The rate or the number of frames is out of range.
    """

    name: ClassVar[str] = "fisher"
    family: ClassVar[Family] = FISHER
    pretraining: ClassVar[PretrainingDefaults] = PRETRAINING
    pooling: ClassVar[Literal["attention", "cls"]] = "cls"

    def __init__(
        self,
        architecture: Architecture,
        *,
        representation: Representation = "cls",
        bands: Bands = "concatenate",
        sample_rate: Rate = SAMPLE_RATE,
        target_length: int | None = None,
        padded: bool = False,
        layer: int | None = None,
        layers: Sequence[int] | None = None,
        merge: Merge = "mean",
    ) -> None:
        super().__init__()
        frames = architecture.target_length if target_length is None else target_length
        architecture.check_target_length(frames)
        check_choice("representation", representation, Representation)
        check_choice("bands", bands, Bands)
        chosen = list(layers or []) if layer is None else [layer]
        architecture = architecture.cut(chosen)
        if sample_rate == NATIVE and bands != "mean":
            raise BackboneError(
                "clips at their own rates have different numbers of bands, which cannot all be "
                "concatenated; choose bands = mean, or a sample_rate"
            )
        if sample_rate != NATIVE and (
            not isinstance(sample_rate, int) or sample_rate < LOWEST_RATE
        ):
            raise ValueError(
                f"sample_rate must be {NATIVE!r} or at least {LOWEST_RATE} Hz, not {sample_rate!r}"
            )
        self.sample_rate = None if sample_rate == NATIVE else sample_rate
        self.network = FisherNetwork(architecture)
        self.dimension = architecture.embed_dim * self.network.encoder.choose(chosen, merge)
        if self.sample_rate is not None and bands == "concatenate":
            self.dimension *= architecture.bands(self.sample_rate)
        self.representation = representation
        self.bands = bands
        self.rows = architecture.rows
        self.options = {
            "representation": representation,
            "bands": bands,
            "sample_rate": sample_rate,
            "target_length": frames,
            "padded": padded,
            "architecture": asdict(architecture),
            **({"layers": chosen, "merge": merge} if len(chosen) > 1 else {}),
        }
        self.front_end = FrontEnd(architecture.band_width, frames, padded)

    def spectrogram(
        self, waveforms: Tensor, lengths: Tensor | None = None, sample_rate: int | None = None
    ) -> Tensor:
        """Normalized log magnitudes that the network sees, (b, t, f); no gradient.

        Raises:
            AudioError: As in `tokens`.
        """
        frames: Tensor = self.front_end(waveforms, lengths, self.check_rate(sample_rate))
        return frames

    def images(self, waveforms: Tensor, lengths: Tensor, sample_rate: int) -> Tensor:
        """Sub-bands of clips of any rate from 1000 Hz, (b * bands, t, band_width)."""
        bands: Tensor = self.network.images(self.front_end(waveforms, lengths, sample_rate))
        return bands

    def tokens_from_spectrogram(self, spectrogram: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Tokens of what `spectrogram` gives, (b, n, dimension), [CLS] first, differentiable."""
        return self._encode(spectrogram, self._mask(lengths, spectrogram.shape[1]))

    def cls_from_spectrogram(self, spectrogram: Tensor, lengths: Tensor | None = None) -> Tensor:
        """[CLS] alone, (b, dimension), without what the last block would compute for others."""
        mask = self._mask(lengths, spectrogram.shape[1])
        return self._encode(spectrogram, mask, cls_only=True)[:, 0]

    def token_mask(self, lengths: Tensor, samples: int) -> Tensor:
        """Which tokens stand for the clip, (b, n): all of a clip of its own, if not `padded`."""
        rate = self.check_rate(None)
        frames = self.front_end.frame_counts(torch.tensor([samples]), rate)
        return self._valid(lengths, int(frames), rate)

    def frame_mask(self, lengths: Tensor, frames: int, sample_rate: int | None = None) -> Tensor:
        """Which frames are of a clip, (b, frames), and not of what `padded` adds to it."""
        spectrogram = self.front_end.at_rate(self.check_rate(sample_rate), lengths.device)
        return spectrogram.frame_mask(lengths, frames)

    def tokens(
        self, waveforms: Tensor, lengths: Tensor | None = None, sample_rate: int | None = None
    ) -> Tensor:
        """[CLS], then 6 tokens for each 160 ms, (b, n, dimension), each of all bands."""
        spectrogram = self.spectrogram(waveforms, lengths, sample_rate)
        return self._encode(spectrogram, self._mask(lengths, spectrogram.shape[1], sample_rate))

    def token_grid(
        self, waveforms: Tensor, lengths: Tensor | None = None, sample_rate: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Tokens without [CLS], (b, t, f, d), from low to high, and the columns that count.

        f is the patches of a sub-band (6) times the sub-bands, or once where `bands` is ``mean``.
        What `padded` adds to a clip does not count.
        """
        frames = self.spectrogram(waveforms, lengths, sample_rate)
        mask = self._mask(lengths, frames.shape[1], sample_rate)
        found: Tensor = self.network(frames, mask)[:, 1:]
        clips, _, bands, dimension = found.shape
        patches = found.reshape(clips, -1, self.rows, bands, dimension).transpose(2, 3)
        tokens = patches.mean(2) if self.bands == "mean" else patches.flatten(2, 3)
        if lengths is None:
            lengths = torch.full((len(tokens),), waveforms.shape[1], device=tokens.device)
        spectrogram = self.front_end.at_rate(self.check_rate(sample_rate), lengths.device)
        columns = (spectrogram.frame_counts(lengths) // PATCH).clamp(min=1)
        return tokens, torch.arange(tokens.shape[1], device=tokens.device) < columns[:, None]

    def embed(
        self, waveforms: Tensor, lengths: Tensor | None = None, sample_rate: int | None = None
    ) -> Tensor:
        """The representation, (b, dimension)."""
        spectrogram = self.spectrogram(waveforms, lengths, sample_rate)
        mask = self._mask(lengths, spectrogram.shape[1], sample_rate)
        if self.representation == "cls":
            return self._encode(spectrogram, mask, cls_only=True)[:, 0]
        tokens = self._encode(spectrogram, mask)
        if self.representation == "frame_mean":
            tokens, mask = tokens[:, 1:], None if mask is None else mask[:, 1:]
        return masked_mean(tokens, mask)

    def _encode(
        self, spectrogram: Tensor, mask: Tensor | None, *, cls_only: bool = False
    ) -> Tensor:
        tokens: Tensor = self.network(spectrogram, mask, cls_only=cls_only)
        return tokens.mean(2) if self.bands == "mean" else tokens.flatten(2)

    def _mask(
        self, lengths: Tensor | None, frames: int, sample_rate: int | None = None
    ) -> Tensor | None:
        """Which tokens to attend to, (b, n); None where all of them are, which is faster."""
        if lengths is None or self.front_end.padded:
            return None
        mask = self._valid(lengths, frames, self.check_rate(sample_rate))
        return None if bool(mask.all()) else mask

    def _valid(self, lengths: Tensor, frames: int, rate: int) -> Tensor:
        counts = self.front_end.frame_counts(lengths, rate) // PATCH * self.rows
        index = torch.arange(1 + frames // PATCH * self.rows, device=lengths.device)
        return index <= counts[:, None]  # [CLS] is token 0
