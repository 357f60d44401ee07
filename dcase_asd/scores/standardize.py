"""Scores of several systems on one scale: standardized within each machine type and section."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dcase_asd.scores.distances import Array

Groups = NDArray[np.integer]


class SpreadError(ValueError):
    """A system's reference scores of a group have no spread, or there is none.

    Attributes:
        system: Number of the system.
        group: Number of the group.
    """

    def __init__(self, system: int, group: int) -> None:
        super().__init__(f"system {system} has no spread in group {group}")
        self.system = system
        self.group = group


def standardized(scores: Array, groups: Groups, reference: NDArray[np.bool_]) -> Array:
    """Scores minus their reference's mean, in units of its standard deviation.

    Args:
        scores: Of each system, (systems, clips), finite.
        groups: Group of each clip, (clips,), from 0 on: its machine type and section.
        reference: Which clips the mean and the deviation are taken over, (clips,): train clips
            with leave-one-out scores or, transductive, test clips.

    Returns:
        Standardized scores, (systems, clips).

    Raises:
        SpreadError: The reference clips of a group are missing or have equal scores.
    """
    mean, deviation = mean_and_deviation(scores, groups, reference)
    flat = ~(deviation > 0)
    if flat.any():
        system, group = np.argwhere(flat)[0].tolist()
        raise SpreadError(system, group)
    standard: Array = (scores - mean[:, groups]) / deviation[:, groups]
    return standard


def mean_and_deviation(
    scores: Array, groups: Groups, reference: NDArray[np.bool_]
) -> tuple[Array, Array]:
    """Mean and standard deviation (of the population) of each group's reference clips.

    Arguments are those of `standardized`.

    Returns:
        Mean and deviation, (systems, groups) each. The deviation of equal scores is exactly 0; of
        a group without reference clips both are NaN.
    """
    shape = (len(scores), int(groups.max(initial=-1)) + 1)
    mean, deviation = np.full(shape, np.nan), np.full(shape, np.nan)
    for group in range(shape[1]):
        chosen = scores[:, reference & (groups == group)]
        if chosen.shape[1]:
            mean[:, group] = chosen.mean(axis=1)
            # Rounding of the mean would leave equal scores a deviation of 1e-17.
            equal = np.ptp(chosen, axis=1) == 0
            deviation[:, group] = np.where(equal, 0.0, chosen.std(axis=1))
    return mean, deviation
