"""What a clip of a pre-training costs, counted from the sizes of its matrix products."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dcase_asd.backbone.vision_transformer import PATCH
from dcase_asd.recipe.pretraining import DECODER_GROUPS, Pretraining
from dcase_asd.training.pretraining_objective import visible_patches

FORWARD_AND_BACKWARD = 3
"""The gradients of a product are two products of its size."""


def gflop_of_clip(
    architecture: Mapping[str, Any], settings: Pretraining, patches: int, bands: int
) -> float:
    """10^9 floating-point operations, two a multiply-add, of a clip's forward and backward pass.

    Args:
        architecture: ``embed_dim``, ``depth`` and ``mlp_ratio``.
        settings: The recipe, with nothing left to the plugin.
        patches: Of a band.
        bands: Of the clip.
    """
    dim, depth = int(architecture["embed_dim"]), int(architecture["depth"])
    width = settings.decoder_width
    hidden = int(dim * architecture["mlp_ratio"])

    def encoder(tokens: int) -> float:
        dense = tokens * (4 * dim**2 + 2 * dim * hidden)
        return depth * (dense + 2 * tokens**2 * dim)

    projected = patches * PATCH**2 * dim
    kernels = settings.decoder_kernel**2 * width / DECODER_GROUPS
    convolutions = kernels * (dim + (settings.decoder_layers - 1) * width)
    decoder = patches * (convolutions + width * dim)
    clones = max(1, settings.max_images // bands)
    learnt = projected + clones * (encoder(1 + visible_patches(patches, settings)) + decoder)
    of_band = projected + encoder(1 + patches) + FORWARD_AND_BACKWARD * learnt
    return 2 * bands * of_band / 1e9
