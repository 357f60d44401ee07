"""FISHER's checkpoints in their published forms, and as `Backbone.save` writes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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
from dcase_asd_fisher.network import Architecture, tensor_shapes

NAME = "fisher"

SIZES = ("embed_dim", "depth", "num_heads")
OPTIONAL_SIZES = ("mlp_ratio", "norm_eps", "band_width", "max_length", "max_freq", "target_length")
TRANSFORMER = {"layer_norm_first": False, "norm_affine": True}
IMAGE = {
    "patch_size": 16, "in_chans": 1, "num_extra_tokens": 1, "fixed_positions": True,
    "use_alibi_encoder": False, "prenet_depth": 0, "flatten": "freq",
}  # fmt: skip
"""Settings of which only one value was ever published."""

STEM = "modality_encoders.IMAGE."


@dataclass(frozen=True)
class Weights:
    """What a checkpoint holds: the network's architecture and tensors, a backbone's options."""

    architecture: Architecture
    tensors: dict[str, Tensor]
    options: dict[str, Any]


def read_weights(path: str | Path, options: Mapping[str, Any]) -> Weights:
    """Read a checkpoint of any form; nothing in it is executed.

    Args:
        path: The authors' ``.pt``, a Hugging Face folder, or a file that `Backbone.save` wrote.
        options: Options of the backbone that take precedence over those saved.

    Raises:
        BackboneError: It is damaged, of another model, or does not fit key by key.
    """
    path = Path(path)
    if is_hugging_face(path):
        return _read_hugging_face(read_hugging_face_folder(path), options)
    if is_safetensors(path):
        return _read_saved(path, options)
    return _read_torch(read_torch_file(path), options)


def _read_saved(path: Path, options: Mapping[str, Any]) -> Weights:
    tensors, saved = read_checkpoint(path, NAME)
    architecture = _architecture(path, saved.pop("architecture", {}))
    expected = {f"network.{name}": shape for name, shape in tensor_shapes(architecture).items()}
    fitted = fit_tensors(WeightsFile(path, {}, tensors), expected, lambda key: key)
    own = {name.removeprefix("network."): value for name, value in fitted.items()}
    return Weights(architecture, own, saved | dict(options))


def _read_hugging_face(weights: WeightsFile, options: Mapping[str, Any]) -> Weights:
    settings = weights.settings
    require_model_type(weights, NAME)
    require_values(weights.path, settings, TRANSFORMER | IMAGE)
    # What is left out has the published configuration's defaults, which are FISHER-tiny's.
    return _fit(weights, present_values(settings, *SIZES, *OPTIONAL_SIZES), options)


def _read_torch(weights: WeightsFile, options: Mapping[str, Any]) -> Weights:
    model, path = weights.settings.get("model"), weights.path
    image = model.get("modalities", {}).get("image") if isinstance(model, dict) else None
    if not isinstance(model, dict) or not isinstance(image, dict):
        plugin = "--plugin beats" if "encoder_layers" in weights.settings else "its model's plugin"
        raise BackboneError(
            f"{path}: not of FISHER, as its cfg has no model.modalities.image; use {plugin}"
        )
    if "band_width" not in model and "band_width" not in image:
        raise BackboneError(f"{path}: not of FISHER, as it has no band_width; use --plugin eat")
    require_values(path, model, TRANSFORMER)
    sizes = required_values(path, model, SIZES)
    require_values(path, image, IMAGE | {"embed_dim": sizes["embed_dim"]})
    sizes |= present_values(image, *OPTIONAL_SIZES) | present_values(model, *OPTIONAL_SIZES)
    return _fit(weights, sizes, options)


def _fit(weights: WeightsFile, sizes: dict[str, Any], options: Mapping[str, Any]) -> Weights:
    architecture = _architecture(weights.path, sizes)
    shapes = tensor_shapes(architecture)
    fitted = fit_tensors(
        weights,
        {_published(name): shape for name, shape in shapes.items()},
        lambda key: key.removeprefix(STEM),
    )
    own = {name: fitted[_published(name)] for name in shapes}
    return Weights(architecture, own, dict(options))


def _published(name: str) -> str:
    return published_key(name.removeprefix("encoder."))


def _architecture(path: Path, sizes: Mapping[str, Any]) -> Architecture:
    try:
        return Architecture(**sizes)
    except (TypeError, ValueError) as error:
        raise BackboneError(f"{path}: its settings describe no network ({error})") from error
