"""From the tokens of a clip to one vector."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

Grid = tuple[Tensor, Tensor]
"""Tokens (b, t, f, d), and which times count, (b, t)."""

SMALLEST_VARIANCE = 1e-7
"""Keeps the square root's gradient finite where all tokens are alike."""


def masked_mean(tokens: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean of the tokens of each clip.

    Args:
        tokens: (b, n, d).
        mask: True for tokens that count, (b, n); at least one of each clip. None for all.

    Returns:
        (b, d); the other tokens have no influence, whatever they hold.
    """
    if mask is None or bool(mask.all()):
        return tokens.mean(1)
    return tokens.masked_fill(~mask[..., None], 0).sum(1) / mask.sum(1, keepdim=True)


class AttentiveStatistics(nn.Module):
    """Attentive statistics pooling as in ECAPA-TDNN (Desplanques et al. 2020, section 2.3).

    Each channel has its own weights over time; the attention sees, beside each token, the mean and
    standard deviation of all of them. The result, weighted mean and standard deviation of each
    channel, is batch-normalized.

    Args:
        dimension: Length of a token.
        bottleneck: Units of the attention.
    """

    def __init__(self, dimension: int, bottleneck: int = 128) -> None:
        super().__init__()
        self.dimension = 2 * dimension
        self.squeeze = nn.Linear(3 * dimension, bottleneck)
        self.norm = _TokenNorm(bottleneck)
        self.expand = nn.Linear(bottleneck, dimension)
        self.output_norm = nn.BatchNorm1d(self.dimension)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Pool tokens.

        Args:
            tokens: (b, n, d).
            mask: True for tokens that count, (b, n); at least one of each clip.

        Returns:
            (b, 2 d); other tokens have no influence, neither on it nor on the batch's statistics.
        """
        # The first layer on [token, mean, deviation], without writing the context n times.
        mean, deviation = _statistics(tokens, (mask / mask.sum(1, keepdim=True))[..., None])
        of_token, of_context = self.squeeze.weight.tensor_split([tokens.shape[2]], dim=1)
        context = torch.cat([mean, deviation], 1) @ of_context.T + self.squeeze.bias
        hidden = (tokens @ of_token.T + context[:, None]).relu()
        hidden = self.norm(hidden, mask).tanh()
        attention = self.expand(hidden).masked_fill(~mask[..., None], -torch.inf).softmax(1)
        result: Tensor = self.output_norm(torch.cat(_statistics(tokens, attention), 1))
        return result


class _TokenNorm(nn.BatchNorm1d):
    """Batch normalization whose statistics in training are those of the tokens that count."""

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:  # type: ignore[override] # a mask
        """Normalize each channel of the tokens (b, n, d) over those that the mask (b, n) marks."""
        if not self.training:
            return super().forward(tokens.flatten(0, 1)).view_as(tokens)
        count = mask.sum()
        weights = mask / count
        mean = torch.einsum("bnd,bn->d", tokens, weights)
        centered = tokens - mean
        variance = torch.einsum("bnd,bn->d", centered.square(), weights)
        with torch.no_grad():
            step = self.momentum or 0.0
            self.running_mean.lerp_(mean, step)
            self.running_var.lerp_(variance * count / (count - 1), step)
            self.num_batches_tracked.add_(1)
        return centered * ((variance + self.eps).rsqrt() * self.weight) + self.bias


class MeanPooling(nn.Module):
    """Mean of the tokens.

    Args:
        dimension: Length of a token.
    """

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.dimension = dimension

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Mean of the tokens (b, n, d) that the mask (b, n) marks, (b, d)."""
        weights = mask / mask.sum(1, keepdim=True)
        return torch.einsum("bnd,bn->bd", tokens, weights)


def _statistics(tokens: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted mean and standard deviation over time, each (b, d).

    Args:
        tokens: (b, n, d).
        weights: (b, n, d), or (b, n, 1) for all channels alike; they sum to 1 over n.
    """
    mean = (weights * tokens).sum(1)
    variance = (weights * (tokens - mean[:, None]).square()).sum(1)
    return mean, variance.clamp(min=SMALLEST_VARIANCE).sqrt()


def windows(length: int, window: int) -> list[tuple[int, int]]:
    """The fewest windows that cover a clip, evenly spaced from its start to its end.

    Args:
        length: Samples of the clip.
        window: Samples of a window.

    Returns:
        First sample and last + 1 of each; a clip that is no longer than a window is one.
    """
    count = -(-length // window)
    if count <= 1:
        return [(0, length)]
    firsts = [index * (length - window) // (count - 1) for index in range(count)]
    return [(first, first + window) for first in firsts]


def joined_grids(grids: Sequence[Grid]) -> Grid:
    """Grids of clips of other lengths as one, padded at the end of time."""
    tokens = pad_sequence([clip for grid, _ in grids for clip in grid], batch_first=True)
    return tokens, pad_sequence([clip for _, mask in grids for clip in mask], batch_first=True)


def grid_in_windows(
    grid: Callable[[Tensor, Tensor], Grid], waveforms: Tensor, lengths: Tensor, window: int
) -> Grid:
    """The grids of the `windows` of each clip, one after the other; those of longer clips overlap.

    Args:
        grid: The grid of waveforms (b, n) of so many samples, (b,).
        waveforms: (b, n).
        lengths: Samples of each clip before padding, (b,).
        window: Samples of a window.
    """
    if int(lengths.max()) <= window:
        return grid(waveforms, lengths)
    clips = []
    for clip, length in zip(waveforms, lengths.tolist(), strict=True):
        parts = windows(length, window)
        cut = torch.stack([clip[first:last] for first, last in parts])
        tokens, mask = grid(cut, lengths.new_full((len(cut),), cut.shape[1]))
        clips.append((tokens[mask][None], mask[mask][None]))
    return joined_grids(clips)
