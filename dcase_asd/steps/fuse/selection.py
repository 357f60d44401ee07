"""Which of the systems are fused: by the robustness of their scores, or by their dev scores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dcase_asd.artifacts.fusion import Robustness
from dcase_asd.detection.robustness import normal_shift
from dcase_asd.errors import TooFewClipsError
from dcase_asd.fused_system import Fusion
from dcase_asd.steps.fuse.members import GROUP, Members


def measure_robustness(members: Members) -> Robustness | None:
    """How far each system's scores of normal evaluation clips have moved from train scores.

    Of each machine type of the evaluation set, the mean over its sections; no label is used.

    Returns:
        The table; None where there are no scores of an evaluation set.

    Raises:
        TooFewClipsError: As `normal_shift`.
    """
    evaluation = (members.clips["stage"] == "eval").to_numpy(dtype=bool)
    groups, test = members.groups, members.of_split("test")
    distances: dict[str, list[list[float]]] = {}
    for group in np.unique(groups[evaluation & test]):
        of_group = groups == group
        _, machine, _ = members.clips.loc[int(np.argmax(of_group)), GROUP]
        try:
            found = [
                normal_shift(scores[of_group & ~test], scores[of_group & test])
                for scores in members.scores
            ]
        except TooFewClipsError as error:
            raise TooFewClipsError(f"{members.where(int(group))}: {error}") from error
        distances.setdefault(str(machine), []).append(found)
    if not distances:
        return None
    table = np.stack([np.mean(of_machine, axis=0) for of_machine in distances.values()], axis=1)
    return Robustness(
        systems=members.names,
        machines=tuple(distances),
        distance=tuple(map(tuple, table.tolist())),
        mean=tuple(table.mean(axis=1).tolist()),
    )


def select(values: Sequence[float], kept: Sequence[bool], count: int) -> tuple[int, ...]:
    """Systems that are kept in any case, and of the others those with the smallest values.

    Args:
        values: One for each system; of equal ones the first comes first.
        kept: Whether a system is kept in any case.
        count: How many of the others.

    Returns:
        Numbers of the systems, ascending.
    """
    others = [number for number, keep in enumerate(kept) if not keep]
    chosen = sorted(others, key=lambda number: values[number])[:count]
    return tuple(sorted({*chosen, *(number for number, keep in enumerate(kept) if keep)}))


def find_robustness(members: Members, fusion: Fusion) -> tuple[Robustness | None, list[str]]:
    """The table; None and why not, where it cannot be measured and the fusion can do without.

    Raises:
        TooFewClipsError: As `measure_robustness`, where it decides on the fusion.
    """
    try:
        return measure_robustness(members), []
    except TooFewClipsError as error:
        if fusion.select.startswith("robust"):
            raise
        return None, [f"robustness is not measured: {error}"]
