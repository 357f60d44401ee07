"""How distances between embeddings become anomaly scores: `[score]` of a recipe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dcase_asd.recipe.setting import out_of_range, refuse, setting

Domains = Literal["pooled", "minimum"]
Normalization = Literal["none", "domain", "density"]


@dataclass(frozen=True)
class Detector:
    """How distances become anomaly scores; the defaults are the report's (section 2.1).

    ``domain`` standardizes the distance to each domain by the mean and standard deviation of that
    domain's leave-one-out scores, then takes the minimum; ``density`` divides by each reference's
    local density (see `scores.density`).
    """

    neighbors: int = setting(1, "Nearest train clips whose distances are averaged.", least=1)
    domains: Domains = setting(
        "pooled",
        "pooled searches all train clips; minimum searches each domain by itself and takes the "
        "smaller score (the same for one neighbor, not for several).",
    )
    normalize: Normalization = setting(
        "none",
        "domain standardizes the distance to each domain by its leave-one-out scores; density "
        "divides by each train clip's local density.",
    )
    density_neighbors: int = setting(
        16, "K of the local density: train clips that a train clip is compared with.", least=1
    )

    def __post_init__(self) -> None:
        refuse(out_of_range(self))
