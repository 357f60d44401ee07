"""What is pre-trained: a plugin's network with random or published weights."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, TypeGuard

from dcase_asd.backbone import Backbone, broken_weight
from dcase_asd.backbone.family import SIZES, FamilyBackbone
from dcase_asd.errors import BackboneError, RecipeError, nearest_name
from dcase_asd.recipe.pretraining import DECODER_GROUPS, Pretraining
from dcase_asd.registry import load_backbone, load_class

CHALLENGE_RATE = 16_000
"""In Hz, of backbones that take one rate; that of the challenge."""
FRAMES_A_SECOND, FRAMES_TOGETHER = 100, 32
"""Frames of 10 ms; and what their number is rounded up to (10 s: 1024, as published)."""


def student(settings: Pretraining) -> tuple[FamilyBackbone, Pretraining]:
    """The backbone to be trained, and the recipe with nothing in it left to the plugin.

    Raises:
        BackboneError: There is no such plugin or checkpoint, or it cannot be pre-trained.
        RecipeError: The size is none of the plugin's, or not that of the checkpoint.
    """
    kind = load_class(settings.plugin)
    if not _can_be_pretrained(kind):
        raise BackboneError(
            f"the plugin {settings.plugin!r} cannot be pre-trained; choose --plugin fisher or eat"
        )
    own = kind.pretraining
    if settings.size and settings.size not in own.sizes:
        hint = nearest_name(settings.size, own.sizes)
        raise RecipeError(f"{settings.plugin} has no size {settings.size!r}; {hint}")
    if settings.sample_rate and not own.any_rate:
        raise RecipeError(f"sample_rate: {settings.plugin} takes one rate alone; leave it out")
    frames = math.ceil(settings.seconds * FRAMES_A_SECOND / FRAMES_TOGETHER) * FRAMES_TOGETHER
    frames = max(frames, own.least_frames)
    options: dict[str, Any] = {"target_length": frames}
    if settings.checkpoint is None:
        sizes = own.sizes[settings.size or next(iter(own.sizes))]
        architecture = {**sizes, **settings.architecture, "target_length": frames}
        options = {"random_weights": settings.seed, "architecture": architecture}
    elif settings.architecture:
        raise RecipeError("architecture: that of the checkpoint stays; leave it out")
    backbone = load_backbone(settings.plugin, settings.checkpoint, **options)
    if not isinstance(backbone, FamilyBackbone):
        raise BackboneError(
            f"{settings.checkpoint}: fine-tuned with a head; give the weights it was made of"
        )
    if backbone.options["architecture"]["embed_dim"] % DECODER_GROUPS:
        raise RecipeError(
            f"embed_dim must be a multiple of {DECODER_GROUPS} for the decoder's groups"
        )
    there = {name: backbone.options["architecture"][name] for name in SIZES}
    if settings.checkpoint and settings.size and there != own.sizes[settings.size]:
        known = [name for name, each in own.sizes.items() if each == there]
        said = f"size {known[0]}" if known else f"another size ({there})"
        raise RecipeError(
            f"{settings.checkpoint}: a checkpoint of {said}, not {settings.size}; leave out --size"
        )
    if weight := broken_weight(backbone):
        raise BackboneError(
            f"{settings.checkpoint}: the weight {weight} is not finite; give another --checkpoint"
        )
    whole = dataclasses.replace(
        settings,
        max_images=settings.max_images or own.max_images,
        decoder_layers=settings.decoder_layers or own.decoder_layers,
        decoder_kernel=settings.decoder_kernel or own.decoder_kernel,
        decoder_width=settings.decoder_width or own.decoder_width,
    )
    return backbone, whole


def _can_be_pretrained(kind: type[Backbone]) -> TypeGuard[type[FamilyBackbone]]:
    return issubclass(kind, FamilyBackbone) and hasattr(kind, "pretraining")


def batch_rate(settings: Pretraining) -> int:
    """Rate in Hz that recordings are resampled to; 0: each at its own."""
    own = load_class(settings.plugin)
    any_rate = _can_be_pretrained(own) and own.pretraining.any_rate
    return settings.sample_rate if any_rate else CHALLENGE_RATE
