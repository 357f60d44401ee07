"""The plugin contract: what a backbone is to the rest of the toolkit.

A plugin is a package with one class derived from `Backbone`, named by an entry point::

    [project.entry-points."dcase_asd.backbones"]
    mine = "my_package:MyBackbone"

`dcase_asd.testing.check_backbone` tells whether the class keeps the contract.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from dcase_asd.errors import BackboneError

CHECKPOINT_FORMAT = "dcase-asd backbone 1"


class Backbone(nn.Module):
    """A network (or plain signal processing) that turns clips into embeddings.

    Attributes:
        name: The entry point's name.
        dimension: Length of an embedding.
        sample_rate: Rate in Hz that clips must have; None takes clips at their own rate.
        options: The keyword arguments of `from_checkpoint` that made it.
    """

    name: ClassVar[str]
    dimension: int
    sample_rate: int | None
    options: dict[str, Any]

    @classmethod
    def from_checkpoint(cls, path: Path | None = None, *args: Any, **options: Any) -> Self:
        """Make a backbone from a checkpoint, as published or as `save` writes it.

        Args:
            path: The file or folder; None takes the plugin's published default weights.
            args: None; here so that a plugin may name its options instead of ``**options``.
            options: What changes the representation (each a recipe value of the plugin).

        Raises:
            BackboneError: The file does not fit this backbone.
        """
        raise NotImplementedError

    def tokens(
        self, waveforms: Tensor, lengths: Tensor | None = None, sample_rate: int | None = None
    ) -> Tensor:
        """The sequence that an embedding is pooled from.

        Args:
            waveforms: Samples in [-1, 1], (b, n), float32.
            lengths: Samples of each clip before padding, (b,); None when none is padded.
            sample_rate: Rate of the waveforms in Hz; None means the backbone's own.

        Returns:
            Tokens, (b, t, d).

        Raises:
            AudioError: The clips are too short, or of a rate that the backbone cannot take.
        """
        raise NotImplementedError

    def embed(
        self, waveforms: Tensor, lengths: Tensor | None = None, sample_rate: int | None = None
    ) -> Tensor:
        """The representation that is scored; padding never changes it.

        Args:
            waveforms: As in `tokens`.
            lengths: As in `tokens`.
            sample_rate: As in `tokens`.

        Returns:
            Embeddings, (b, dimension).

        Raises:
            AudioError: As in `tokens`.
        """
        raise NotImplementedError

    def save(self, path: Path) -> None:
        """Write weights, buffers and options as one safetensors file for `from_checkpoint`."""
        tensors = {name: value.contiguous() for name, value in self.state_dict().items()}
        # safetensors refuses an empty file, and a backbone may have no weights at all.
        tensors = tensors or {"no_weights": torch.zeros(1)}
        metadata = {
            "format": CHECKPOINT_FORMAT,
            "plugin": self.name,
            "options": json.dumps(self.options, sort_keys=True),
        }
        save_file(tensors, path, metadata)


def read_checkpoint(path: Path, plugin: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `Backbone.save` wrote; no code in the file is ever executed.

    Returns:
        The tensors by name, and the options.

    Raises:
        BackboneError: The file is missing, damaged, of another format or of another plugin.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise BackboneError(f"{path}: not a readable checkpoint ({error})") from error
    if metadata.get("format") != CHECKPOINT_FORMAT:
        raise BackboneError(f"{path}: not a checkpoint that dcase-asd saved")
    if metadata.get("plugin") != plugin:
        raise BackboneError(
            f"{path}: a checkpoint of the backbone {metadata.get('plugin')!r}, not of {plugin!r}; "
            f"use --plugin {metadata.get('plugin')}"
        )
    tensors.pop("no_weights", None)
    return tensors, dict(json.loads(metadata["options"]))
