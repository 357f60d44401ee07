"""The part of a report that shows each machine: its scores, its decisions and its ROC curves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from dcase_asd.clips.name import DOMAINS
from dcase_asd.editions.edition import Metric
from dcase_asd.errors import ScoresError, TooFewClipsError
from dcase_asd.metrics.strata import CONDITIONS
from dcase_asd.progress import Advance
from dcase_asd.reports.figures.histograms import Panel, score_histogram
from dcase_asd.reports.figures.roc import roc_figure
from dcase_asd.reports.figures.style import Gallery
from dcase_asd.reports.read import MachineSection, Stage
from dcase_asd.scores.threshold import ThresholdRule, set_threshold

WORDS = {"normal": "normal", "anomaly": "anomalous", "": "unlabelled"}
DOMAIN_WORDS = {"source": "Source domain", "target": "Target domain", "": "Unknown domain"}


@dataclass(frozen=True)
class Decisions:
    """How thresholds are set: as `submit` does."""

    rule: ThresholdRule
    quantile: float


def machine_cards(
    stage: Stage, metric: Metric, decisions: Decisions, gallery: Gallery, advance: Advance
) -> tuple[list[dict[str, Any]], list[str]]:
    """A card for each section of a stage.

    Args:
        stage: Whose scores.
        metric: Which recipe the results follow.
        decisions: How thresholds are set.
        gallery: Takes the pictures.
        advance: Called after each section.

    Returns:
        The cards (``title``, ``text``, ``pictures``), and sentences about thresholds that cannot
        be set or say little.
    """
    cards, notes = [], []
    caveats: dict[str, list[str]] = {}
    for section in stage.sections:
        label = stage.label(section)
        try:
            found = set_threshold(
                section.train, section.train_domains, decisions.rule, decisions.quantile, label
            )
            limit: float | None = found.value
            for caveat in found.caveats:
                caveats.setdefault(caveat, []).append(label)
        except (ScoresError, TooFewClipsError) as error:
            limit = None
            notes.append(f"No threshold: {error}")
        name = f"{stage.name}_{section.machine}_section_{section.section}"
        figure, alt = _histogram(section, limit, label)
        shown = [gallery.show(figure, f"{name}_scores", alt)]
        if section.curves:
            figure, alt = _roc(section, metric, label)
            shown.append(gallery.show(figure, f"{name}_roc", alt))
        cards.append({"title": label, "text": _said(section, limit), "pictures": shown})
        advance(1)
    notes += [f"Thresholds: {caveat} ({', '.join(of)})" for caveat, of in caveats.items()]
    return cards, notes


def _histogram(section: MachineSection, limit: float | None, label: str) -> tuple[Figure, str]:
    """Scores of each domain, and what that shows in words."""
    tests = section.tests
    present = [domain for domain in (*DOMAINS, "") if (tests["domain"] == domain).any()]
    panels, words = [], []
    for domain in present:
        groups = {kind: section.scores(kind, domain) for kind in (*CONDITIONS, "")}
        counts = ", ".join(
            f"{len(scores)} {WORDS[kind]}" for kind, scores in groups.items() if len(scores)
        )
        title = DOMAIN_WORDS[domain] if present != [""] else "Test clips"
        panels.append(Panel(f"{title}: {counts}", groups))
        words += [
            f"{title.lower()}, {len(scores)} {WORDS[kind]} clips, median {np.median(scores):.4g}"
            for kind, scores in groups.items()
            if len(scores)
        ]
    if len(section.train):
        words.append(f"{len(section.train)} train clips, median {np.median(section.train):.4g}")
    if limit is not None:
        words.append(f"threshold {limit:.4g}")
    alt = f"Histogram of anomaly scores of {label}: {'; '.join(words)}."
    return score_histogram(panels, section.train, limit), alt


def _roc(section: MachineSection, metric: Metric, label: str) -> tuple[Figure, str]:
    """The curves, and what they show in words."""
    labels = curve_labels(section, metric)
    partial = frozenset({""} if metric == "2022" else labels)
    figure = roc_figure(section.curves, labels, partial)
    listed = "; ".join(labels[curve.domain] for curve in section.curves)
    alt = (
        f"ROC curves of {label}, in percent: {listed}. Shaded: false-alarm rates up to 10 percent."
    )
    return figure, alt


def curve_labels(section: MachineSection, metric: Metric) -> dict[str, str]:
    """Domain of a curve -> the official values that are taken of it, in percent."""
    percent = {
        (each.domain, key): f"{100 * value:.2f}"
        for each in section.results
        for key, value in each.result.items()
    }
    if metric == "2022":
        keys = {"source": "auc_source", "target": "auc_target", "": "pauc"}
        words = {"source": "source: AUC", "target": "target: AUC", "": "both: pAUC"}
        return {
            domain: f"{words[domain]} {percent['', key]}"
            for domain, key in keys.items()
            if ("", key) in percent
        }
    return {
        domain: f"{f'{domain}: ' if domain else ''}AUC {area}, pAUC {percent[domain, 'pauc']}"
        for (domain, key), area in percent.items()
        if key == "auc"
    }


def _said(section: MachineSection, limit: float | None) -> str:
    """What the threshold decides, in words."""
    if limit is None:
        return ""
    shares = [
        f"{100 * np.mean(scores > limit):.0f} % of {len(scores)} {WORDS[kind]} clips"
        for kind in (*CONDITIONS, "")
        if len(scores := section.scores(kind))
    ]
    return f"Above the threshold {limit:.4g}: {', '.join(shares)}."
