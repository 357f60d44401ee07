"""The vision transformer of the EAT family: normalized after each residual, with a [CLS] token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from dcase_asd.backbone.contract import check_choice
from dcase_asd.backbone.dense import Linear
from dcase_asd.errors import BackboneError, nearest_name

PATCH = 16
"""Side of a patch: frames, and bins."""
CPU_BLOCK_VALUES = 2 * 2**20
"""Values (8 MiB) of a feed-forward layer that are computed at once on a CPU without gradient: they
stay in the cache and in memory that is mapped already, where larger ones are mapped anew."""
INITIAL_DEVIATION = 0.02
"""Standard deviation of random weights (BERT's and data2vec's choice)."""


@dataclass(frozen=True)
class TransformerSize:
    """Sizes of a transformer.

    Attributes:
        embed_dim: Dimension of a token; a multiple of `num_heads` and of 4.
        depth: Number of blocks.
        num_heads: Attention heads of each block.
        mlp_ratio: Hidden units of the feed-forward layers, as a multiple of `embed_dim`.
        norm_eps: What keeps the layer norms from dividing by zero.

    Raises:
        ValueError: A size is out of range.
    """

    embed_dim: int
    depth: int
    num_heads: int
    mlp_ratio: float = 4.0
    norm_eps: float = 1e-6

    def __post_init__(self) -> None:
        for name in ("embed_dim", "depth", "num_heads"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a whole number of at least 1, not {value!r}")
        for name in ("mlp_ratio", "norm_eps"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not value > 0:
                raise ValueError(f"{name} must be a number above 0, not {value!r}")
        if self.embed_dim % self.num_heads or self.embed_dim % 4:
            raise ValueError(
                f"embed_dim must be a multiple of 4 and of num_heads: {self.embed_dim} is not, "
                f"with {self.num_heads} heads"
            )

    def cut(self, layers: Sequence[int]) -> Self:
        """The sizes without the blocks above the highest of some layers, from 1; none leaves all.

        Raises:
            BackboneError: There is no such layer.
        """
        for layer in layers:
            if not 1 <= layer <= self.depth:
                raise BackboneError(f"there is no layer {layer}; choose from 1 to {self.depth}")
        return replace(self, depth=max(layers, default=self.depth))

    @classmethod
    def changed(cls, sizes: Mapping[str, Any]) -> Self:
        """The default sizes with some of them changed, as a user gives them.

        Raises:
            BackboneError: A size does not exist or is out of range.
        """
        names = [field.name for field in fields(cls)]
        for name in sizes:
            if name not in names:
                hint = nearest_name(name, names)
                raise BackboneError(f"the architecture has no {name!r}; {hint}")
        try:
            return cls(**sizes)
        except ValueError as error:
            raise BackboneError(f"the network cannot be built: {error}") from error


Merge = Literal["mean", "concat"]
"""What becomes of the outputs of several layers."""


class Attention(nn.Module):
    """Multi-head self-attention with one projection for queries, keys and values."""

    def __init__(self, size: TransformerSize) -> None:
        super().__init__()
        self.num_heads = size.num_heads
        self.qkv = Linear(size.embed_dim, 3 * size.embed_dim)
        self.proj = Linear(size.embed_dim, size.embed_dim)

    def forward(self, x: Tensor, mask: Tensor | None, cls_only: bool) -> Tensor:
        """Tokens (b, n, d) -> (b, n, d), or (b, 1, d) for the query of [CLS] alone."""
        batch, count, _ = x.shape
        heads = self.qkv(x).view(batch, count, 3, self.num_heads, -1)
        query, key, value = heads.permute(2, 0, 3, 1, 4).unbind()
        if cls_only:
            query = query[:, :, :1]
        attended = scaled_dot_product_attention(query, key, value, mask)
        projected: Tensor = self.proj(attended.transpose(1, 2).flatten(2))
        return projected


class FeedForward(nn.Module):
    """Two dense layers with the exact (erf) GELU between them."""

    def __init__(self, size: TransformerSize) -> None:
        super().__init__()
        hidden = int(size.embed_dim * size.mlp_ratio)
        self.fc1 = Linear(size.embed_dim, hidden)
        self.fc2 = Linear(hidden, size.embed_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map (…, d) to (…, d)."""
        mapped: Tensor = self.fc2(nn.functional.gelu(self.fc1(x)))
        return mapped


class Block(nn.Module):
    """Attention and feed-forward layers, the sum with their input normalized each time."""

    def __init__(self, size: TransformerSize) -> None:
        super().__init__()
        self.attn = Attention(size)
        self.norm1 = nn.LayerNorm(size.embed_dim, eps=size.norm_eps)
        self.mlp = FeedForward(size)
        self.norm2 = nn.LayerNorm(size.embed_dim, eps=size.norm_eps)

    def forward(self, x: Tensor, mask: Tensor | None = None, cls_only: bool = False) -> Tensor:
        """Tokens (b, n, d) -> (b, n, d); with `cls_only` (b, 1, d), [CLS] alone."""
        attended = self.attn(x, mask, cls_only)
        x = self.norm1((x[:, :1] if cls_only else x) + attended)
        normed: Tensor = self.norm2(x + self.mlp(x))
        return normed


