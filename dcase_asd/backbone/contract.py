"""The plugin contract: what a backbone is to the rest of the toolkit.

A plugin is a package with one class derived from `Backbone`, named by an entry point::

    [project.entry-points."dcase_asd.backbones"]
    mine = "my_package:MyBackbone"

`dcase_asd.testing.check_backbone` tells whether the class keeps the contract.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from dcase_asd.errors import BackboneError

TO_EMBED = ("from_checkpoint", "embed")
"""Methods of the contract that nothing can be done without."""
TO_FINE_TUNE = ("spectrogram", "tokens_from_spectrogram", "token_mask")
"""Those that fine-tuning asks for as well."""

CHECKPOINT_FORMAT = "dcase-asd backbone 1"

FINETUNED_FORMAT = "dcase-asd finetuned 1"
"""A fine-tuned backbone with its head; the backbone's own tensors begin with `BACKBONE_PREFIX`."""
BACKBONE_PREFIX = "backbone."

METADATA = "dcase_asd"
"""Name in the metadata of a safetensors file under which ours stands, as JSON."""


class Backbone(nn.Module):
    """A network (or plain signal processing) that turns clips into embeddings.

    A backbone that can be fine-tuned also has `spectrogram`, `tokens_from_spectrogram` and
    `token_mask`: the front end apart from the network, so that spectrograms can be masked.

    Attributes:
        name: The entry point's name.
        dimension: Length of an embedding.
        sample_rate: Rate in Hz that clips must have; None takes clips at their own rate.
        options: The keyword arguments of `from_checkpoint` that made it.
        pooling: What fine-tuning puts its head on unless told otherwise: ``attention`` (attentive
            statistics of all tokens) or ``cls`` (what `cls_from_spectrogram` gives).
        token_dimension: Length of a token of `tokens_from_spectrogram`; None where it is
            `dimension`.
    """

    name: ClassVar[str]
    dimension: int
    sample_rate: int | None
    options: dict[str, Any]
    pooling: ClassVar[Literal["attention", "cls"]] = "attention"
    token_dimension: int | None = None

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

    @classmethod
    def lacks(cls, methods: Iterable[str]) -> list[str]:
        """Which of some methods of the contract this plugin has not written."""
        return [
            name
            for name in methods
            if inspect.getattr_static(cls, name) is inspect.getattr_static(Backbone, name)
        ]

    @classmethod
    def locate(cls, name: Path) -> Path:
        """Where a checkpoint is that is neither a path nor published: a plugin may ask a hub.

        Args:
            name: What the user gave as checkpoint.

        Raises:
            BackboneError: There is none of this name.
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

    def spectrogram(
        self, waveforms: Tensor, lengths: Tensor | None = None, sample_rate: int | None = None
    ) -> Tensor:
        """The normalised output of the front end, without gradient; only for fine-tuning.

        Args:
            waveforms: As in `tokens`.
            lengths: As in `tokens`.
            sample_rate: As in `tokens`.

        Returns:
            Frames of (mel) bins, (b, t, f).

        Raises:
            AudioError: As in `tokens`.
        """
        raise NotImplementedError

    def tokens_from_spectrogram(self, spectrogram: Tensor, lengths: Tensor | None = None) -> Tensor:
        """The tokens of a spectrogram, differentiable; only for fine-tuning.

        Args:
            spectrogram: Of `spectrogram`, perhaps with parts masked, (b, t, f).
            lengths: Samples (not frames) of each clip before padding, (b,); None when none is
                padded.

        Returns:
            Tokens, (b, n, d).
        """
        raise NotImplementedError

    def token_mask(self, lengths: Tensor, samples: int) -> Tensor:
        """Which tokens are of a clip and not of its padding; only for fine-tuning.

        Args:
            lengths: Samples of each clip before padding, (b,).
            samples: Samples of the padded batch.

        Returns:
            True for valid tokens, (b, n), on the device of `lengths`; n as
            `tokens_from_spectrogram` gives for a batch of `samples`.
        """
        raise NotImplementedError

    def frame_mask(self, lengths: Tensor, frames: int, sample_rate: int | None = None) -> Tensor:
        """Which frames of `spectrogram` are of a clip and not of its padding, to be masked.

        By default as many as the clip has alone; a backbone that pads every clip says which.

        Args:
            lengths: Samples of each clip before padding, (b,).
            frames: Frames of the padded batch.
            sample_rate: As in `tokens`.

        Returns:
            True for frames of the clip, (b, frames), on the device of `lengths`.
        """
        counts = torch.empty_like(lengths)
        for length in set(lengths.tolist()):
            silence = torch.zeros(1, length, device=lengths.device)
            alone = self.spectrogram(silence, None, sample_rate).shape[1]
            counts[lengths == length] = alone
        return torch.arange(frames, device=lengths.device) < counts[:, None]

    @property
    def has_cls(self) -> bool:
        """Whether `pooling` names a class token, or `cls_from_spectrogram` is written for one."""
        return self.pooling == "cls" or not self.lacks(["cls_from_spectrogram"])

    def cls_from_spectrogram(self, spectrogram: Tensor, lengths: Tensor | None = None) -> Tensor:
        """The class token (or several, concatenated), differentiable; only for fine-tuning.

        By default the first token, which is one where `has_cls`.

        Args:
            spectrogram: As in `tokens_from_spectrogram`.
            lengths: As in `tokens_from_spectrogram`.

        Returns:
            One vector for each clip, (b, dimension).
        """
        return self.tokens_from_spectrogram(spectrogram, lengths)[:, 0]

    def save(self, path: str | Path) -> None:
        """Write weights, buffers and options as one safetensors file for `from_checkpoint`."""
        tensors = {name: value.contiguous() for name, value in self.state_dict().items()}
        # safetensors refuses an empty file, and a backbone may have no weights at all.
        tensors = tensors or {"no_weights": torch.zeros(1)}
        metadata = {
            "format": CHECKPOINT_FORMAT,
            "plugin": self.name,
            "options": json.dumps(self.options, sort_keys=True),
        }
        write_tensors(path, tensors, metadata)


def read_checkpoint(path: str | Path, plugin: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `Backbone.save` wrote, or the backbone inside a fine-tuned checkpoint.

    No code in the file is ever executed.

    Returns:
        The tensors by name, and the options.

    Raises:
        BackboneError: The file is missing, damaged, of another format or of another plugin.
    """
    tensors, metadata = read_tensors(path)
    if metadata.get("format") not in (CHECKPOINT_FORMAT, FINETUNED_FORMAT):
        raise BackboneError(
            f"{path}: not a checkpoint that dcase-asd saved, and safetensors of other programs do "
            "not say which network they are of; give the file or folder as its authors publish it"
        )
    if metadata.get("plugin") != plugin:
        raise BackboneError(
            f"{path}: a checkpoint of the backbone {metadata.get('plugin')!r}, not of {plugin!r}; "
            f"use --plugin {metadata.get('plugin')}"
        )
    if metadata["format"] == FINETUNED_FORMAT:
        tensors = {
            name.removeprefix(BACKBONE_PREFIX): value
            for name, value in tensors.items()
            if name.startswith(BACKBONE_PREFIX)
        }
    tensors.pop("no_weights", None)
    return tensors, dict(json.loads(metadata["options"]))


