"""The plugin contract: what a backbone is to the rest of the toolkit.

A plugin is a package with one class derived from `Backbone`, named by an entry point::

    [project.entry-points."dcase_asd.backbones"]
    mine = "my_package:MyBackbone"

`dcase_asd.testing.check_backbone` tells whether the class keeps the contract, ``docs/plugins.md``
what to write and what follows from it.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, get_args

import torch
from torch import Tensor, nn

from dcase_asd.backbone.pooling import joined_grids, masked_mean
from dcase_asd.backbone.saved import CHECKPOINT_FORMAT, read_checkpoint, write_tensors
from dcase_asd.errors import AudioError, BackboneError, nearest_name

TO_EMBED = ("embed",)
"""Methods of the contract that nothing can be done without."""
TO_FINE_TUNE = ("spectrogram", "tokens_from_spectrogram", "token_mask")
"""Those that fine-tuning asks for as well."""
NAMELESS = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
MADE_OF = {"embed": ("tokens",), "tokens": ("spectrogram", "tokens_from_spectrogram")}
"""Methods that a plugin has without writing them where it writes these."""


class Backbone(nn.Module):
    """A network (or plain signal processing) that turns clips into embeddings.

    A plugin writes `embed`, or `tokens` to be averaged; or `spectrogram` and
    `tokens_from_spectrogram`, of which both are made. With `token_mask` beside these it can be
    fine-tuned: the front end is apart from the network, so that spectrograms can be masked.

    Attributes:
        name: The entry point's name.
        dimension: Length of an embedding.
        sample_rate: Rate in Hz that clips must have; None takes clips at their own rate.
        options: The keyword arguments of `from_checkpoint` that made it.
        pooling: What fine-tuning puts its head on unless told otherwise: ``attention`` (attentive
            statistics of all tokens) or ``cls`` (what `cls_from_spectrogram` gives).
        token_dimension: Length of a token of `tokens_from_spectrogram`; None where it is
            `dimension`.
        token_bands: Frequency bands of a moment that follow each other in the tokens, for
            `token_grid`.
        scoring: How its embeddings are best scored where it is not fine-tuned: values of `[score]`
            of a recipe, which are written into the recipe of a run that says nothing else.
        passes_options: Whether the class takes the ``**options`` of its `from_checkpoint`, which
            are then checked by name; others may take any.
    """

    name: ClassVar[str]
    dimension: int
    sample_rate: int | None
    options: dict[str, Any]
    pooling: ClassVar[Literal["attention", "cls"]] = "attention"
    token_dimension: int | None = None
    token_bands: int = 1
    passes_options: ClassVar[bool] = False
    scoring: ClassVar[dict[str, Any]] = {}

    @classmethod
    def from_checkpoint(cls, path: Path | None = None, *args: Any, **options: Any) -> Self:
        """Make a backbone from a checkpoint, as published or as `save` writes it.

        By default one that `save` wrote; without any, what the class itself makes of the options.

        Args:
            path: The file or folder; None takes the plugin's published default weights.
            args: None; here so that a plugin may name its options instead of ``**options``.
            options: What changes the representation (each a recipe value of the plugin).

        Raises:
            BackboneError: The file does not fit this backbone.
        """
        if path is None:
            return cls(*args, **options)
        tensors, saved = read_checkpoint(path, cls.name)
        backbone = cls(*args, **(saved | options))
        fill(backbone, tensors, f"{path}: its content")
        return backbone

    @classmethod
    def option_names(cls) -> list[str] | None:
        """The options that `from_checkpoint` takes; None for any."""
        taken = [*inspect.signature(cls.from_checkpoint).parameters.values()]
        if cls.passes_options or cls.lacks(["from_checkpoint"]):
            taken += inspect.signature(cls).parameters.values()
        elif any(each.kind is each.VAR_KEYWORD for each in taken):
            return None
        return [each.name for each in taken if each.kind not in NAMELESS and each.name != "path"]

    @classmethod
    def lacks(cls, methods: Iterable[str]) -> list[str]:
        """Which of some methods this plugin has neither written nor made of others (`MADE_OF`)."""
        return [
            name
            for name in methods
            if inspect.getattr_static(cls, name) is inspect.getattr_static(Backbone, name)
            and (name not in MADE_OF or cls.lacks(MADE_OF[name]))
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

    def check_rate(self, sample_rate: int | None) -> int:
        """The rate in Hz of waveforms: the one given, else the backbone's own.

        Raises:
            AudioError: The backbone takes another; or none is given and it takes every rate.
        """
        if sample_rate is None and self.sample_rate is None:
            raise AudioError("this backbone takes any rate, so the rate of the clips must be given")
        if None not in (sample_rate, self.sample_rate) and sample_rate != self.sample_rate:
            raise AudioError(
                f"clips of {sample_rate} Hz, but this backbone takes {self.sample_rate} Hz"
            )
        return int(sample_rate or self.sample_rate or 0)

    def tokens(
        self, waveforms: Tensor, lengths: Tensor | None = None, sample_rate: int | None = None
    ) -> Tensor:
        """The sequence that an embedding is pooled from: by default that of the spectrogram.

        Args:
            waveforms: Samples in [-1, 1], (b, n), float32.
            lengths: Samples of each clip before padding, (b,); None when none is padded.
            sample_rate: Rate of the waveforms in Hz; None means the backbone's own.

        Returns:
            Tokens, (b, t, d).

        Raises:
            AudioError: The clips are too short, or of a rate that the backbone cannot take.
        """
        spectrogram = self.spectrogram(waveforms, lengths, sample_rate)
        return self.tokens_from_spectrogram(spectrogram, lengths)

    def embed(
        self, waveforms: Tensor, lengths: Tensor | None = None, sample_rate: int | None = None
    ) -> Tensor:
        """The representation that is scored, (b, dimension); padding never changes it.

        By default the mean over the tokens of a clip, in float32. Without `token_mask` each clip
        of a padded batch is computed alone. Arguments and errors are those of `tokens`.
        """
        if lengths is not None and self.lacks(["token_mask"]):
            if int(lengths.min()) == waveforms.shape[1]:
                return self.embed(waveforms, None, sample_rate)
            clips = zip(waveforms, lengths.tolist(), strict=True)
            return torch.cat([self.embed(clip[None, :n], None, sample_rate) for clip, n in clips])
        tokens = self.tokens(waveforms, lengths, sample_rate).float()
        mask = None if lengths is None else self.token_mask(lengths, waveforms.shape[1])
        return masked_mean(tokens, mask)

    def token_grid(
        self, waveforms: Tensor, lengths: Tensor | None = None, sample_rate: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """The tokens by time and frequency, to be pooled over time (see `time_pooling`).

        By default `tokens`, each moment's `token_bands` after one another. Arguments and errors are
        those of `tokens`.

        Returns:
            Tokens, (b, t, f, d), without class tokens; and which times are of a clip and not of
            padding, (b, t), at least one of each clip.

        Raises:
            BackboneError: There are no tokens.
        """
        if self.lacks(["tokens"]):
            raise BackboneError(
                f"the backbone {self.name!r} has no tokens to pool; leave --pooling out"
            )
        if lengths is not None and self.lacks(["token_mask"]):
            clips = zip(waveforms, lengths.tolist(), strict=True)
            return joined_grids(
                [self.token_grid(clip[None, :n], None, sample_rate) for clip, n in clips]
            )
        tokens = self.tokens(waveforms, lengths, sample_rate)
        grid = tokens.reshape(len(tokens), -1, self.token_bands, tokens.shape[2])
        if lengths is None:
            return grid, torch.ones(grid.shape[:2], dtype=torch.bool, device=grid.device)
        mask = self.token_mask(lengths, waveforms.shape[1])
        return grid, mask[:, :: self.token_bands].to(grid.device)

    def spectrogram(
        self, waveforms: Tensor, lengths: Tensor | None = None, sample_rate: int | None = None
    ) -> Tensor:
        """What the front end gives, normalized frames of (mel) bins, (b, t, f), without gradient.

        Arguments and errors are those of `tokens`.
        """
        raise NotImplementedError

    def tokens_from_spectrogram(self, spectrogram: Tensor, lengths: Tensor | None = None) -> Tensor:
        """The tokens of a spectrogram, differentiable.

        Args:
            spectrogram: Of `spectrogram`, perhaps with parts masked, (b, t, f).
            lengths: Samples (not frames) of each clip before padding, (b,); None when none is
                padded.

        Returns:
            Tokens, (b, n, d).
        """
        raise NotImplementedError

    def token_mask(self, lengths: Tensor, samples: int) -> Tensor:
        """Which tokens are of a clip and not of its padding.

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
        """The class token (or several, concatenated), (b, dimension), differentiable.

        By default the first token, which is one where `has_cls`. Arguments are those of
        `tokens_from_spectrogram`.
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


def given_options(**options: Any) -> dict[str, Any]:
    """Those options of a `from_checkpoint` that are not None, to be put over the saved ones."""
    return {name: value for name, value in options.items() if value is not None}


def check_choice(option: str, value: Any, literal: Any) -> None:
    """Refuse a value that is none of a `Literal` type's.

    Raises:
        BackboneError: It is not; the message says the nearest, or all.
    """
    choices = get_args(literal)
    if value not in choices:
        raise BackboneError(f"no {option} is called {value!r}; {nearest_name(value, choices)}")


def fill(network: nn.Module, tensors: Mapping[str, Tensor], what: str) -> None:
    """Put tensors into a network, all of them and nothing else.

    Args:
        network: Whose parameters and buffers they are.
        tensors: By name.
        what: What does not fit, for the message.

    Raises:
        BackboneError: One is missing, unknown or of another shape.
    """
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise BackboneError(f"{what} does not fit ({' '.join(str(error).split())})") from error


def broken_weight(model: nn.Module) -> str | None:
    """The name of the first weight that is not finite, or statistic that is no number."""
    for name, value in model.named_parameters():
        if not torch.isfinite(value).all():
            return name
    # Other constants, such as masks, may well be infinite.
    return next((name for name, value in model.named_buffers() if torch.isnan(value).any()), None)
