"""Anomaly scores of one machine and section, from the embeddings of its clips.

The leave-one-out scores of the train clips say what scores of normal clips look like; thresholds
and fusion are built on them, so they are made in the same way as those of test clips.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from dcase_asd.errors import ScoresError, TooFewClipsError
from dcase_asd.recipe.detector import NEAREST, Detector
from dcase_asd.scores.composed import DomainScale
from dcase_asd.scores.detectors import AnomalyDetector, Find, Vectors
from dcase_asd.scores.distances import Array
from dcase_asd.scores.named import BANDS, compose, find_detector, kind_of, option_types
from dcase_asd.scores.neighbors import check_bank

SMALLEST_SCALE = 1e-3
"""Floor of a train clip's local density, relative to the median: where all K neighbors are copies
of it, the mean distance is 0 and would make every other distance infinite."""
CALIBRATED = ("mean", "minimum")
"""Detectors that are several, each calibrated by its leave-one-out scores."""
CALIBRATED_FROM = 6
"""Train clips from which on that is done. Leave-one-out scores of three tell no scale: copies of
train clips scored up to 250 deviations above. By three, four and five clips (10 draws of seven
sets, two of them real machines) the plain nearest clip had a higher AUC than the mean of VarMin and
Mahalanobis, by 14, 5 and 2 points on average, by six and more none; the real fan is the exception,
where the mean is as good by four clips and 13 points better by five.
"""
SMALLEST_BANK = 3
"""Clips that a local density needs: leave-one-out asks for the neighbor of a neighbor."""
SCALES: dict[str, DomainScale] = {"domain": "deviation", "median": "median"}
"""`normalize` -> scale of a domain's scores."""


FAR_ABOVE = 0.9
"""Share of source and target train clips of which the target's must score higher to be told."""
CHANCE = 1e-3
"""Probability of that, where both are alike, beyond which it is not told."""


@dataclass(frozen=True)
class SectionScores:
    """Scores of a section's clips.

    Attributes:
        train: Leave-one-out scores, (n,); NaN for a clip that has no other clip to be compared to.
        test: Scores, (q,).
        notes: What had to be handled differently, in words.
        shifted: That normal clips of the target domain score far higher, see `domain_shift`; empty
            where they do not.
    """

    train: Array
    test: Array
    notes: list[str] = field(default_factory=list)
    shifted: str = ""


def make_detector(settings: Detector, bands: bool = False) -> AnomalyDetector:
    """Make a detector as a recipe says it.

    Args:
        settings: The recipe's values.
        bands: Whether embeddings are of frequency bands, (n, f, d), each scored by itself.

    Raises:
        ScoresError: There is no such detector, or it does not take what is set; all mistakes.
    """
    name, options, make = settings.detector, dict(settings.options), None
    by_domain, taken = _scale_of_domains(settings), {}
    problems = _of_nearest_alone(settings)
    if settings.normalize == "density" and name == NEAREST:
        name = "density"
        around = {"around": settings.density_neighbors, "floor": SMALLEST_SCALE}
        options = around | options
    try:
        taken = option_types(kind_of(name))
        if "neighbors" in taken:
            options.setdefault("neighbors", settings.neighbors)
        if by_domain is not None and "all_if_fewer" in taken:
            options.setdefault("all_if_fewer", True)
        make = find_detector(name, options)
    except ScoresError as error:
        problems.append(str(error))
    if settings.neighbors not in (1, options.get("neighbors")):
        problems.append(
            "neighbors is given as an option as well; leave one out" if "neighbors" in taken else
            f"neighbors is no matter of the detector {name}; leave it out, or take one that looks "
            "for nearest clips, such as nearest"
        )  # fmt: skip
    if make is None or problems:
        raise ScoresError("; ".join(problems))
    return compose(
        make,
        standardize=settings.standardize,
        bands=bands,
        by_domain=by_domain,
        references=settings.references,
    )


def _of_nearest_alone(settings: Detector) -> list[str]:
    """What belongs to the nearest train clips alone, and is set of another detector."""
    if settings.detector == NEAREST:
        return []
    other = f"belongs to the detector {NEAREST}, not to {settings.detector}; leave it out"
    problems = []
    if settings.normalize == "density":
        problems.append(f"normalize = density {other}, or take the detector density")
    if settings.density_neighbors != Detector.density_neighbors:
        problems.append(f"density_neighbors {other}, or set the option around where it has one")
    return problems


