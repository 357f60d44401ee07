"""Backbones small enough to be fine-tuned in seconds, behind the contract of a plugin."""

from pathlib import Path
from typing import ClassVar

import torch
from torch import nn

from dcase_asd.backbone import Backbone, read_checkpoint
from dcase_asd.features import INT16_SCALE, LogMel

PATCH = 8


class Tiny(Backbone):
    """Log-mel frames in patches of eight, one transformer layer without positions."""

    name: ClassVar[str] = "tiny"

    def __init__(self, seed=0, width=32, dropout=0.1):
        super().__init__()
        self.dimension, self.sample_rate = width, 16000
        self.options = {"seed": seed, "width": width, "dropout": dropout}
        self.log_mel = LogMel(16000, 32)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.patch = nn.Linear(32 * PATCH, width)
            self.q_proj, self.k_proj, self.v_proj = (nn.Linear(width, width) for _ in range(3))
            self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    @classmethod
    def from_checkpoint(cls, path: Path | None = None, seed=0, width=32, dropout=0.1):
        if path is None:
            return cls(seed, width, dropout)
        tensors, options = read_checkpoint(path, cls.name)
        backbone = cls(**options)
        backbone.load_state_dict(tensors)
        return backbone

    def spectrogram(self, waveforms, lengths=None, sample_rate=None):
        return (self.log_mel(waveforms * INT16_SCALE) - 8.0) / 4.0

    def token_mask(self, lengths, samples):
        frames = self.log_mel.frame_counts(lengths)
        total = int(self.log_mel.frame_counts(torch.tensor(samples))) // PATCH
        return torch.arange(total, device=lengths.device) < (frames // PATCH)[:, None]

    def tokens_from_spectrogram(self, spectrogram, lengths=None):
        count = spectrogram.shape[1] // PATCH
        patches = spectrogram[:, : count * PATCH].reshape(len(spectrogram), count, -1)
        hidden = self.dropout(self.patch(patches).relu())
        mask = None
        if lengths is not None:
            frames = self.log_mel.frame_counts(lengths) // PATCH
            mask = (torch.arange(count, device=lengths.device) < frames[:, None])[:, None, :]
        mixed = nn.functional.scaled_dot_product_attention(
            self.q_proj(hidden), self.k_proj(hidden), self.v_proj(hidden), mask
        )
        return self.norm(hidden + mixed)

    def tokens(self, waveforms, lengths=None, sample_rate=None):
        return self.tokens_from_spectrogram(self.spectrogram(waveforms, lengths), lengths)

    def embed(self, waveforms, lengths=None, sample_rate=None):
        tokens = self.tokens(waveforms, lengths)
        if lengths is None:
            return tokens.mean(1)
        mask = self.token_mask(lengths, waveforms.shape[1])[..., None]
        return (tokens * mask).sum(1) / mask.sum(1)


class TinyCls(Tiny):
    """The same with a first token of its own for the whole clip."""

    name: ClassVar[str] = "tiny-cls"
    pooling: ClassVar[str] = "cls"

    def cls_from_spectrogram(self, spectrogram, lengths=None):
        tokens = self.tokens_from_spectrogram(spectrogram, lengths)
        return tokens[:, 0]
