"""The encoder of a model, and what it gives: tokens of each layer, and what the model pools."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from dcase_asd.backbone.dense import exchange_linear_layers

CLASS_TOKEN = "cls_token"  # noqa: S105 - a tensor's name
CONVOLUTIONS = "feature_extractor"
"""Name of the part of a model that takes samples and goes over them in frames."""
UNUSED = "masked_spec_embed"
"""What wav2vec 2.0 and its kin put in place of what they mask themselves when trained."""
AST = "audio-spectrogram-transformer"
AST_TOKENS = 2
"""Tokens of AST before its patches: class and distillation."""
CUT_FLAG = "is_longer"
"""An input by which a model is told that its features are of a cut clip; here none ever is."""


class Output(NamedTuple):
    """What an encoder gives.

    Attributes:
        layers: Tokens of the chosen layers, (b, n, d) each.
        pooled: The model's own pooled output, (b, d); None where it has none.
    """

    layers: list[Tensor]
    pooled: Tensor | None


class Network(nn.Module):
    """An audio encoder, called the same way whatever the model.

    Args:
        encoder: The model, or its part that takes sound.
        raw: Whether it takes samples. What it makes of them by convolutions stays as it is when
            fine-tuned, as is usual; with other models everything is trained.
    """

    def __init__(self, encoder: PreTrainedModel, *, raw: bool) -> None:
        super().__init__()
        self.encoder = encoder
        exchange_linear_layers(encoder)
        # Kernels and strides of the convolutions that samples go through.
        self.shape = _convolution_shape(encoder) if raw else []
        if self.shape:
            convolutions = _Skippable(encoder.get_submodule(CONVOLUTIONS))
            encoder.register_module(CONVOLUTIONS, convolutions.requires_grad_(False))
        for name, parameter in self.named_parameters():
            if name.endswith(UNUSED):
                parameter.requires_grad_(False)
        accepted = inspect.signature(encoder.forward).parameters
        # Some average over so many features before their layers.
        self.fewest = int(getattr(encoder.config, "squeeze_factor", 1))
        self._takes_mask = "attention_mask" in accepted
        self._takes_flag = CUT_FLAG in accepted
        self.has_patches = encoder.config.model_type == AST
        self.has_class_token = any(
            name.rpartition(".")[2] == CLASS_TOKEN for name, _ in encoder.named_parameters()
        )

    @torch.no_grad()
    def features(self, samples: Tensor) -> Tensor:
        """What the convolutions make of samples, (b, n) -> (b, t, c), for `forward`; if `shape`."""
        extracted: Tensor = self.encoder.get_submodule(CONVOLUTIONS)(samples)
        return extracted.transpose(1, 2)

    def feature_count(self, samples: int) -> int:
        """Features of a clip of so many samples."""
        for kernel, stride in self.shape:
            samples = (samples - kernel) // stride + 1
        return max(samples, 0)

    def shortest(self) -> int:
        """Samples that the convolutions need for the fewest features; 1 without any."""
        samples = self.fewest if self.shape else 1
        for kernel, stride in reversed(self.shape):
            samples = (samples - 1) * stride + kernel
        return samples

    def forward(
        self, inputs: Tensor, mask: Tensor | None = None, layers: Sequence[int] = ()
    ) -> Output:
        """Encode clips.

        Args:
            inputs: As the model takes them, or of `features`.
            mask: Which frames are no padding, (b, t); None for all.
            layers: Layers whose outputs are wanted, from 1; nothing for that of the last, as the
                model normalizes it.

        Raises:
            IndexError: There is no such layer.
        """
        found = self._run(inputs, mask, hidden=bool(layers))
        last = found.last_hidden_state
        outputs = [last]
        if layers:
            states = found.hidden_states
            count = len(states) - 1  # the first is what goes into the first layer
            outputs = [last if layer == count else states[layer] for layer in layers]
        pooled = getattr(found, "pooler_output", None)
        return Output([_tokens(each) for each in outputs], pooled)

    def patch_grid(self, tokens: Tensor) -> Tensor:
        """AST's tokens, (b, n, d), without its first two, as (b, t, f, d).

        Its convolution goes over (frequency, time), so that time runs fastest.
        """
        config = self.encoder.config
        bands = (config.num_mel_bins - config.patch_size) // config.frequency_stride + 1
        patches = tokens[:, AST_TOKENS:]
        return patches.reshape(len(patches), bands, -1, patches.shape[2]).transpose(1, 2)

    def patch_columns(self, frames: Tensor) -> Tensor:
        """AST's patches in time that lie within so many frames, (b,) -> (b,); at least one."""
        patch, stride = self.encoder.config.patch_size, self.encoder.config.time_stride
        columns: Tensor = (frames - patch) // stride + 1
        return columns.clamp(min=1)

    def layer_count(self, inputs: Tensor) -> int:
        """How many layers' outputs there are."""
        states = self._run(inputs, None, hidden=True).hidden_states
        return 0 if states is None else len(states) - 1

    def _run(self, inputs: Tensor, mask: Tensor | None, *, hidden: bool) -> Any:
        given: dict[str, Any] = {self.encoder.main_input_name: inputs}
        if mask is not None and self._takes_mask and not bool(mask.all()):
            given["attention_mask"] = mask.long().to(inputs.device)
        if self._takes_flag:
            given[CUT_FLAG] = torch.zeros(len(inputs), 1, dtype=torch.bool, device=inputs.device)
        return self.encoder(**given, output_hidden_states=hidden, return_dict=True)


class _Skippable(nn.Module):
    """Convolutions that pass by what they made before: (b, t, c) in, (b, c, t) out."""

    def __init__(self, convolutions: nn.Module) -> None:
        super().__init__()
        self.convolutions = convolutions

    def forward(self, samples: Tensor) -> Tensor:
        """Samples (b, n), or features (b, t, c), -> features (b, c, t)."""
        if samples.ndim == 3:  # noqa: PLR2004
            return samples.transpose(1, 2)
        extracted: Tensor = self.convolutions(samples)
        return extracted


def _convolution_shape(encoder: PreTrainedModel) -> list[tuple[int, int]]:
    """Kernels and strides of the convolutions that samples go through; none if not known."""
    if not isinstance(getattr(encoder, CONVOLUTIONS, None), nn.Module):
        return []
    kernels = getattr(encoder.config, "conv_kernel", ())
    return list(zip(kernels, getattr(encoder.config, "conv_stride", ()), strict=True))


def _tokens(states: Tensor) -> Tensor:
    """Hidden states as (b, n, d); those of a grid, (b, d, h, w), row by row."""
    return states.flatten(2).transpose(1, 2) if states.ndim == 4 else states  # noqa: PLR2004