def _scale_of_domains(settings: Detector) -> DomainScale | None:
    """On which scale each domain is scored by itself; None where all are one bank."""
    if settings.normalize in SCALES:
        return SCALES[settings.normalize]
    return "none" if settings.domains == "minimum" and settings.normalize == "none" else None


def score_section(
    train: Vectors,
    train_domains: NDArray[np.str_],
    test: Vectors,
    detector: Detector,
    kept: Find | None = None,
) -> SectionScores:
    """Score a section's test clips, and its train clips by leave-one-out.

    Args:
        train: Embeddings of normal clips, (n, d) or of bands (n, f, d), n >= 1.
        train_domains: Domain of each train clip, (n,); empty text where there are no domains.
        test: Embeddings to score, (q, d) or (q, f, d).
        detector: How to score.
        kept: Looks up neighborhoods that were found before.

    Raises:
        TooFewClipsError: There are fewer train clips than the detector needs, or than
            `detector.neighbors` asks for.
        ScoresError: As `make_detector`.
    """
    notes: list[str] = []
    if len(train) == 0:
        raise TooFewClipsError("there is no train clip to compare with")
    if detector.normalize == "density":
        detector = _with_density_of(detector, len(train), notes)
    if detector.detector in CALIBRATED and len(train) < CALIBRATED_FROM:
        notes.append(f"{len(train)} train clip(s) are too few to calibrate the detectors of "
                     f"{detector.detector}, which takes {CALIBRATED_FROM}: scored by the nearest "
                     "clip")  # fmt: skip
        detector = Detector()
    alone = _scale_of_domains(detector) is None or len(np.unique(train_domains)) == 1
    if alone and detector.neighbors > 1:
        check_bank(detector.neighbors, len(train) - 1)
    made = make_detector(detector, train.ndim == BANDS).fit(train, train_domains, kept)
    own, scores = made.leave_one_out(), made.score(test)
    notes += made.notes
    if without := int(np.isnan(own).sum()):
        who = "a single train clip has" if len(train) == 1 else f"{without} train clips have"
        notes.append(f"{who} no leave-one-out score: none is written")
    return SectionScores(own, scores, notes, domain_shift(own, train_domains))


def _with_density_of(detector: Detector, clips: int, notes: list[str]) -> Detector:
    """The same with the local density that so many train clips have."""
    if clips < SMALLEST_BANK:
        notes.append(f"{clips} train clip(s) have no local density: scored without")
        return replace(detector, normalize="none")
    around = min(detector.density_neighbors, clips - 2)
    if around < detector.density_neighbors:
        notes.append(f"local density of {around} neighbors, all that {clips} clips have")
    return replace(detector, density_neighbors=around)


def domain_shift(own: Array, domains: NDArray[np.str_]) -> str:
    """Say where normal clips of the target domain score far above those of the source domain.

    Then they score like anomalies of the source domain, and the AUC of the target domain may fall
    below 50 %, which no labelled development set need show. Told where a target clip's
    leave-one-out score is above a source clip's in at least `FAR_ABOVE` of all pairs (the AUC of
    the domains), and where this has by chance at most the probability `CHANCE` (exact distribution
    of Mann and Whitney, 1947), which asks for 3 target clips at least.

    Of 6,000 simulated machines whose domains are alike (3 to 10 target clips, 90 or 990 source
    clips, nearest neighbor in 16 dimensions) it told none. Of 300 with 10 target clips that lie
    1.25, 1.5, 1.75 and 2 times as far apart as the source's it told 1, 36, 83 and 96 %.

    Args:
        own: Leave-one-out scores of the train clips, (n,).
        domains: Their domains, (n,); empty where unknown.

    Returns:
        By how much; empty where they do not, or where there are no two domains.
    """
    known = ~np.isnan(own)
    target, source = (own[known & (domains == name)] for name in ("target", "source"))
    if not len(target) or not len(source):
        return ""
    from scipy.stats import mannwhitneyu

    found = mannwhitneyu(target, source, alternative="greater", method="exact")
    share = float(found.statistic) / (len(target) * len(source))
    if share < FAR_ABOVE or found.pvalue > CHANCE:
        return ""
    return (
        f"normal clips of the target domain score far higher: {len(target)} leave-one-out scores "
        f"lie on average above {100 * share:.0f} % of the source domain's (median "
        f"{np.median(target):.3g}, not {np.median(source):.3g}), so that anomalies of the target "
        "domain may rank below normal clips"
    )
