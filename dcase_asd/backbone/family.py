"""The EAT family, EAT and FISHER: a `VisionTransformer` made of a checkpoint of any form.

Forms are fairseq's files, Hugging Face folders, and what `Backbone.save` writes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from dcase_asd.backbone.contract import Backbone, given_options
from dcase_asd.backbone.published import (
    WeightsFile,
    check_source,
    fit_tensors,
    is_hugging_face,
    is_safetensors,
    read_hugging_face_folder,
    read_torch_file,
    require_model_type,
    require_values,
    required_values,
)
from dcase_asd.backbone.saved import read_checkpoint
from dcase_asd.backbone.vision_transformer import TransformerSize
from dcase_asd.errors import BackboneError

SIZES = ("embed_dim", "depth", "num_heads")
TRANSFORMER = {"layer_norm_first": False, "norm_affine": True}
IMAGE = {
    "patch_size": 16, "in_chans": 1, "num_extra_tokens": 1, "fixed_positions": True,
    "use_alibi_encoder": False, "prenet_depth": 0,
}  # fmt: skip
"""Settings of which only one value was ever published."""
STEM = "modality_encoders.IMAGE."
"""What stands before the keys of the layers that take the spectrogram in."""
PUBLISHED_KEYS = {
    "cls_token": "extra_tokens",
    "patches.": "local_encoder.proj.",
    "positions": "fixed_positional_encoder.positions",
    "norm.": "context_encoder.norm.",
    "blocks.": "blocks.",
}
"""How the tensors of `VisionTransformer` are called in published checkpoints, after the stem."""


def published_key(name: str) -> str:
    """Key in published checkpoints of a tensor that a network calls `name`."""
    name = name.removeprefix("encoder.")
    own = next(own for own in PUBLISHED_KEYS if name.startswith(own))
    return PUBLISHED_KEYS[own] + name.removeprefix(own)


@dataclass(frozen=True)
class Family:
    """What differs between the plugins of the family.

    Attributes:
        architecture: Class of the sizes of a network.
        network: Makes a network of such sizes, its tensors yet to be filled.
        default: Finds the default weights of a plugin by its name.
        hugging_face: Sizes that a Hugging Face folder says.
        fairseq: Sizes that the ``cfg`` of a torch file says.
        canonical: What the published forms' keys have in common; None for one that is not needed.
        published: Such a key of a tensor of the network.
        needed: The part of an architecture that a backbone of some options needs.
    """

    architecture: type[TransformerSize]
    network: Callable[[Any], nn.Module]
    default: Callable[[str], Path]
    hugging_face: Callable[[WeightsFile], dict[str, Any]]
    fairseq: Callable[[WeightsFile], dict[str, Any]]
    canonical: Callable[[str], str | None]
    published: Callable[[str], str] = published_key
    needed: Callable[[Any, Mapping[str, Any]], Any] = lambda architecture, _: architecture

    def shapes(self, architecture: TransformerSize) -> dict[str, torch.Size]:
        """Shape of each tensor of a network, by name."""
        with torch.device("meta"):
            network = self.network(architecture)
        return {name: value.shape for name, value in network.state_dict().items()}


@dataclass(frozen=True)
class PretrainingDefaults:
    """What is a plugin's own when it is pre-trained.

    Attributes:
        sizes: Values of `SIZES` by the name of a size, the default first.
        max_images: Masks of a clip, times its bands, at most.
        decoder_layers: The decoder's convolutions.
        decoder_kernel: Side of their kernels.
        decoder_width: Their channels.
        least_frames: Frames that the network is told to crop (or pad) to, at least.
        any_rate: Whether clips of every rate are taken.
    """

    sizes: Mapping[str, Mapping[str, int]]
    max_images: int
    decoder_layers: int
    decoder_kernel: int
    decoder_width: int
    least_frames: int
    any_rate: bool


def named_sizes(**sizes: tuple[int, int, int]) -> dict[str, dict[str, int]]:
    """Sizes by name, each the values of `SIZES`."""
    return {name: dict(zip(SIZES, values, strict=True)) for name, values in sizes.items()}


class FamilyBackbone(Backbone):
    """A backbone whose class takes an architecture and options, and has a `network`."""

    family: ClassVar[Family]
    pretraining: ClassVar[PretrainingDefaults]
    network: Any
    passes_options: ClassVar[bool] = True

    @classmethod
    def from_checkpoint(
        cls,
        path: str | Path | None = None,
        *,
        random_weights: int | None = None,
        architecture: dict[str, Any] | None = None,
        **options: Any,
    ) -> Self:
        """Make the backbone from a checkpoint as published, or as `save` writes it.

        Args:
            path: fairseq's ``.pt``, a Hugging Face folder, or a saved file; None for the weights
                that ``dcase-asd weights`` fetched.
            random_weights: A seed: weights are drawn instead of read.
            architecture: Sizes for random weights; those left out have their defaults.
            options: Those of the class, which go before saved ones.

        Raises:
            BackboneError: The checkpoint is missing or does not fit, or an option is wrong.
        """
        options = given_options(**options)
        check_source(path, random_weights, architecture)
        if random_weights is not None:
            backbone = cls(cls.family.architecture.changed(architecture or {}), **options)
            generator = torch.Generator().manual_seed(random_weights)
            backbone.network.encoder.draw_weights(generator)
            return backbone
        path = Path(cls.family.default(cls.name) if path is None else path)
        sizes, tensors, options = cls._read(path, options)
        backbone = cls(sizes, **options)
        own = backbone.network.state_dict()  # of fewer layers, perhaps
        backbone.network.load_state_dict({name: tensors[name] for name in own})
        return backbone

    def images(self, waveforms: Tensor, lengths: Tensor, sample_rate: int) -> Tensor:
        """What the transformer sees of clips of any rate that it takes: its images one by one.

        Args:
            waveforms: As in `tokens`.
            lengths: As in `tokens`.
            sample_rate: In Hz.

        Returns:
            (b * bands, frames, bins), clip after clip.
        """
        return self.spectrogram(waveforms, lengths, sample_rate)

    @classmethod
    def _read(
        cls, path: Path, options: dict[str, Any]
    ) -> tuple[TransformerSize, dict[str, Tensor], dict[str, Any]]:
        """Architecture, tensors and options of a checkpoint; nothing in it is executed."""
        family = cls.family
        canonical, key_of = family.canonical, family.published
        if is_hugging_face(path):
            file = read_hugging_face_folder(path)
            require_model_type(file, cls.name)
            sizes = family.hugging_face(file)
        elif is_safetensors(path):
            saved, saved_options = read_checkpoint(path, cls.name)
            file, sizes = WeightsFile(path, {}, saved), saved_options.pop("architecture", {})
            canonical, key_of = str, "network.{}".format
            options = saved_options | options
        else:
            file = read_torch_file(path)
            sizes = family.fairseq(file)
        try:
            whole = family.architecture(**sizes)
        except (TypeError, ValueError) as error:
            raise BackboneError(f"{path}: its settings describe no network ({error})") from error
        architecture = family.needed(whole, options)
        keys = {name: key_of(name) for name in family.shapes(whole)}
        expected = {keys[name]: shape for name, shape in family.shapes(architecture).items()}
        left_out = set(keys.values()) - expected.keys()

        def wanted(key: str) -> str | None:
            return None if (name := canonical(key)) in left_out else name

        found = fit_tensors(file, expected, wanted)
        tensors = {name: found[key] for name, key in keys.items() if key in found}
        return architecture, tensors, options


def fairseq_settings(
    weights: WeightsFile, model: Any, name: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What ``cfg.model`` says of the transformer, and its part that is about spectrograms.

    Args:
        weights: The file.
        model: Of its settings.
        name: The plugin's.

    Returns:
        The `SIZES`; ``modalities.image``.

    Raises:
        BackboneError: It is of another family, a size is missing, or a setting is another than in
            all published files.
    """
    image = model.get("modalities", {}).get("image") if isinstance(model, dict) else None
    if not isinstance(image, dict):
        plugin = "--plugin beats" if "encoder_layers" in weights.settings else "its model's plugin"
        raise BackboneError(
            f"{weights.path}: not of {name.upper()}, as its cfg has no model.modalities.image; "
            f"use {plugin}"
        )
    require_values(weights.path, model, TRANSFORMER)
    sizes = required_values(weights.path, model, SIZES)
    require_values(weights.path, image, IMAGE | {"embed_dim": sizes["embed_dim"]})
    return sizes, image
