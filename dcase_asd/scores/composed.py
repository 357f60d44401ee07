"""Detectors around others: by domain, by band, standardized, with fewer references, several.

Each takes a function that makes the detector inside, and is a detector itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dcase_asd.errors import ScoresError
from dcase_asd.scores.detectors import AnomalyDetector, Vectors
from dcase_asd.scores.distances import Array, unit_vectors

Make = Callable[[], AnomalyDetector]
DomainScale = Literal["none", "deviation", "median"]

FEW_CLIPS = 64
"""Up to so many clips the statistics that embeddings are standardized by are computed anew without
the clip that is scored; of more clips one has next to no share in them."""


class Standardized(AnomalyDetector):
    """Subtracts each value's mean over the train clips and divides by its standard deviation.

    A value that never changes is set to 0 and counts for nothing. Distances between directions
    then compare how clips differ from the usual clip, not what all of them have in common.

    Args:
        make: Makes the detector of the standardized embeddings.
    """

    def __init__(self, make: Make) -> None:
        self.make, self.fewest = make, make().fewest

    def learn(self, train: Vectors) -> None:
        """Find mean and deviation; learn from the standardized clips."""
        train = np.asarray(train, dtype=np.float64)
        self.mean, deviation = train.mean(axis=0), train.std(axis=0)
        # Equal values have a deviation of 1e-17 by the rounding of their mean.
        varies = (deviation > 0) & (np.ptp(train, axis=0) > 0)
        self.gain = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=varies)
        if not varies.any():
            self.mean, self.gain = np.zeros_like(deviation), np.ones_like(deviation)
            self.note("train clips do not differ: their embeddings are not standardized")
        self.inner = self.fit_inner(self.make, (train - self.mean) * self.gain, self.domains)

    def score(self, test: Vectors) -> Array:
        """Score clips, (q, d) -> (q,)."""
        return self.inner.score((np.asarray(test, dtype=np.float64) - self.mean) * self.gain)

    def leave_one_out(self) -> Array:
        """Score each train clip by what is learnt without it; see `FEW_CLIPS`."""
        few = len(self.train) <= FEW_CLIPS
        return super().leave_one_out() if few else self.inner.leave_one_out()


class ByDomain(AnomalyDetector):
    """The minimum of a detector for each domain, each on a scale of its own.

    Args:
        make: Makes the detector of a domain.
        scale: ``none``; ``deviation`` standardizes a domain's scores by the mean and deviation of
            its leave-one-out scores; ``median`` divides by their median, so that ten target clips
            far from each other weigh like a thousand source clips close together.
    """

    def __init__(self, make: Make, scale: DomainScale = "none") -> None:
        self.make, self.scale = make, scale

    def learn(self, train: Vectors) -> None:
        """Learn from each domain by itself."""
        names = np.unique(self.domains)
        self.groups = [np.flatnonzero(self.domains == name) for name in names]
        smallest, fewest = min(map(len, self.groups)), self.make().fewest
        if smallest < fewest and len(names) > 1:
            self.note(
                f"a domain of {smallest} train clip(s), and this detector needs {fewest}: all "
                "domains are scored as one"
            )
            self.groups = [np.arange(len(train))]
        self.inner = [
            self.fit_inner(self.make, train[group], self.domains[group]) for group in self.groups
        ]
        if list(names) == ["source"]:
            self.note("no target-domain train clip: scored against the source domain alone")
        self.own = [each.leave_one_out() for each in self.inner]
        self.scales = [(0.0, 1.0)] * len(self.own) if self.scale == "none" else self._scales()

    def score(self, test: Vectors) -> Array:
        """Score clips, (q, d) -> (q,)."""
        scaled = [self._scaled(each.score(test), number) for number, each in enumerate(self.inner)]
        scores: Array = np.min(scaled, axis=0)
        return scores

    def leave_one_out(self) -> Array:
        """Score each train clip by the others of its domain, and by all of the other domains."""
        scores = np.full(len(self.train), np.inf)
        for number, (group, each) in enumerate(zip(self.groups, self.inner, strict=True)):
            found = each.score(self.train) if len(self.groups) > 1 else np.empty(len(self.train))
            found[group] = self.own[number]
            # fmin passes over the NaN of a clip that is its domain's only one.
            scores = np.fmin(scores, self._scaled(found, number))
        return np.where(np.isinf(scores), np.nan, scores)

    def _scaled(self, scores: Array, number: int) -> Array:
        middle, spread = self.scales[number]
        return (scores - middle) / spread

    def _scales(self) -> list[tuple[float, float]]:
        """Middle and spread of each domain's leave-one-out scores."""
        whole = self._middle_and_spread(np.concatenate(self.own))
        if whole is None:
            self.note("leave-one-out scores have no spread: not standardized")
            return [(0.0, 1.0)] * len(self.own)
        scales = []
        for scores in self.own:
            found = self._middle_and_spread(scores)
            if found is None:
                self.note(
                    f"a domain of {len(scores)} train clip(s) has no spread: "
                    "standardized by that of all domains"
                )
            scales.append(found or whole)
        return scales

    def _middle_and_spread(self, scores: Array) -> tuple[float, float] | None:
        known = scores[~np.isnan(scores)]
        if len(known) < (1 if self.scale == "median" else 2):
            return None
        median = self.scale == "median"
        middle, spread = (0.0, float(np.median(known))) if median else (known.mean(), known.std())
        if spread < 0:
            raise ScoresError(
                f"scores of this detector may be below 0 (the median is {spread:.3g}), so that no "
                "scale comes of their median; take --normalize domain"
            )
        return (float(middle), float(spread)) if spread > 0 else None


