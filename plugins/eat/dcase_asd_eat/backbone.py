"""EAT: the Efficient Audio Transformer behind the contract of a backbone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import ClassVar, Literal

import torch
from torch import Tensor

from dcase_asd.backbone import check_choice
from dcase_asd.backbone.family import Family, FamilyBackbone, PretrainingDefaults
from dcase_asd.backbone.vision_transformer import PATCH, Merge
from dcase_asd.errors import BackboneError
from dcase_asd_eat.checkpoint import EAT, LOGITS, PRETRAINING
from dcase_asd_eat.front_end import SAMPLE_RATE, FrontEnd
from dcase_asd_eat.network import (
    BANDS,
    Architecture,
    EatNetwork,
    Representation,
    check_target_length,
)


class Eat(FamilyBackbone):
    """The Efficient Audio Transformer (Chen et al. 2024) on clips of 16 kHz.

    Every clip is cropped or zero-padded to the same number of frames, as in EAT's training; the
    padding is part of what the network sees.

    Args:
        architecture: Sizes of the network, whose tensors are yet to be filled.
        representation: What `embed` gives: ``cls``, the [CLS] token; ``frame_mean``, the mean over
            the other tokens; ``mean``, over all of them; ``logits`` of a fine-tuned checkpoint.
        target_length: Frames of 10 ms that a clip is cropped or padded to, a multiple of 16; None
            for the checkpoint's own (1024).
        layer: Which block's output to take, from 1; None for the last. Later blocks are left out.
        layers: Several such, without `layer`.
        merge: What becomes of several layers: ``mean``, or ``concat`` of their features.

    Raises:
        BackboneError: There is no such representation or layer, or no classifier for ``logits``.
        ValueError: The number of frames is out of range.
    """

    name: ClassVar[str] = "eat"
    family: ClassVar[Family] = EAT
    pretraining: ClassVar[PretrainingDefaults] = PRETRAINING
    pooling: ClassVar[Literal["attention", "cls"]] = "cls"

    def __init__(
        self,
        architecture: Architecture,
        representation: Representation = "cls",
        target_length: int | None = None,
        layer: int | None = None,
        layers: Sequence[int] | None = None,
        merge: Merge = "mean",
    ) -> None:
        super().__init__()
        frames = architecture.target_length if target_length is None else target_length
        check_target_length(frames, architecture.max_length)
        check_choice("representation", representation, Representation)
        chosen = list(layers or []) if layer is None else [layer]
        if representation == LOGITS and (not architecture.classes or chosen):
            raise BackboneError(
                "logits need all layers of fine-tuned weights (EAT-base_epoch30_finetune_AS2M); "
                "for others choose the representation cls, frame_mean or mean"
            )
        architecture = architecture.cut(chosen)
        self.network = EatNetwork(architecture)
        self.sample_rate: int = SAMPLE_RATE
        self.token_dimension = architecture.embed_dim * self.network.encoder.choose(chosen, merge)
        self.dimension = architecture.classes or self.token_dimension
        self.representation = representation
        self.options = {
            "representation": representation,
            "target_length": frames,
            "architecture": asdict(architecture),
            **({"layers": chosen, "merge": merge} if len(chosen) > 1 else {}),
        }
        self.front_end = FrontEnd(frames)

    def spectrogram(
        self, waveforms: Tensor, lengths: Tensor | None = None, sample_rate: int | None = None
    ) -> Tensor:
        """Normalized log-mel frames that the network sees, (b, target_length, 128); no gradient.

        Raises:
            AudioError: As in `tokens`.
        """
        self.check_rate(sample_rate)
        frames: Tensor = self.front_end(waveforms, lengths)
        return frames

    def tokens_from_spectrogram(self, spectrogram: Tensor, lengths: Tensor | None = None) -> Tensor:
        """[CLS], then 8 tokens for each 160 ms, (b, n, d); `lengths` change nothing."""
        del lengths  # the padding is part of what EAT sees
        tokens: Tensor = self.network.encoder(spectrogram)
        return tokens

    def cls_from_spectrogram(self, spectrogram: Tensor, lengths: Tensor | None = None) -> Tensor:
        """[CLS] alone, (b, d), without what the last block would compute for other tokens."""
        del lengths
        tokens: Tensor = self.network.encoder(spectrogram, cls_only=True)
        return tokens[:, 0]

    def token_mask(self, lengths: Tensor, samples: int) -> Tensor:
        """All tokens, (b, n): the padding is part of what EAT sees."""
        del samples
        count = 1 + self.front_end.target_length // PATCH * BANDS
        return torch.ones(len(lengths), count, dtype=torch.bool, device=lengths.device)

    def frame_mask(self, lengths: Tensor, frames: int, sample_rate: int | None = None) -> Tensor:
        """Which frames are of a clip and not of the padding to `target_length`, (b, frames)."""
        del sample_rate
        return self.front_end.log_mel.frame_mask(lengths, frames)

    def token_grid(
        self, waveforms: Tensor, lengths: Tensor | None = None, sample_rate: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Tokens without [CLS], (b, t, 8, d), and which columns of patches are of the clip.

        Unlike `token_mask` this leaves out what `target_length` adds to a clip: pooling over time
        asks which moments stand out.
        """
        frames = self.spectrogram(waveforms, lengths, sample_rate)
        found = self.tokens_from_spectrogram(frames)[:, 1:]
        tokens = found.reshape(len(found), -1, BANDS, found.shape[2])
        if lengths is None:
            lengths = torch.full((len(tokens),), waveforms.shape[1], device=tokens.device)
        columns = (self.front_end.log_mel.frame_counts(lengths) // PATCH).clamp(min=1)
        return tokens, torch.arange(tokens.shape[1], device=tokens.device) < columns[:, None]

    def embed(
        self, waveforms: Tensor, lengths: Tensor | None = None, sample_rate: int | None = None
    ) -> Tensor:
        """The representation, (b, dimension)."""
        frames = self.spectrogram(waveforms, lengths, sample_rate)
        if self.representation == "mean":
            return self.tokens_from_spectrogram(frames).mean(1)
        if self.representation == "frame_mean":
            return self.tokens_from_spectrogram(frames)[:, 1:].mean(1)
        cls = self.cls_from_spectrogram(frames)
        if self.network.classifier is None:
            return cls
        logits: Tensor = self.network.classifier(cls)
        return logits
