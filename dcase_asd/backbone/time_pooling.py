"""Token grids -> one vector for each frequency band: poolings over time.

A grid is (b, t, f, d): time, frequency, values of a token. Padding never counts: a mask (b, t) says
which times are of the clip. All work on the device and in the precision of the grid.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dcase_asd.errors import BackboneError
from dcase_asd.poolings import pooling_problems

SMALLEST_DEVIATION = 1e-8
"""Where no token is farther than this from the mean, all weigh alike (arXiv 2603.04605)."""


def mean(tokens: Tensor, mask: Tensor) -> Tensor:
    """Mean over time."""
    return (tokens * _shares(tokens, mask)).sum(1)


def maximum(tokens: Tensor, mask: Tensor) -> Tensor:
    """Largest value over time."""
    return tokens.masked_fill(~mask[:, :, None, None], -torch.inf).amax(1)


def deviation(tokens: Tensor, mask: Tensor) -> Tensor:
    """Standard deviation over time (of the population)."""
    centered = tokens - mean(tokens, mask)[:, None]
    return (centered.square() * _shares(tokens, mask)).sum(1).sqrt()


def generalized_mean(tokens: Tensor, mask: Tensor, p: float = 3.0) -> Tensor:
    """((1 / T) sum_t max(x_t, 0)^p)^(1 / p) of each value (arXiv 2603.04605, section 2)."""
    return _power_mean(tokens, _shares(tokens, mask), p)


def ranked(tokens: Tensor, mask: Tensor, r: float = 0.9) -> Tensor:
    """Global weighted ranking pooling: each value's k-th largest over time weighs r^(k - 1).

    r = 1 is the mean, r = 0 the maximum (arXiv 2603.04605, section 2).
    """
    descending = tokens.masked_fill(~mask[:, :, None, None], -torch.inf).sort(1, descending=True)[0]
    rank = torch.arange(tokens.shape[1], device=tokens.device)
    weights = torch.pow(torch.as_tensor(r, dtype=tokens.dtype, device=tokens.device), rank)
    weights = weights * (rank < mask.sum(1, keepdim=True))  # padding stands last
    weights = (weights / weights.sum(1, keepdim=True))[:, :, None, None]
    return (descending.masked_fill(weights == 0, 0.0) * weights).sum(1)


def relative_deviation(tokens: Tensor, mask: Tensor, gamma: float = 4.0) -> Tensor:
    """Relative deviation pooling: times far from the clip's mean weigh more (arXiv 2603.04605).

    With d_t the distance of a band's token from its mean over time, a token weighs
    (1 + d_t / max d)^gamma; gamma = 0 is the mean.
    """
    return (tokens * _deviation_weights(tokens, mask, gamma)).sum(1)


def relative_deviation_mean(
    tokens: Tensor, mask: Tensor, gamma: float = 16.0, p: float = 3.0
) -> Tensor:
    """The generalized mean with the weights of `relative_deviation` (arXiv 2603.04605)."""
    return _power_mean(tokens, _deviation_weights(tokens, mask, gamma), p)


Pooling = Callable[..., Tensor]

POOLINGS: dict[str, Pooling] = {
    "mean": mean,
    "max": maximum,
    "std": deviation,
    "gem": generalized_mean,
    "gwrp": ranked,
    "rdp": relative_deviation,
    "rdp+gem": relative_deviation_mean,
}
"""Name -> pooling of tokens (b, t, f, d) by a mask (b, t) to (b, f, d); see `poolings.Pooling`."""


@overload
def pool(
    tokens: Tensor, method: str = ..., *, mask: Tensor | None = ..., **parameters: float
) -> Tensor: ...
@overload
def pool(
    tokens: NDArray[np.floating],
    method: str = ...,
    *,
    mask: NDArray[np.bool_] | None = ...,
    **parameters: float,
) -> NDArray[np.floating]: ...
def pool(tokens: Any, method: str = "mean", *, mask: Any = None, **parameters: float) -> Any:
    """Pool a grid of tokens over time.

    Args:
        tokens: (t, f, d) or (b, t, f, d), a tensor or an array.
        method: One of `POOLINGS`.
        mask: Times that count, (t,) or (b, t); all without it.
        parameters: Of the pooling: ``p`` > 0 (gem), ``r`` in [0, 1] (gwrp), ``gamma`` >= 0 (rdp).

    Returns:
        (f, d) or (b, f, d), of the kind and precision of the tokens.

    Raises:
        BackboneError: There is no such pooling or parameter, or a value or shape is wrong.
    """
    check_pooling(method, parameters)
    grid = torch.as_tensor(tokens)
    counts = None if mask is None else torch.as_tensor(mask)
    alone = grid.ndim == GRID_DIMENSIONS - 1
    if alone:
        grid, counts = grid[None], None if counts is None else counts[None]
    if grid.ndim != GRID_DIMENSIONS or not grid.shape[1]:
        raise BackboneError(
            f"tokens of shape {tuple(tokens.shape)} are no grid; give (t, f, d) or (b, t, f, d)"
        )
    if counts is None:
        counts = torch.ones(grid.shape[:2], dtype=torch.bool, device=grid.device)
    if counts.shape != grid.shape[:2] or not counts.any(1).all():
        raise BackboneError(
            f"a mask of shape {tuple(counts.shape)} does not fit tokens of shape "
            f"{tuple(grid.shape)}, or leaves a clip without a token"
        )
    if not counts.all():  # whatever padding holds, also what is no number
        grid = grid.masked_fill(~counts[:, :, None, None], 0.0)
    pooled = POOLINGS[method](grid, counts, **parameters)
    pooled = pooled[0] if alone else pooled
    return pooled if isinstance(tokens, Tensor) else pooled.numpy()


GRID_DIMENSIONS = 4


def check_pooling(method: str, parameters: dict[str, float]) -> None:
    """Refuse a pooling that there is not, and parameters that it does not have or take.

    Raises:
        BackboneError: With the nearest valid name, or the range.
    """
    if problems := pooling_problems(method, parameters):
        raise BackboneError("; ".join(problems))


def _shares(tokens: Tensor, mask: Tensor) -> Tensor:
    """Equal weights of the times that count, (b, t, 1, 1)."""
    weights = mask.to(tokens.dtype)
    return (weights / weights.sum(1, keepdim=True))[:, :, None, None]


def _power_mean(tokens: Tensor, weights: Tensor, p: float) -> Tensor:
    # The largest value goes before the power, which would else leave the range of float32.
    positive = tokens.clamp(min=0.0)
    largest = (positive * (weights > 0)).amax(1, keepdim=True)
    relative = positive / largest.clamp(min=torch.finfo(tokens.dtype).tiny)
    return largest[:, 0] * (weights * relative.pow(p)).sum(1).pow(1 / p)


def _deviation_weights(tokens: Tensor, mask: Tensor, gamma: float) -> Tensor:
    """Weights of `relative_deviation`, (b, t, f, 1): a softmax of gamma log(1 + d_t / max d)."""
    counts = mask[:, :, None]
    far = torch.linalg.vector_norm(tokens - mean(tokens, mask)[:, None], dim=3)
    far = far.masked_fill(~counts, 0.0)
    largest = far.amax(1, keepdim=True)
    relative = torch.where(largest > SMALLEST_DEVIATION, far / largest.clamp(min=1e-30), 0.0)
    logits = (gamma * relative.log1p()).masked_fill(~counts, -torch.inf)
    return logits.softmax(1)[..., None]