def read_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read all of a safetensors file: tensors by name, and metadata.

    Raises:
        BackboneError: The file is missing or damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = _metadata(file.metadata())
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        reason = in_place_of_weights(path) or f"not a readable checkpoint ({error})"
        raise BackboneError(f"{path}: {reason}") from error
    return tensors, metadata


def write_tensors(
    path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]
) -> None:
    """Write a safetensors file for `read_tensors`; the same content gives the same bytes."""
    # All under one name, because several would stand in the file in a random order.
    about = json.dumps(metadata, sort_keys=True, ensure_ascii=False)
    save_file(dict(tensors), path, {METADATA: about})


def broken_weight(model: nn.Module) -> str | None:
    """The name of the first weight that is not finite, or statistic that is no number."""
    for name, value in model.named_parameters():
        if not torch.isfinite(value).all():
            return name
    # Other constants, such as masks, may well be infinite.
    return next((name for name, value in model.named_buffers() if torch.isnan(value).any()), None)


def is_finetuned(path: str | Path) -> bool:
    """Whether a path is a fine-tuned checkpoint of this toolkit; anything else is not."""
    try:
        with safe_open(path, framework="pt") as file:
            return _metadata(file.metadata()).get("format") == FINETUNED_FORMAT
    except (OSError, SafetensorError):
        return False


def in_place_of_weights(path: str | Path) -> str:
    """What was saved instead of a checkpoint, with the way out; empty where that cannot be told.

    Downloads leave the page of an error or a login, `git clone` without LFS leaves pointers.
    """
    try:
        with Path(path).open("rb") as file:
            head = file.read(1024).removeprefix(b"\xef\xbb\xbf").strip()
    except OSError:
        return ""
    if head.startswith(b"version https://git-lfs"):
        size = re.search(rb"\nsize (\d+)", head)
        of = f" to a file of {int(size[1])} bytes" if size else ""
        return (
            f"a Git LFS pointer of {Path(path).stat().st_size} bytes{of}: fetch the real file with "
            "`git lfs pull`"
        )
    if head.startswith(b"<"):
        return "a web page (HTML), not weights; download the file itself"
    text = " ".join(head.decode("ascii", "replace").split())
    if head.isascii() and text.isprintable() and not text.startswith(("{", "[")) and text:
        return f"text, not weights ({text[:60]!r}); download the file itself"
    return ""


def _metadata(found: dict[str, str] | None) -> dict[str, str]:
    """What `write_tensors` was given; nothing for a file of others."""
    return dict(json.loads((found or {}).get(METADATA, "{}")))
