"""EAT's checkpoints in their published forms, and as `Backbone.save` writes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from dcase_asd.backbone import read_checkpoint
from dcase_asd.backbone.published import (
    WeightsFile,
    fit_tensors,
    is_hugging_face,
    is_safetensors,
    present_values,
    read_hugging_face_folder,
    read_torch_file,
    require_model_type,
    require_values,
    required_values,
)
from dcase_asd.backbone.vision_transformer import published_key
from dcase_asd.errors import BackboneError
from dcase_asd_eat.network import Architecture, tensor_shapes

NAME = "eat"
LOGITS = "logits"
"""The representation that needs the classifier; without it a classifier is left out."""

SIZES = ("embed_dim", "depth", "num_heads")
TRANSFORMER = {"layer_norm_first": False, "norm_affine": True}
HUGGING_FACE = TRANSFORMER | {
    "patch_size": 16, "stride": 16, "in_chans": 1, "mel_bins": 128, "qkv_bias": True,
    "fixed_positions": True,
}  # fmt: skip
FAIRSEQ_IMAGE = {
    "patch_size": 16, "in_chans": 1, "num_extra_tokens": 1, "fixed_positions": True,
    "use_alibi_encoder": False, "prenet_depth": 0,
}  # fmt: skip
"""Settings of which only one value was ever published."""

PREFIXES = {
    "model.": "",
    "modality_encoders.IMAGE.": "",
    "pre_norm.": "context_encoder.norm.",
    "positional_encoder.pos_embed": "fixed_positional_encoder.positions",
}
"""Beginnings of keys in which the published forms differ, in the order they are taken off."""
PRETRAINING_ONLY = ("decoder.", "_ema")
"""Keys of the decoder, and of the teacher that followed the network in pre-training."""
CLASSIFIER_KEYS = {"classifier.norm.": "fc_norm.", "classifier.dense.": "head."}


@dataclass(frozen=True)
class Weights:
    """What a checkpoint holds: the network's architecture and tensors, a backbone's options."""

    architecture: Architecture
    tensors: dict[str, Tensor]
    options: dict[str, Any]


def read_weights(path: str | Path, options: Mapping[str, Any]) -> Weights:
    """Read a checkpoint of any form; nothing in it is executed.

    Args:
        path: fairseq's ``.pt`` (pre-trained or fine-tuned), a Hugging Face folder, or a file that
            `Backbone.save` wrote.
        options: Options of the backbone that take precedence over those saved.

    Raises:
        BackboneError: It is damaged, of another model, or does not fit key by key.
    """
    path = Path(path)
    if is_hugging_face(path):
        return _read_hugging_face(read_hugging_face_folder(path), options)
    if is_safetensors(path):
        return _read_saved(path, options)
    return _read_fairseq(read_torch_file(path), options)


def _read_saved(path: Path, options: Mapping[str, Any]) -> Weights:
    tensors, saved = read_checkpoint(path, NAME)
    architecture = _architecture(path, saved.pop("architecture", {}))
    merged = saved | dict(options)
    unneeded: tuple[str, ...] = ()
    if merged.get("representation") != LOGITS:
        architecture, unneeded = replace(architecture, classes=0), ("network.classifier.",)
    expected = {f"network.{name}": shape for name, shape in tensor_shapes(architecture).items()}
    fitted = fit_tensors(
        WeightsFile(path, {}, tensors),
        expected,
        lambda key: None if key.startswith(unneeded) else key,
    )
    own = {name.removeprefix("network."): value for name, value in fitted.items()}
    return Weights(architecture, own, merged)


def _read_hugging_face(weights: WeightsFile, options: Mapping[str, Any]) -> Weights:
    settings = weights.settings
    require_model_type(weights, NAME)
    require_values(weights.path, settings, HUGGING_FACE)
    sizes = required_values(weights.path, settings, SIZES)
    sizes |= present_values(settings, "mlp_ratio", "norm_eps", "max_length")
    if frames := settings.get("img_size"):
        sizes["target_length"] = frames[0]
    if settings.get("model_variant") == "finetune":
        sizes |= {
            "classes": required_values(weights.path, settings, ["num_classes"])["num_classes"]
        }
    return _fit(weights, sizes, options)


def _read_fairseq(weights: WeightsFile, options: Mapping[str, Any]) -> Weights:
    model, path = weights.settings.get("model"), weights.path
    fine_tuned: dict[str, Any] = {}
    if isinstance(model, dict) and isinstance(model.get("pretrained_model_args"), dict):
        fine_tuned, model = model, model["pretrained_model_args"].get("model")
    image = model.get("modalities", {}).get("image") if isinstance(model, dict) else None
    if not isinstance(model, dict) or not isinstance(image, dict):
        plugin = "--plugin beats" if "encoder_layers" in weights.settings else "its model's plugin"
        raise BackboneError(
            f"{path}: not of EAT, as its cfg has no model.modalities.image; use {plugin}"
        )
    if "band_width" in model or "band_width" in image:
        raise BackboneError(
            f"{path}: a checkpoint of FISHER (it has a band_width); use --plugin fisher"
        )
    require_values(path, model, TRANSFORMER)
    sizes = required_values(path, model, SIZES) | present_values(model, "mlp_ratio", "norm_eps")
    require_values(path, image, FAIRSEQ_IMAGE | {"embed_dim": sizes["embed_dim"]})
    sizes |= present_values(image, "max_length", "target_length") | present_values(
        fine_tuned, "target_length"
    )
    if fine_tuned:
        # fairseq's classifier shares the transformer's value; the Hugging Face one has torch's.
        sizes["classifier_eps"] = sizes.get("norm_eps", Architecture.norm_eps)
        sizes["classes"] = _classes(path, fine_tuned)
    return _fit(weights, sizes, options)


def _fit(weights: WeightsFile, sizes: dict[str, Any], options: Mapping[str, Any]) -> Weights:
    unneeded: tuple[str, ...] = PRETRAINING_ONLY
    if options.get("representation") != LOGITS and sizes.pop("classes", 0):
        unneeded = tuple(CLASSIFIER_KEYS.values())

    def canonical(key: str) -> str | None:
        for published, common in PREFIXES.items():
            if key.startswith(published):
                key = common + key.removeprefix(published)
        return None if key.startswith(unneeded) else key

    architecture = _architecture(weights.path, sizes)
    shapes = tensor_shapes(architecture)
    expected = {_published(name): shape for name, shape in shapes.items()}
    fitted = fit_tensors(weights, expected, canonical)
    own = {name: fitted[_published(name)] for name in shapes}
    return Weights(architecture, own, dict(options))


def _published(name: str) -> str:
    for own, published in CLASSIFIER_KEYS.items():
        if name.startswith(own):
            return published + name.removeprefix(own)
    return published_key(name.removeprefix("encoder."))


def _classes(path: Path, settings: Mapping[str, Any]) -> Any:
    return required_values(path, settings, ["num_classes"])["num_classes"]


def _architecture(path: Path, sizes: Mapping[str, Any]) -> Architecture:
    try:
        return Architecture(**sizes)
    except (TypeError, ValueError) as error:
        raise BackboneError(f"{path}: its settings describe no network ({error})") from error
