"""FISHER's checkpoints in their published forms."""

from __future__ import annotations

from typing import Any

from dcase_asd.backbone.family import (
    IMAGE,
    SIZES,
    STEM,
    TRANSFORMER,
    Family,
    PretrainingDefaults,
    fairseq_settings,
    named_sizes,
)
from dcase_asd.backbone.published import WeightsFile, present_values, require_values
from dcase_asd.errors import BackboneError
from dcase_asd.registry import find_checkpoint
from dcase_asd_fisher.network import Architecture, FisherNetwork

OPTIONAL_SIZES = ("mlp_ratio", "norm_eps", "band_width", "max_length", "max_freq", "target_length")
FLATTEN = {"flatten": "freq"}
"""A setting of which only one value was ever published."""


def _hugging_face(weights: WeightsFile) -> dict[str, Any]:
    require_values(weights.path, weights.settings, TRANSFORMER | IMAGE | FLATTEN)
    # What is left out has the published configuration's defaults, which are FISHER-tiny's.
    return present_values(weights.settings, *SIZES, *OPTIONAL_SIZES)


def _fairseq(weights: WeightsFile) -> dict[str, Any]:
    path, model = weights.path, weights.settings.get("model", {})
    sizes, image = fairseq_settings(weights, model, "fisher")
    sizes |= present_values(image, *OPTIONAL_SIZES) | present_values(model, *OPTIONAL_SIZES)
    if "band_width" not in sizes:
        raise BackboneError(f"{path}: not of FISHER, as it has no band_width; use --plugin eat")
    require_values(path, image, FLATTEN)
    return sizes


FISHER = Family(
    Architecture, FisherNetwork, find_checkpoint, _hugging_face, _fairseq,
    canonical=lambda key: key.removeprefix(STEM),
)  # fmt: skip

PRETRAINING = PretrainingDefaults(
    named_sizes(tiny=(192, 12, 3), mini=(256, 12, 4), small=(384, 12, 6)),
    max_images=64, decoder_layers=5, decoder_kernel=5, decoder_width=384, least_frames=1024,
    any_rate=True,
)  # fmt: skip
"""Defaults of the published configuration; how FISHER was trained beyond them is not public."""
