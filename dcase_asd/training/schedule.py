"""The learning rate of an update, as a share of the largest."""

from __future__ import annotations

import math

from dcase_asd.training.settings import Training


def learning_rate_share(update: int, settings: Training) -> float:
    """Linear warm-up, then cosine cycles down to `final_share`, or constant.

    Args:
        update: Which update, from 0.
        settings: The recipe; a warm-up as long as the training or longer never ends.

    Returns:
        Share of the largest learning rate, in (0, 1].
    """
    if update < settings.warmup:
        return (update + 1) / settings.warmup
    if settings.schedule == "constant":
        return 1.0
    length = (settings.updates - settings.warmup) / settings.cycles
    position = ((update - settings.warmup) % length) / length
    return settings.final_share + (1 - settings.final_share) * 0.5 * (
        1 + math.cos(math.pi * position)
    )
