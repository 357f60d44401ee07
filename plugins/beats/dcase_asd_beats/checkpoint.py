"""Where weights come from: published files, every tensor accounted for, or a seed."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

import torch
from torch import nn

from dcase_asd.backbone.published import WeightsFile, fit_tensors, read_torch_file
from dcase_asd.errors import BackboneError, nearest_name
from dcase_asd_beats.front_end import MEL_BINS

ACTIVATIONS = ("gelu", "gelu_accurate", "gelu_fast", "relu", "tanh", "linear", "glu")
SHARED_TABLE = "relative_attention_bias.weight"
"""One table for all layers; a published file repeats it under every layer's attention."""


@dataclass(frozen=True)
class Config:
    """The switches of a checkpoint (its ``cfg``); what one leaves out has its authors' default."""

    input_patch_size: int = -1
    embed_dim: int = 512
    conv_bias: bool = False
    encoder_layers: int = 12
    encoder_embed_dim: int = 768
    encoder_ffn_embed_dim: int = 3072
    encoder_attention_heads: int = 12
    activation_fn: str = "gelu"
    layer_wise_gradient_decay_ratio: float = 1.0
    layer_norm_first: bool = False
    deep_norm: bool = False
    dropout: float = 0.1
    attention_dropout: float = 0.1
    activation_dropout: float = 0.0
    encoder_layerdrop: float = 0.0
    dropout_input: float = 0.0
    conv_pos: int = 128
    conv_pos_groups: int = 16
    relative_position_embedding: bool = False
    num_buckets: int = 320
    max_distance: int = 1280
    gru_rel_pos: bool = False
    finetuned_model: bool = False
    predictor_dropout: float = 0.1
    predictor_class: int = 527

    def __post_init__(self) -> None:
        for each in fields(self):
            self._check_type(each.name, type(each.default))
        if self.input_patch_size > MEL_BINS:
            raise ValueError(f"input_patch_size is {self.input_patch_size}, above {MEL_BINS}")
        if self.max_distance <= self.num_buckets // 4:
            raise ValueError(
                f"max_distance is {self.max_distance}; it must be above a quarter of num_buckets, "
                f"which is {self.num_buckets}"
            )
        for part in ("encoder_attention_heads", "conv_pos_groups"):
            if self.encoder_embed_dim % getattr(self, part):
                raise ValueError(
                    f"encoder_embed_dim is {self.encoder_embed_dim}, no multiple of {part}, "
                    f"which is {getattr(self, part)}"
                )
        if self.activation_fn not in ACTIVATIONS:
            hint = nearest_name(self.activation_fn, ACTIVATIONS)
            raise ValueError(f"no activation_fn is called {self.activation_fn!r}; {hint}")
        if self.deep_norm and self.layer_norm_first:
            raise ValueError(
                "deep_norm and layer_norm_first are both true; they exclude each other"
            )

    def _check_type(self, name: str, kind: type) -> None:
        value = getattr(self, name)
        if kind is float and type(value) is int:
            object.__setattr__(self, name, float(value))
        elif type(value) is not kind:
            raise ValueError(f"{name} is {value!r}, not of type {kind.__name__}")
        least = 4 if name == "num_buckets" else 1  # two directions, near and far
        if kind is int and value < least:
            raise ValueError(f"{name} is {value}; it must be at least {least}")

    @classmethod
    def released(cls, **changes: Any) -> Self:
        """The architecture of the released models (BEATs iter1 to iter3+), with changes.

        Raises:
            ValueError: There is no such switch, or its value is out of range.
        """
        names = [each.name for each in fields(cls)]
        for name in changes:
            if name not in names:
                raise ValueError(
                    f"architecture has no switch {name!r}; {nearest_name(name, names)}"
                )
        return cls(**(RELEASED | changes))


RELEASED: dict[str, Any] = {
    "input_patch_size": 16,
    "relative_position_embedding": True,
    "max_distance": 800,
    "gru_rel_pos": True,
    "deep_norm": True,
    "dropout": 0.0,
    "attention_dropout": 0.0,
    "encoder_layerdrop": 0.05,
    "layer_wise_gradient_decay_ratio": 0.6,
    "predictor_dropout": 0.0,
}
"""Where the released models differ from the defaults."""


def read_published(path: str | Path) -> tuple[Config, WeightsFile]:
    """Read a file as its authors publish it, ``{'cfg', 'model'}``; no code in it is executed.

    Returns:
        The switches (unknown ones are ignored, as its authors' code does), and the tensors.

    Raises:
        BackboneError: The file is damaged, unsafe, or of another model.
    """
    weights = read_torch_file(path)
    names = {each.name for each in fields(Config)}
    try:
        config = Config(**{key: value for key, value in weights.settings.items() if key in names})
    except ValueError as error:
        raise BackboneError(f"{path}: its 'cfg' describes no BEATs network: {error}") from error
    return config, weights


def load_published(network: nn.Module, weights: WeightsFile) -> None:
    """Fill a network with a published file's tensors, every one of them accounted for.

    Raises:
        BackboneError: A tensor is missing, unknown or of another shape.
    """
    table = f"encoder.{SHARED_TABLE}"
    expected = {name: value.shape for name, value in network.state_dict().items()}
    layers = len(network.get_submodule("encoder.layers"))  # type: ignore[arg-type]
    copies = [f"encoder.layers.{layer}.self_attn.{SHARED_TABLE}" for layer in range(layers)]
    shared = expected.pop(table, None)
    if shared is not None:
        expected |= dict.fromkeys(copies, shared)
    found = fit_tensors(weights, expected, lambda key: key)
    if shared is not None:
        for copy in copies[1:]:
            if not torch.equal(found[copy], found[copies[0]]):
                raise BackboneError(
                    f"{weights.path}: {copy!r} differs from that of layer 0, but BEATs' layers "
                    "share it"
                )
        found[table] = found[copies[0]]
    # Copies, because what was read may be the file itself, mapped into memory.
    ours = {name: value.clone() for name, value in found.items() if name not in copies}
    network.load_state_dict(ours, assign=True)


def draw_weights(network: nn.Module, config: Config, generator: torch.Generator) -> None:
    """Fill a network of this architecture with random weights.

    BERT's N(0, 0.02), wav2vec 2.0's for the convolution, and for `deep_norm` those of DeepNet
    (arXiv 2203.00555, table 1); biases are 0, the gains of norms and gates 1.
    """
    width, kernel = config.encoder_embed_dim, config.conv_pos
    taps_std = math.sqrt(4 / (kernel * width))
    gain = (8 * config.encoder_layers) ** -0.25
    gains = dict.fromkeys(("q_proj", "k_proj"), 1.0)
    gains |= dict.fromkeys(("v_proj", "out_proj", "fc1", "fc2"), gain)
    for name, parameter in network.named_parameters():
        owner, _, kind = name.rpartition(".")
        module = owner.rpartition(".")[2]
        if kind == "weight_g":
            nn.init.constant_(parameter, taps_std * width / math.sqrt(config.conv_pos_groups))
        elif kind == "weight_v":
            nn.init.normal_(parameter, std=taps_std, generator=generator)
        elif kind == "grep_a" or parameter.ndim == 1:
            nn.init.constant_(parameter, 0.0 if kind == "bias" else 1.0)
        elif module == "patch_embedding":
            nn.init.kaiming_uniform_(parameter, math.sqrt(5), generator=generator)
        elif config.deep_norm and module in gains:
            nn.init.xavier_normal_(parameter, gains[module], generator=generator)
        else:
            nn.init.normal_(parameter, std=0.02, generator=generator)
