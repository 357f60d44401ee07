"""All editions as one label space: which class a train clip belongs to.

The report (section 2.1) classifies by attributes where the challenge gives them and by section
where it does not; the year is part of a class, because machine names recur with other devices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dcase_asd.editions.edition import Edition, load_edition

if TYPE_CHECKING:
    import pandas as pd


SUB_CENTERS = 16
"""Sub-centers of a class whose clips are of several unknown conditions (report, section 2.4)."""


@dataclass(frozen=True)
class TrainingClass:
    """One class of the unified label space, with its number of sub-centers and train clips."""

    label: str
    sub_centers: int
    clips: int


def class_label(edition: Edition, machine: str, section: str, attributes: str) -> str:
    """The unified class of a train clip.

    Args:
        edition: Edition that the clip belongs to; its `class_key` decides.
        machine: Machine type.
        section: Section, or machine ID in 2020.
        attributes: The whole attribute string, empty where there is none.

    Returns:
        ``machine/section/attributes/edition``, or ``machine/section/edition`` where the edition
        is classified by section or the clip has no attributes.
    """
    parts = [machine, section, edition.name]
    if edition.class_key == "attributes" and attributes:
        parts.insert(2, attributes)
    return "/".join(parts)


def sub_centers(edition: Edition, attributes: str) -> int:
    """How many sub-centers a class gets by the edition's rule: `SUB_CENTERS` or 1."""
    several = edition.sub_centers == "all" or (
        edition.sub_centers == "without_attributes" and not attributes
    )
    return SUB_CENTERS if several else 1


def training_classes(clips: pd.DataFrame) -> list[TrainingClass]:
    """The classes of a manifest's train clips; test clips never make a class.

    Args:
        clips: Rows of the manifest.

    Returns:
        The classes, sorted by label.
    """
    train = clips[(clips["split"] == "train") & (clips["role"] == "machine")]
    classes = []
    for (label, edition), rows in train.groupby(["label", "edition"], sort=True):
        attributes = str(rows["attributes"].iloc[0])
        classes.append(
            TrainingClass(
                str(label), sub_centers(load_edition(str(edition)), attributes), len(rows)
            )
        )
    return classes
