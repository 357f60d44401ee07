"""How distances between embeddings become anomaly scores, as a recipe says it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Domains = Literal["pooled", "minimum"]
Normalization = Literal["none", "domain", "density"]


@dataclass(frozen=True)
class Detector:
    """How distances become anomaly scores; the defaults are the report's (section 2.1).

    Attributes:
        neighbors: Nearest train clips whose distances are averaged.
        domains: ``pooled`` searches all train clips; ``minimum`` each domain by itself and takes
            the smaller score (the same for one neighbor, not for several).
        normalize: ``none``; ``domain`` standardizes the distance to each domain by the mean and
            standard deviation of that domain's leave-one-out scores, then takes the minimum;
            ``density`` divides by each reference's local density (see `density`).
        density_neighbors: K of the local density.
    """

    neighbors: int = 1
    domains: Domains = "pooled"
    normalize: Normalization = "none"
    density_neighbors: int = 16

    def __post_init__(self) -> None:
        if self.neighbors < 1 or self.density_neighbors < 1:
            raise ValueError("neighbors and density_neighbors must be at least 1")
