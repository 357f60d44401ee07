"""EAT's checkpoints in their published forms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dcase_asd.backbone.family import (
    SIZES,
    STEM,
    TRANSFORMER,
    Family,
    PretrainingDefaults,
    fairseq_settings,
    named_sizes,
    published_key,
)
from dcase_asd.backbone.published import (
    WeightsFile,
    present_values,
    require_values,
    required_values,
)
from dcase_asd.errors import BackboneError
from dcase_asd.registry import find_checkpoint
from dcase_asd_eat.network import Architecture, EatNetwork

LOGITS = "logits"
"""The representation that needs the classifier; without it a classifier is left out."""

HUGGING_FACE = TRANSFORMER | {
    "patch_size": 16, "stride": 16, "in_chans": 1, "mel_bins": 128, "qkv_bias": True,
    "fixed_positions": True,
}  # fmt: skip
"""Settings of which only one value was ever published."""

PREFIXES = {
    "model.": "",
    STEM: "",
    "pre_norm.": "context_encoder.norm.",
    "positional_encoder.pos_embed": "fixed_positional_encoder.positions",
}
"""Beginnings of keys in which the published forms differ, in the order they are taken off."""
PRETRAINING_ONLY = ("decoder.", "_ema")
"""Keys of the decoder, and of the teacher that followed the network in pre-training."""
CLASSIFIER_KEYS = {"classifier.norm.": "fc_norm.", "classifier.dense.": "head."}


def _hugging_face(weights: WeightsFile) -> dict[str, Any]:
    path, settings = weights.path, weights.settings
    require_values(path, settings, HUGGING_FACE)
    sizes = required_values(path, settings, SIZES)
    sizes |= present_values(settings, "mlp_ratio", "norm_eps", "max_length")
    if frames := settings.get("img_size"):
        sizes["target_length"] = frames[0]
    if settings.get("model_variant") == "finetune":
        sizes["classes"] = required_values(path, settings, ["num_classes"])["num_classes"]
    return sizes


def _fairseq(weights: WeightsFile) -> dict[str, Any]:
    path, model = weights.path, weights.settings.get("model", {})
    fine_tuned: dict[str, Any] = {}
    if isinstance(model, dict) and isinstance(model.get("pretrained_model_args"), dict):
        fine_tuned, model = model, model["pretrained_model_args"].get("model", {})
    sizes, image = fairseq_settings(weights, model, "eat")
    if "band_width" in model or "band_width" in image:
        raise BackboneError(
            f"{path}: a checkpoint of FISHER (it has a band_width); use --plugin fisher"
        )
    sizes |= present_values(model, "mlp_ratio", "norm_eps")
    sizes |= present_values(image, "max_length", "target_length")
    sizes |= present_values(fine_tuned, "target_length")
    if fine_tuned:
        # fairseq's classifier shares the transformer's value; the Hugging Face one has torch's.
        sizes["classifier_eps"] = sizes.get("norm_eps", Architecture.norm_eps)
        sizes["classes"] = required_values(path, fine_tuned, ["num_classes"])["num_classes"]
    return sizes


def _canonical(key: str) -> str | None:
    for published, common in PREFIXES.items():
        if key.startswith(published):
            key = common + key.removeprefix(published)
    return None if key.startswith(PRETRAINING_ONLY) else key


def _published(name: str) -> str:
    for own, published in CLASSIFIER_KEYS.items():
        if name.startswith(own):
            return published + name.removeprefix(own)
    return published_key(name)


def _needed(architecture: Architecture, options: Mapping[str, Any]) -> Architecture:
    wanted = options.get("representation") == LOGITS
    return architecture if wanted else replace(architecture, classes=0)


EAT = Family(
    Architecture, EatNetwork, find_checkpoint, _hugging_face, _fairseq, _canonical, _published,
    _needed,
)  # fmt: skip

PRETRAINING = PretrainingDefaults(
    named_sizes(
        tiny=(192, 12, 3), mini=(256, 12, 4), small=(384, 12, 6), base=(768, 12, 12),
        large=(1024, 24, 16),
    ),
    max_images=16, decoder_layers=6, decoder_kernel=3, decoder_width=768, least_frames=16,
    any_rate=False,
)  # fmt: skip
"""As published, of base and large; the smaller sizes are FISHER's."""
