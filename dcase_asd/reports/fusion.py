"""The part of a report that shows a fusion: its weights, and how far they can be trusted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dcase_asd.fusion.result import FusionResult
from dcase_asd.reports import page
from dcase_asd.reports.comparison import distance_map
from dcase_asd.reports.figures.bars import Spread, Standing, standings_figure, weights_figure
from dcase_asd.reports.gallery import Gallery
from dcase_asd.reports.page import Html, Line

SHOWN = 0.005
"""Smaller weights are left out of lists of weights in whole percent."""


def fusion_parts(fusion: FusionResult, gallery: Gallery, folder: str) -> list[Html]:
    """What a fusion found out, as far as it was computed."""
    figures = []
    if fusion.weights is not None:
        figures.append(_weights(fusion, fusion.weights, gallery, folder))
    standings = _standings(fusion)
    if len(standings) > 1:
        listed = ", ".join(f"{each.name} {100 * each.score:.2f}" for each in standings)
        caption = (
            "Each system alone, their equal-weight mean and the fusion, on the labels that its "
            "weights were fitted to; and on machines that were left out of the fit"
            f"{_how_honest(fusion)}."
        )
        official = fusion.metric != "2020"  # which had no such score, nor have one's own machines
        alt = f"{'Official scores' if official else 'Means of AUC and pAUC'} in percent: {listed}."
        word = "official score" if official else "mean of AUC and pAUC"
        figure = standings_figure(standings, word)
        figures.append(gallery.show(figure, folder, "fusion_scores", alt, caption))
    parts = [page.facts(_facts(fusion)), page.notes(fusion.notes)]
    parts += [page.pictures(figures) if figures else Html("")]
    parts += [_systems_table(fusion), _left_out_table(fusion)]
    return parts


def fusion_robustness(fusion: FusionResult, gallery: Gallery, folder: str) -> Html:
    """How far scores of the systems that were given have moved; empty where it is not known."""
    found = fusion.robustness
    if found is None or not found.machines:
        return Html("")
    table = np.array(found.distance, dtype=np.float64)
    shown = distance_map(found.systems, found.machines, table, gallery, folder, "evaluation")
    return page.join([page.heading(4, "Robustness of its systems"), shown])


def _facts(fusion: FusionResult) -> list[tuple[str, str]]:
    found = [
        ("Method", f"{fusion.method} ({fusion.searched})" if fusion.searched else fusion.method),
        ("Standardised by", f"{fusion.standardisation} scores of each machine and section"),
    ]
    if fusion.labels is not None:
        found.append(("Labels", fusion.labels))
    if fusion.selected_from is not None:
        found.append(("Selected from", ", ".join(fusion.selected_from)))
    return found


def _weights(fusion: FusionResult, weights: Sequence[float], gallery: Gallery, folder: str) -> Html:
    spread, caption = None, "Weights of the fused systems."
    if fusion.bootstrap is not None:
        found = fusion.bootstrap
        spread = Spread(np.array(found.lower), np.array(found.upper))
        caption = (
            "Weights of the fused systems; lines: the middle 95 % when they are fitted to "
            f"{found.resamples} bootstrap samples of the labelled clips. Long lines say that other "
            "weights would do as well."
        )
    listed = ", ".join(
        f"{name} {100 * weight:.1f}" for name, weight in zip(fusion.systems, weights, strict=True)
    )
    figure = weights_figure(fusion.systems, np.array(weights), spread)
    return gallery.show(
        figure, folder, "fusion_weights", f"Fusion weights in percent: {listed}.", caption
    )


def _standings(fusion: FusionResult) -> list[Standing]:
    together = [
        ("this fusion", fusion.dev_score, "fitted"),
        ("left-out machines", _left_out_score(fusion), "out"),
        ("with last checkpoints", _left_out_score(fusion, "last_checkpoints"), "out"),
        ("equal weights", fusion.equal_weights, "mean"),
    ]
    found = [Standing(name, score, kind) for name, score, kind in together if score is not None]
    if fusion.alone is not None:
        found += map(Standing, fusion.systems, fusion.alone)
    return found


def _left_out_score(fusion: FusionResult, which: str = "score") -> float | None:
    return getattr(fusion.leave_one_machine_out, which, None)


def _how_honest(fusion: FusionResult) -> str:
    """What labels of left-out machines have chosen all the same."""
    left_out = fusion.leave_one_machine_out
    if left_out is None or not left_out.chosen:
        return ", which is the honest estimate"
    return f" of weights; their labels chose checkpoints or weights of {', '.join(left_out.chosen)}"


def _systems_table(fusion: FusionResult) -> Html:
    """Weight, score alone and spread of each system."""
    columns: list[tuple[str, Sequence[float]]] = []
    if fusion.weights is not None:
        columns.append(("Weight", fusion.weights))
    if fusion.bootstrap is not None:
        columns.append(("Bootstrap mean", fusion.bootstrap.mean))
        columns.append(("Deviation", fusion.bootstrap.std))
    if fusion.alone is not None:
        columns.append(("Score alone", fusion.alone))
    if not columns:
        return Html("")
    lines = [
        Line((name,), [f"{100 * values[place]:.2f}" for _, values in columns])
        for place, name in enumerate(fusion.systems)
    ]
    table = page.table(
        ["System", *(name for name, _ in columns)], lines, "Percent; the pictures' numbers"
    )
    return page.folded("The same as a table", table)


def _left_out_table(fusion: FusionResult) -> Html:
    """What was fitted without each machine, and how it does on that machine."""
    left_out = fusion.leave_one_machine_out
    if left_out is None:
        return Html("")
    lines = []
    for machine, found in sorted(left_out.machines.items(), key=lambda pair: pair[0].lower()):
        weights = zip(found.systems, found.weights, strict=True) if found.weights else ()
        used = ", ".join(
            f"{name} {100 * weight:.0f}" for name, weight in weights if weight >= SHOWN
        )
        lines.append(Line((machine,), [f"{100 * found.score:.2f}"], words=used or "none fitted"))
    lines.append(Line(("all",), [f"{100 * left_out.score:.2f}"], kind="total", words=" "))
    table = page.table(
        ["Machine", "Score", "Weights fitted on the others"],
        lines,
        "Percent; each machine scored with weights that were fitted without it",
    )
    return page.join([page.heading(4, "Leave one machine out"), table])
