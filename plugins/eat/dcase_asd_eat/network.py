"""EAT's network: the transformer, and the classifier of a fine-tuned checkpoint.

Chen et al., "EAT: Self-Supervised Pre-Training with Efficient Audio Transformer", IJCAI 2024.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from dcase_asd.backbone.vision_transformer import PATCH, TransformerSize, VisionTransformer
from dcase_asd_eat.front_end import MEL_BINS

Representation = Literal["cls", "frame_mean", "mean", "logits"]

BANDS = MEL_BINS // PATCH
"""Patches on top of each other: tokens of one moment of 160 ms."""


@dataclass(frozen=True)
class Architecture(TransformerSize):
    """What a checkpoint says of its network; the defaults are EAT-base.

    Attributes:
        max_length: Patches in time that there are positions for.
        target_length: Frames that the network was trained on.
        classes: Classes of a fine-tuned checkpoint, 0 without its classifier.
        classifier_eps: As `norm_eps`, for the classifier's layer norm.

    Raises:
        ValueError: A size is out of range.
    """

    embed_dim: int = 768
    depth: int = 12
    num_heads: int = 12
    max_length: int = 768
    target_length: int = 1024
    classes: int = 0
    classifier_eps: float = 1e-5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_target_length(self.target_length, self.max_length)


def check_target_length(frames: int, max_length: int) -> None:
    """Refuse a number of frames that is no whole number of patches with positions.

    Raises:
        ValueError: It is no multiple of 16 in [16, 16 * max_length].
    """
    longest = PATCH * max_length
    if not isinstance(frames, int) or frames % PATCH or not 1 <= frames <= longest:
        raise ValueError(
            f"target_length must be a multiple of {PATCH} frames from {PATCH} to {longest}, "
            f"not {frames!r}"
        )


class Classifier(nn.Module):
    """Layer norm and dense layer that map [CLS] to the logits of classes."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(architecture.embed_dim, eps=architecture.classifier_eps)
        self.dense = nn.Linear(architecture.embed_dim, architecture.classes)

    def forward(self, cls: Tensor) -> Tensor:
        """Map [CLS], (b, d), to logits, (b, classes)."""
        logits: Tensor = self.dense(self.norm(cls))
        return logits


class EatNetwork(nn.Module):
    """The transformer over patches of the log-mel frames; token t * 8 + f follows [CLS].

    Its tensors are not filled: load them, or draw them.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        # Without memory at first, so that nothing is drawn from the global generator.
        with torch.device("meta"):
            self.encoder = VisionTransformer(architecture, (architecture.max_length, BANDS))
            self.classifier = Classifier(architecture) if architecture.classes else None
        self.to_empty(device="cpu")
