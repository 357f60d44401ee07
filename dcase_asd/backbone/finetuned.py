"""A fine-tuned backbone: any plugin's network with the head that was trained on it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, get_args

import torch
from torch import Tensor, nn

from dcase_asd.backbone.contract import TO_FINE_TUNE, Backbone, fill
from dcase_asd.backbone.pooling import (
    AttentiveStatistics,
    MeanPooling,
    grid_in_windows,
    windows,
)
from dcase_asd.backbone.saved import (
    FINETUNED_FORMAT,
    is_finetuned,
    read_tensors,
    write_tensors,
)
from dcase_asd.errors import BackboneError

HEAD_PREFIX = "head."
Embedded = Literal["dense", "pooled", "cls"]


@dataclass(frozen=True)
class HeadSizes:
    """What a head is made of; it travels in the checkpoint.

    Attributes:
        pooling: How tokens become one vector; ``cls`` takes the backbone's class token.
        embedding: Length of the dense layer's output, the embedding that is scored.
        bottleneck: Units of the attention.
        seconds: Length of the windows that a longer clip is cut into.
        kind: ``dense``, one layer; ``aggregate``, layer normalization, a dense layer of the
            embedding's length, GELU and another.
    """

    pooling: Literal["attention", "mean", "cls"] = "attention"
    embedding: int = 768
    bottleneck: int = 128
    seconds: float = 10.0
    kind: Literal["dense", "aggregate"] = "dense"


class Head(nn.Module):
    """Pooling, then a dense layer (report, section 2.1: the first of its two).

    With several layers of the backbone side by side (its options ``layers`` and ``merge =
    "concat"``) the kind ``aggregate`` weighs what the layers say.

    Args:
        backbone: What the head is put on; only its sizes are used.
        sizes: Of the head.
    """

    def __init__(self, backbone: Backbone, sizes: HeadSizes) -> None:
        super().__init__()
        token = backbone.token_dimension or backbone.dimension
        self.pool: AttentiveStatistics | MeanPooling | None = None
        if sizes.pooling == "attention":
            self.pool = AttentiveStatistics(token, sizes.bottleneck)
        elif sizes.pooling == "mean":
            self.pool = MeanPooling(token)
        pooled = backbone.dimension if self.pool is None else self.pool.dimension
        self.dimension = pooled
        self.dense: nn.Module = nn.Linear(pooled, sizes.embedding)
        if sizes.kind == "aggregate":
            hidden = nn.Linear(pooled, sizes.embedding), nn.GELU()
            self.dense = nn.Sequential(
                nn.LayerNorm(pooled), *hidden, nn.Linear(sizes.embedding, sizes.embedding)
            )


class Finetuned(Backbone):
    """A backbone and its head; a clip longer than the training crops is embedded in windows.

    Args:
        backbone: A backbone that can be fine-tuned.
        sizes: Of the head, whose weights are random.
        embedding: ``dense``; ``pooled`` for what goes into the dense layer; ``cls`` for the
            backbone's class token, whatever the pooling (report, section 2.2).

    Raises:
        BackboneError: The backbone cannot be fine-tuned, or has no class token to embed.
        ValueError: There is no such embedding.
    """

    name: ClassVar[str] = "finetuned"

    def __init__(self, backbone: Backbone, sizes: HeadSizes, embedding: Embedded = "dense") -> None:
        super().__init__()
        if missing := backbone.lacks(TO_FINE_TUNE):
            raise BackboneError(
                f"the backbone {backbone.name!r} cannot be fine-tuned (it has no "
                f"{' and no '.join(missing)}); choose another --plugin"
            )
        if embedding not in get_args(Embedded):
            raise ValueError(f"embedding must be dense, pooled or cls, not {embedding!r}")
        if embedding == "cls" and not backbone.has_cls:
            raise BackboneError(no_class_token(backbone, "--representation dense or pooled"))
        self.backbone = backbone
        self.head = Head(backbone, sizes)
        self.sizes = sizes
        self.embedding = embedding
        self.sample_rate = backbone.sample_rate
        self.dimension = {
            "dense": sizes.embedding, "pooled": self.head.dimension, "cls": backbone.dimension
        }[embedding]  # fmt: skip
        self.options = {**backbone.options, "embedding": embedding}

    @classmethod
    def from_checkpoint(
        cls,
        path: str | Path | None = None,
        kind: type[Backbone] = Backbone,
        embedding: Embedded = "dense",
        **options: Any,
    ) -> Self:
        """Open what fine-tuning saved.

        Args:
            path: The checkpoint.
            kind: Class of the plugin that was fine-tuned.
            embedding: As of the class.
            options: Options of the plugin that override those of the checkpoint.

        Raises:
            BackboneError: It is no fine-tuned checkpoint, of another plugin, or does not fit.
        """
        if path is None or not is_finetuned(path):
            raise BackboneError(f"{path}: not a checkpoint that fine-tuning saved")
        backbone = kind.from_checkpoint(Path(path), **options)
        tensors, metadata = read_tensors(path)
        made = cls(backbone, HeadSizes(**json.loads(metadata["head"])), embedding)
        head = {
            name.removeprefix(HEAD_PREFIX): value
            for name, value in tensors.items()
            if name.startswith(HEAD_PREFIX)
        }
        fill(made.head, head, f"{path}: the head")
        return made

    def tokens(
        self, waveforms: Tensor, lengths: Tensor | None = None, sample_rate: int | None = None
    ) -> Tensor:
        """The backbone's tokens."""
        return self.backbone.tokens(waveforms, lengths, sample_rate)

    def token_grid(
        self, waveforms: Tensor, lengths: Tensor | None = None, sample_rate: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """The backbone's tokens before the head; of a longer clip those of the windows of `embed`.

        As the best published systems of 2026 pool them.
        """
        lengths, window = self._window(waveforms, lengths, sample_rate)
        return grid_in_windows(
            lambda cut, sizes: self.backbone.token_grid(cut, sizes, sample_rate),
            waveforms, lengths, window,
        )  # fmt: skip

    def _window(
        self, waveforms: Tensor, lengths: Tensor | None, sample_rate: int | None
    ) -> tuple[Tensor, int]:
        """Samples of each clip, (b,), and of a window of the training length."""
        rate = sample_rate or self.sample_rate
        window = waveforms.shape[1] if rate is None else round(self.sizes.seconds * rate)
        if lengths is None:
            lengths = torch.full((len(waveforms),), waveforms.shape[1], device=waveforms.device)
        return lengths, window

    def embed(
        self, waveforms: Tensor, lengths: Tensor | None = None, sample_rate: int | None = None
    ) -> Tensor:
        """Mean over the embeddings of windows of the training length, (b, dimension).

        The fewest windows that cover a clip, evenly spaced from its start to its end: all are of
        full length, so that every embedding is made as in training.
        """
        lengths, window = self._window(waveforms, lengths, sample_rate)
        if int(lengths.max()) <= window:
            return self._embed_window(waveforms, lengths, sample_rate)
        parts = [
            (row, first, last)
            for row, length in enumerate(lengths.tolist())
            for first, last in windows(length, window)
        ]
        owners = [row for row, _, _ in parts]
        sums = waveforms.new_zeros(len(waveforms), self.dimension)
        for start in range(0, len(parts), len(waveforms)):
            chosen = parts[start : start + len(waveforms)]
            rows = torch.tensor(owners[start : start + len(waveforms)], device=waveforms.device)
            cut = nn.utils.rnn.pad_sequence(
                [waveforms[row, first:last] for row, first, last in chosen], batch_first=True
            )
            sizes = torch.tensor([last - first for _, first, last in chosen], device=cut.device)
            sums.index_add_(0, rows, self._embed_window(cut, sizes, sample_rate).to(sums.dtype))
        counts = torch.bincount(torch.tensor(owners, device=sums.device), minlength=len(sums))
        return sums / counts[:, None]

    def _embed_window(self, waveforms: Tensor, lengths: Tensor, sample_rate: int | None) -> Tensor:
        spectrogram = self.backbone.spectrogram(waveforms, lengths, sample_rate)
        if self.embedding == "cls":
            return self.backbone.cls_from_spectrogram(spectrogram, lengths).float()
        pooled = self.pooled(spectrogram, lengths, waveforms.shape[1])
        return self.head.dense(pooled) if self.embedding == "dense" else pooled

    def pooled(self, spectrogram: Tensor, lengths: Tensor, samples: int) -> Tensor:
        """What goes into the dense layer, in float32.

        Args:
            spectrogram: Of the backbone's `spectrogram`, (b, t, f).
            lengths: Samples of each clip before padding, (b,).
            samples: Samples of the padded batch.
        """
        if self.head.pool is None:
            return self.backbone.cls_from_spectrogram(spectrogram, lengths).float()
        tokens = self.backbone.tokens_from_spectrogram(spectrogram, lengths).float()
        mask = self.backbone.token_mask(lengths, samples)
        with torch.autocast(tokens.device.type, enabled=False):
            pooled: Tensor = self.head.pool(tokens, mask)
        return pooled

    def save(self, path: str | Path) -> None:
        """Write backbone and head for `from_checkpoint`, without anything about training."""
        write_finetuned(path, self.state_dict(), self, {})


def no_class_token(backbone: Backbone, others: str) -> str:
    """What to say where a class token is asked for, and what to choose instead."""
    return (
        f"the backbone {backbone.name!r} has no class token (cls); choose {others}, or where there "
        "is one the plugin's option that gives it"
    )


def write_finetuned(
    path: str | Path, tensors: Mapping[str, Tensor], model: Finetuned, about: Mapping[str, str]
) -> None:
    """Write a fine-tuned checkpoint.

    Args:
        path: The safetensors file.
        tensors: Of the backbone and head by name (and others, which opening it ignores).
        model: What they belong to.
        about: More metadata: the classes, the recipe.
    """
    metadata = {
        "format": FINETUNED_FORMAT,
        "plugin": model.backbone.name,
        "options": json.dumps(model.backbone.options, sort_keys=True),
        "head": json.dumps(asdict(model.sizes), sort_keys=True),
        **about,
    }
    # Copies, because safetensors refuses tensors that share memory, as tied weights do.
    copies = {name: value.detach().cpu().clone() for name, value in tensors.items()}
    write_tensors(path, copies, metadata)