class PerBand(AnomalyDetector):
    """The mean over frequency bands of a detector for each band (BEAM, arXiv 2603.13749).

    Every band is compared with the normal clip that is nearest in this band, whatever its others.

    Args:
        make: Makes the detector of a band.
    """

    def __init__(self, make: Make) -> None:
        self.make, self.fewest = make, make().fewest

    def learn(self, train: Vectors) -> None:
        """Learn from each band, (n, f, d), by itself."""
        self.inner = [
            self.fit_inner(self.make, train[:, band], self.domains)
            for band in range(train.shape[1])
        ]

    def score(self, test: Vectors) -> Array:
        """Score clips, (q, f, d) -> (q,)."""
        scores: Array = np.mean(self.score_bands(test), axis=1)
        return scores

    def score_bands(self, test: Vectors) -> Array:
        """Scores of each band, (q, f, d) -> (q, f)."""
        bands = [each.score(test[:, band]) for band, each in enumerate(self.inner)]
        return np.stack(bands, axis=1)

    def leave_one_out(self) -> Array:
        """The mean over bands of their leave-one-out scores, (n,)."""
        scores: Array = np.mean([each.leave_one_out() for each in self.inner], axis=0)
        return scores


class FewerReferences(AnomalyDetector):
    """Learns from some of the train clips alone: those that lie farthest from each other.

    Greedy k-center selection (T. F. Gonzalez, "Clustering to minimize the maximum intercluster
    distance", 1985) on the bands' unit vectors side by side: first the clip nearest to the mean,
    then always the clip that is farthest from all that are chosen.

    Args:
        make: Makes the detector of the chosen clips.
        references: How many clips are chosen; all where there are fewer.
    """

    def __init__(self, make: Make, references: int) -> None:
        self.make, self.references = make, references

    def learn(self, train: Vectors) -> None:
        """Choose the references and learn from them."""
        self.chosen = farthest_points(train, self.references)
        self.inner = self.fit_inner(self.make, train[self.chosen], self.domains[self.chosen])

    def score(self, test: Vectors) -> Array:
        """Score clips."""
        return self.inner.score(test)

    def leave_one_out(self) -> Array:
        """Score the references without themselves; the others, which are none, as they are."""
        scores = np.empty(len(self.train))
        others = np.ones(len(self.train), dtype=bool)
        others[self.chosen] = False
        scores[self.chosen] = self.inner.leave_one_out()
        if others.any():
            scores[others] = self.inner.score(self.train[others])
        return scores


def farthest_points(embeddings: Vectors, count: int) -> NDArray[np.intp]:
    """Clips (n, d) or (n, f, d) that lie farthest from each other, in the order of their choice."""
    bands = np.asarray(embeddings, dtype=np.float64).reshape(
        len(embeddings), -1, embeddings.shape[-1]
    )
    unit = np.stack([unit_vectors(bands[:, band]) for band in range(bands.shape[1])], axis=1)
    points = unit.reshape(len(unit), -1)

    def squares(point: Array) -> Array:
        found: Array = ((points - point) ** 2).sum(axis=1)
        return found

    chosen = [int(squares(points.mean(axis=0)).argmin())]
    nearest = squares(points[chosen[0]])
    nearest[chosen[0]] = -1.0  # a chosen clip is never chosen again, nor is a copy before others
    while len(chosen) < min(count, len(points)):
        farthest = int(nearest.argmax())
        chosen.append(farthest)
        nearest = np.where(nearest < 0, -1.0, np.minimum(nearest, squares(points[farthest])))
        nearest[farthest] = -1.0
    return np.array(chosen, dtype=np.intp)


class CalibratedMinimum(AnomalyDetector):
    """The minimum of several detectors, each standardized by its own leave-one-out scores.

    A clip is anomalous where every detector finds it so (arXiv 2606.19269).

    Args:
        makes: Make the detectors.
        mean: Whether the mean is taken in place of the minimum.
    """

    def __init__(self, makes: Sequence[Make], *, mean: bool = False) -> None:
        self.makes, self.join = tuple(makes), np.mean if mean else np.min
        self.fewest = max(make().fewest for make in makes)

    def learn(self, train: Vectors) -> None:
        """Learn with each detector, and what its scores of normal clips are."""
        self.inner = [self.fit_inner(make, train, self.domains) for make in self.makes]
        self.own = [each.leave_one_out() for each in self.inner]
        known = [own[~np.isnan(own)] for own in self.own]
        self.scales = [(own.mean(), own.std() or 1.0) if len(own) else (0.0, 1.0) for own in known]

    def score(self, test: Vectors) -> Array:
        """Score clips."""
        return self._joined([each.score(test) for each in self.inner])

    def leave_one_out(self) -> Array:
        """The minimum of the standardized leave-one-out scores."""
        return self._joined(self.own)

    def _joined(self, scores: Sequence[Array]) -> Array:
        scaled = [
            (each - middle) / spread
            for each, (middle, spread) in zip(scores, self.scales, strict=True)
        ]
        joined: Array = self.join(scaled, axis=0)
        return joined
