"""EAT: the Efficient Audio Transformer behind the contract of a backbone."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, get_args

import torch
from torch import Tensor

from dcase_asd.backbone import Backbone
from dcase_asd.backbone.vision_transformer import PATCH
from dcase_asd.errors import AudioError, BackboneError, nearest_name
from dcase_asd.registry import find_checkpoint
from dcase_asd_eat.checkpoint import LOGITS, NAME, read_weights
from dcase_asd_eat.front_end import SAMPLE_RATE, FrontEnd
from dcase_asd_eat.network import (
    BANDS,
    Architecture,
    EatNetwork,
    Representation,
    check_target_length,
)


class Eat(Backbone):
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

    Raises:
        BackboneError: There is no such representation or layer, or no classifier for ``logits``.
        ValueError: The number of frames is out of range.
    """

    name: ClassVar[str] = NAME
    pooling: ClassVar[Literal["attention", "cls"]] = "cls"

    def __init__(
        self,
        architecture: Architecture,
        representation: Representation = "cls",
        target_length: int | None = None,
        layer: int | None = None,
    ) -> None:
        super().__init__()
        frames = architecture.target_length if target_length is None else target_length
        check_target_length(frames, architecture.max_length)
        if representation not in get_args(Representation):
            hint = nearest_name(representation, get_args(Representation))
            raise BackboneError(f"EAT has no representation {representation!r}; {hint}")
        if representation == LOGITS and (not architecture.classes or layer is not None):
            raise BackboneError(
                "logits need all layers of fine-tuned weights (EAT-base_epoch30_finetune_AS2M); "
                "for others choose the representation cls, frame_mean or mean"
            )
        if layer is not None and not 1 <= layer <= architecture.depth:
            raise BackboneError(f"EAT has no layer {layer}; choose from 1 to {architecture.depth}")
        # Without the blocks above, which would have nothing to do.
        architecture = replace(architecture, depth=layer or architecture.depth)
        self.sample_rate: int = SAMPLE_RATE
        self.dimension = architecture.classes or architecture.embed_dim
        self.token_dimension = architecture.embed_dim
        self.representation = representation
        self.options = {
            "representation": representation,
            "target_length": frames,
            "architecture": asdict(architecture),
        }
        self.front_end = FrontEnd(frames)
        self.network = EatNetwork(architecture)

    @classmethod
    def from_checkpoint(
        cls,
        path: str | Path | None = None,
        *,
        representation: Representation | None = None,
        target_length: int | None = None,
        layer: int | None = None,
        random_weights: int | None = None,
        architecture: dict[str, Any] | None = None,
    ) -> Self:
        """Make the backbone from a checkpoint as published, or as `save` writes it.

        Args:
            path: fairseq's ``.pt``, a Hugging Face folder, or a saved file; None for the weights
                that ``dcase-asd weights eat`` fetched.
            representation: As in `Eat`; so are the next two.
            target_length: See above.
            layer: See above.
            random_weights: A seed: weights are drawn instead of read.
            architecture: Sizes for random weights; those left out are EAT-base's.

        Raises:
            BackboneError: The checkpoint is missing or does not fit, or an option is wrong.
        """
        given = {"representation": representation, "target_length": target_length, "layer": layer}
        options: dict[str, Any] = {
            name: value for name, value in given.items() if value is not None
        }
        if random_weights is not None:
            if path is not None:
                raise BackboneError(f"{path}: leave out either this checkpoint or random_weights")
            backbone = cls(Architecture.changed(architecture or {}), **options)
            backbone.network.encoder.draw_weights(torch.Generator().manual_seed(random_weights))
            return backbone
        if architecture is not None:
            raise BackboneError("the checkpoint says the architecture; leave the option out, or "
                                "give random_weights")  # fmt: skip
        weights = read_weights(find_checkpoint(cls.name) if path is None else path, options)
        backbone = cls(weights.architecture, **weights.options)
        names = backbone.network.state_dict()
        backbone.network.load_state_dict({name: weights.tensors[name] for name in names})
        return backbone

    def spectrogram(
        self, waveforms: Tensor, lengths: Tensor | None = None, sample_rate: int | None = None
    ) -> Tensor:
        """Normalised log-mel frames that the network sees, (b, target_length, 128); no gradient.

        Raises:
            AudioError: As in `tokens`.
        """
        if sample_rate not in (None, self.sample_rate):
            raise AudioError(
                f"clips of {sample_rate} Hz, but this backbone takes {self.sample_rate} Hz"
            )
        frames: Tensor = self.front_end(waveforms, lengths)
        return frames

    def tokens_from_spectrogram(self, spectrogram: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Tokens of what `spectrogram` gives, (b, n, d), [CLS] first; `lengths` change nothing."""
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

    def tokens(
        self, waveforms: Tensor, lengths: Tensor | None = None, sample_rate: int | None = None
    ) -> Tensor:
        """[CLS], then 8 tokens for each 160 ms of the cropped or padded clip, (b, n, d)."""
        return self.tokens_from_spectrogram(self.spectrogram(waveforms, lengths, sample_rate))

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
