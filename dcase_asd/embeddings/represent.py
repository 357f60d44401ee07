"""Waveforms -> embeddings as a recipe's `[embed]` says, on the device of the backbone."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from dcase_asd.backbone import Backbone
from dcase_asd.backbone.time_pooling import pool
from dcase_asd.embeddings.two_microphones import Cleaned, clean
from dcase_asd.recipe.system import Embedding


@dataclass(frozen=True)
class Represented:
    """Embeddings of a batch, (b, d) or (b, f, d), float32; and what its far channels did."""

    vectors: Tensor
    cleaned: Cleaned | None


def represent(
    backbone: Backbone, recipe: Embedding, waveforms: Tensor, lengths: Tensor, sample_rate: int
) -> Represented:
    """Embed a batch: take out the far channel, then the plugin's representation or a pooling.

    Args:
        backbone: In eval mode.
        recipe: Its `far`, `pooling`, `pooling_options` and `bands` count.
        waveforms: (b, n), or (b, n, 2) of near and far microphone.
        lengths: Samples of each clip before padding, (b,).
        sample_rate: In Hz.

    Raises:
        AudioError: A clip is too short, or of a rate that the backbone cannot take.
        BackboneError: It has no tokens to pool.
    """
    cleaned = None
    if recipe.far != "none":
        cleaned = clean(waveforms, lengths, recipe.far, sample_rate)
        waveforms = cleaned.waveforms
    if recipe.pooling is None:
        return Represented(backbone.embed(waveforms, lengths, sample_rate).float(), cleaned)
    tokens, mask = backbone.token_grid(waveforms, lengths, sample_rate)
    if recipe.bands == "together":
        tokens = tokens.flatten(2)[:, :, None]
    pooled = pool(tokens.float(), recipe.pooling, mask=mask, **recipe.pooling_options)
    if recipe.bands == "mean":
        pooled = pooled.mean(1)
    elif recipe.bands != "apart":
        pooled = pooled.flatten(1)
    return Represented(pooled, cleaned)