class VisionTransformer(nn.Module):
    """Patches of 16 frames by 16 bins -> tokens, [CLS] first.

    Args:
        size: Sizes.
        grid: Patches in time and in frequency of the table of fixed positions; patch k takes row k
            of the flat table, whose length limits that of a clip.

    Attributes:
        layers: Blocks whose outputs are the tokens, from 1; none for the last.
        merge: What becomes of several.
    """

    positions: Tensor

    def __init__(self, size: TransformerSize, grid: tuple[int, int]) -> None:
        super().__init__()
        self.grid = grid
        self.layers: tuple[int, ...] = ()
        self.merge: Merge = "mean"
        self.hidden = int(size.embed_dim * size.mlp_ratio)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, size.embed_dim))
        self.patches = nn.Conv2d(1, size.embed_dim, PATCH, PATCH)
        self.register_buffer("positions", sin_cos_positions(*grid, size.embed_dim)[None])
        self.norm = nn.LayerNorm(size.embed_dim, eps=size.norm_eps)
        self.blocks = nn.ModuleList(Block(size) for _ in range(size.depth))

    def forward(
        self, images: Tensor, mask: Tensor | None = None, *, cls_only: bool = False
    ) -> Tensor:
        """Encode images.

        Args:
            images: Spectrograms, (b, frames, bins); what does not fill a patch at the end of
                either axis is not looked at.
            mask: Which tokens (with [CLS]) may be attended to, (b, n); None for all.
            cls_only: Compute only what [CLS] needs.

        Returns:
            Tokens, (b, n, d): [CLS], then patches with the bins running fastest,
            n = 1 + (frames // 16) * (bins // 16); with `cls_only` (b, 1, d); of the chosen
            layers.
        """
        if images.device.type == "cpu" and not torch.is_grad_enabled():
            count = self._images_at_once(images)
            if len(images) > count:
                masks = [None] * len(images) if mask is None else torch.split(mask, count)
                parts = zip(torch.split(images, count), masks, strict=False)
                return torch.cat([self(part, each, cls_only=cls_only) for part, each in parts])
        x = self.with_cls(self.embed_patches(images))
        if mask is not None:
            mask = mask[:, None, None]
        outputs: list[Tensor] = []
        for number, block in enumerate(self.blocks, start=1):
            x = block(x, mask, cls_only and number == len(self.blocks))
            if number in (self.layers or (len(self.blocks),)):
                outputs.append(x[:, :1] if cls_only else x)
        if len(outputs) == 1:
            return outputs[0]
        merged: Tensor = (
            torch.cat(outputs, 2) if self.merge == "concat" else torch.stack(outputs).mean(0)
        )
        return merged

    def choose(self, layers: Sequence[int], merge: Merge) -> int:
        """Take the outputs of other layers; returns how many times longer a token gets.

        Raises:
            BackboneError: There is no such merge.
        """
        check_choice("merge", merge, Merge)
        self.layers, self.merge = tuple(sorted(set(layers))), merge
        return max(1, len(self.layers)) if merge == "concat" else 1

    def embed_patches(self, images: Tensor) -> Tensor:
        """Patches of images (b, frames, bins), projected and told their positions, (b, n, d)."""
        patches = self.patches(images[:, None]).flatten(2).transpose(1, 2)
        placed: Tensor = patches + self.positions[:, : patches.shape[1]]
        return placed

    def with_cls(self, patches: Tensor) -> Tensor:
        """What the first block takes of patches (b, n, d), or some of them: (b, 1 + n, d)."""
        cls = self.cls_token.to(patches.dtype).expand(len(patches), -1, -1)
        tokens: Tensor = self.norm(torch.cat([cls, patches], dim=1))
        return tokens

    def _images_at_once(self, images: Tensor) -> int:
        tokens = 1 + images.shape[1] // PATCH * (images.shape[2] // PATCH)
        return max(1, CPU_BLOCK_VALUES // (tokens * self.hidden))

    def draw_weights(self, generator: torch.Generator) -> None:
        """Fill all tensors as EAT's are before its pre-training; biases are 0.

        The projection of patches is Xavier's and [CLS] of deviation 1: beside positions of that
        size, patches of `INITIAL_DEVIATION` would hardly be seen.
        """
        self.positions.copy_(sin_cos_positions(*self.grid, self.positions.shape[-1])[None])
        for name, parameter in self.named_parameters():
            if name == "cls_token":
                nn.init.normal_(parameter, generator=generator)
            elif name == "patches.weight":
                nn.init.xavier_uniform_(parameter.flatten(1), generator=generator)
            elif parameter.ndim > 1:
                nn.init.normal_(parameter, std=INITIAL_DEVIATION, generator=generator)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)
            else:
                nn.init.ones_(parameter)


def sin_cos_positions(rows: int, columns: int, dimension: int) -> Tensor:
    """Fixed positions of a grid, as masked autoencoders have them (He et al. 2022).

    Args:
        rows: Rows (time).
        columns: Columns (frequency), which run fastest.
        dimension: Dimension of a token, a multiple of 4: a half tells the column, a half the row,
            each as sines then cosines of the index times 10000^(-4 i / dimension).

    Returns:
        Positions, (rows * columns, dimension), float32.
    """
    quarter = dimension // 4
    omega = 10000.0 ** -(torch.arange(quarter, dtype=torch.float64) / quarter)
    time, frequency = torch.meshgrid(
        torch.arange(rows, dtype=torch.float64),
        torch.arange(columns, dtype=torch.float64),
        indexing="ij",
    )
    angles = [axis.reshape(-1, 1) * omega for axis in (frequency, time)]
    return torch.cat([wave for each in angles for wave in (each.sin(), each.cos())], 1).float()
