"""How embeddings become anomaly scores: `[score]` of a recipe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from dcase_asd.recipe.setting import out_of_range, refuse, setting

Domains = Literal["pooled", "minimum"]
Normalization = Literal["none", "domain", "median", "density"]

NEAREST = "nearest"
"""The detector that ``normalize = "density"`` and `density_neighbors` belong to."""


@dataclass(frozen=True)
class Detector:
    """How embeddings become anomaly scores; the defaults are the report's (section 2.1).

    ``domain`` and ``median`` put the scores of each domain on a scale of its own, that of its
    leave-one-out scores, then take the minimum; ``density`` divides the distance to each train
    clip by its local density (see `scores.density`).
    """

    detector: str = setting(NEAREST, "Detector (see `dcase-asd plugins`).")
    options: dict[str, Any] = setting(
        {}, "Options of the detector, each as name=value.", flag="detector-option"
    )
    standardize: bool = setting(
        False, "Standardize each value of an embedding by the train clips first."
    )
    references: int = setting(
        0, "Train clips to compare with, those farthest from each other; 0 takes all."
    )
    neighbors: int = setting(1, "Nearest train clips whose distances are averaged.", least=1)
    domains: Domains = setting(
        "pooled",
        "pooled searches all train clips; minimum searches each domain by itself and takes the "
        "smaller score (the same for one neighbor, not for several).",
    )
    normalize: Normalization = setting(
        "none",
        "domain standardizes the scores by each domain by its leave-one-out scores, median divides "
        "by their median; density divides by each train clip's local density.",
    )
    density_neighbors: int = setting(
        16, "K of the local density: train clips that a train clip is compared with.", least=1
    )

    def __post_init__(self) -> None:
        refuse(out_of_range(self))
