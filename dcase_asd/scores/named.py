"""Detectors by their names: the toolkit's, and those that third parties have installed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from dcase_asd.errors import ScoresError
from dcase_asd.recipe import options as of_arguments
from dcase_asd.recipe.options import option_problems, usage
from dcase_asd.registry import find_point, installed_with_options, load_point
from dcase_asd.scores.composed import (
    ByDomain,
    CalibratedMinimum,
    DomainScale,
    FewerReferences,
    Make,
    PerBand,
    Standardized,
)
from dcase_asd.scores.density import NearestClips
from dcase_asd.scores.detectors import (
    GROUP,
    AnomalyDetector,
    ClusterMeans,
    Mahalanobis,
    Subspace,
    Vectors,
)
from dcase_asd.scores.distances import Array


def _several(
    of: tuple[str, ...] | str = ("nearest", "mahalanobis", "density", "subspace"), *, mean: bool
) -> CalibratedMinimum:
    """Several detectors by their names, in a list or in text with commas between them."""
    names = [name.strip() for name in of.split(",")] if isinstance(of, str) else of
    return CalibratedMinimum([find_detector(name) for name in names], mean=mean)


DETECTORS: dict[str, Callable[..., AnomalyDetector]] = {
    "nearest": partial(NearestClips, form="none"),
    "density": partial(NearestClips, form="ratio"),
    "difference": partial(NearestClips, form="difference"),
    "varmin": partial(NearestClips, form="variance", around=4),
    "log-density": partial(NearestClips, form="log", metric="euclidean"),
    "mahalanobis": Mahalanobis,
    "subspace": Subspace,
    "clusters": ClusterMeans,
    "minimum": partial(_several, mean=False),
    "mean": partial(_several, mean=True),
}
"""Name -> detector of embeddings (n, d), with the published parameters by default."""
VECTORS, BANDS = 2, 3
"""Dimensions of embeddings (n, d), and of those of frequency bands (n, f, d)."""


def installed_detectors(*, check: bool = False) -> list[dict[str, str]]:
    """The detectors of the toolkit, then those that third parties have installed.

    Args:
        check: Import what third parties have installed, and say what fails in `state`.
    """
    ours = {name: usage(kind, option_types(kind)) for name, kind in DETECTORS.items()}
    return installed_with_options(ours, GROUP, _usage, check=check)


def _usage(name: str) -> str:
    kind = kind_of(name)
    return usage(kind, option_types(kind))


def find_detector(name: str, options: dict[str, Any] | None = None) -> Make:
    """What makes a detector with some options, which are tried.

    Args:
        name: A row of `DETECTORS` or an entry point of the group `GROUP`.
        options: Keyword arguments.

    Raises:
        ScoresError: There is no such detector, it cannot be imported, or it has no such options.
    """
    options, kind = options or {}, kind_of(name)
    refused = f"the detector {name!r} refuses its options: "
    if problems := option_problems(options, option_types(kind)):
        raise ScoresError(refused + "; ".join(problems))
    make = partial(kind, **options)
    try:
        make()
    except (TypeError, ValueError) as error:
        raise ScoresError(f"{refused}{error}") from error
    return make


def kind_of(name: str) -> Callable[..., AnomalyDetector]:
    """The row of `DETECTORS`, or the class of a third party.

    Raises:
        ScoresError: There is none, or it cannot be imported.
    """
    if name in DETECTORS:
        return DETECTORS[name]
    point = find_point(name, GROUP, "detector", ScoresError, DETECTORS)
    found = load_point(point, "detector", ScoresError)
    if not (isinstance(found, type) and issubclass(found, AnomalyDetector)):
        raise ScoresError(
            f"the detector {name!r} ({point.value}) is no class derived from "
            f"{AnomalyDetector.__module__}.{AnomalyDetector.__name__}"
        )
    return found


def option_types(kind: Callable[..., AnomalyDetector]) -> dict[str, Any]:
    """The options that a detector takes, each with the type that it is annotated with."""
    fixed = {"form", "mean"}  # what a row of `DETECTORS` is, no option of it
    if isinstance(kind, partial) and kind.keywords.get("form") == "none":
        fixed |= {"around", "floor"}
    return of_arguments.option_types(kind, fixed)


def compose(
    make: Make,
    *,
    standardize: bool = False,
    bands: bool = False,
    by_domain: DomainScale | None = None,
    references: int = 0,
) -> AnomalyDetector:
    """Put detectors around one: standardized, per band, by domain, with fewer references."""
    if standardize:
        make = partial(_standardized, make)
    if bands:
        make = partial(PerBand, make)
    if by_domain is not None:
        make = partial(ByDomain, make, by_domain)
    return FewerReferences(make, references) if references else make()


def _standardized(make: Make) -> AnomalyDetector:
    """Several detectors are standardized each, so that scores that calibrate them are honest."""
    detector = make()
    if not isinstance(detector, CalibratedMinimum):
        return Standardized(make)
    detector.makes = tuple(partial(Standardized, each) for each in detector.makes)
    return detector


def score_embeddings(
    train: Vectors,
    test: Vectors,
    detector: str = "nearest",
    *,
    standardize: bool = False,
    references: int = 0,
    **options: Any,
) -> Array:
    """Score clips by the embeddings of normal ones.

    Args:
        train: Embeddings of normal clips of one machine, (n, d), or (n, f, d) of f frequency bands,
            each of which is scored by itself before the mean is taken (`PerBand`).
        test: Embeddings to score, (m, d) or (m, f, d).
        detector: One of `DETECTORS`, or a third party's.
        standardize: Standardize each value by the train clips first (`Standardized`).
        references: Keep as many train clips, those farthest from each other; 0 keeps all.
        options: Of the detector.

    Returns:
        Anomaly scores, (m,); larger is more anomalous. Cosine distances are 1 - cos.

    Raises:
        ScoresError: No detector has this name, or it has no such option, or shapes do not fit.
        TooFewClipsError: There are too few train clips for it.
    """
    train, test = np.asarray(train), np.asarray(test)
    if references < 0:
        raise ScoresError(f"references must be at least 0, not {references}")
    if train.ndim not in (VECTORS, BANDS) or train.shape[1:] != test.shape[1:]:
        raise ScoresError(
            f"train {train.shape} and test {test.shape} must both be (n, d), or both (n, f, d)"
        )
    whole = compose(
        find_detector(detector, options),
        standardize=standardize, bands=train.ndim == BANDS, references=references,
    )  # fmt: skip
    return whole.fit(train).score(test)
