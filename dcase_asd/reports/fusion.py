"""The part of a report that shows a fusion: its weights, and how far they can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dcase_asd.fusion.result import FusionResult
from dcase_asd.metrics.official import score_word
from dcase_asd.reports.comparison import distance_map
from dcase_asd.reports.figures.bars import Standing, standings_figure, weights_figure
from dcase_asd.reports.figures.style import Gallery, Picture
from dcase_asd.reports.results import Line, Table, score_title

SHOWN = 0.005
"""Smaller weights are left out of lists of weights in whole percent."""


def fusion_parts(fusion: FusionResult, gallery: Gallery) -> dict[str, Any]:
    """What a fusion found out; empty or None where it was not computed."""
    pictures = []
    if fusion.weights is not None:
        pictures.append(_weights(fusion, fusion.weights, gallery))
    standings = _standings(fusion)
    if len(standings) > 1:
        listed = ", ".join(f"{each.name} {100 * each.score:.2f}" for each in standings)
        caption = (
            "Each system alone, fusions of them that no label decides on, and this fusion, on the "
            "labels that its weights were fitted to; and on machines that were left out of the fit"
            f"{_how_honest(fusion)}."
        )
        alt = f"{score_title(fusion.metric)} in percent: {listed}."
        figure = standings_figure(standings, score_word(fusion.metric))
        pictures.append(gallery.show(figure, "fusion_scores", alt, caption))
    return {
        "facts": _facts(fusion),
        "notes": fusion.notes,
        "pictures": pictures,
        "systems": _systems_table(fusion),
        "left_out": _left_out_table(fusion),
        "robustness": _robustness(fusion, gallery),
    }


def _robustness(fusion: FusionResult, gallery: Gallery) -> Picture | None:
    """How far scores of the systems that were given have moved; None where it is not known."""
    found = fusion.robustness
    if found is None or not found.machines:
        return None
    table = np.array(found.distance, dtype=np.float64)
    return distance_map(found.systems, found.machines, table, gallery, "evaluation")


def _facts(fusion: FusionResult) -> list[tuple[str, str]]:
    found = [
        ("Method", f"{fusion.method} ({fusion.searched})" if fusion.searched else fusion.method),
        ("Standardized by", f"{fusion.standardisation} scores of each machine and section"),
    ]
    if fusion.labels is not None:
        found.append(("Labels", fusion.labels))
    if fusion.selected_from is not None:
        found.append(("Selected from", ", ".join(fusion.selected_from)))
    return found


def _weights(fusion: FusionResult, weights: Sequence[float], gallery: Gallery) -> Picture:
    spread, caption = None, "Weights of the fused systems."
    if fusion.bootstrap is not None:
        found = fusion.bootstrap
        spread = (np.array(found.lower), np.array(found.upper))
        caption = (
            "Weights of the fused systems; lines: the middle 95 % when they are fitted to "
            f"{found.resamples} bootstrap samples of the labelled clips. Long lines say that other "
            "weights would do as well."
        )
    listed = ", ".join(
        f"{name} {100 * weight:.1f}" for name, weight in zip(fusion.systems, weights, strict=True)
    )
    figure = weights_figure(fusion.systems, np.array(weights), spread)
    return gallery.show(figure, "fusion_weights", f"Fusion weights in percent: {listed}.", caption)


def _standings(fusion: FusionResult) -> list[Standing]:
    left_out = fusion.leave_one_machine_out
    together = [
        ("this fusion", fusion.dev_score, "fitted"),
        ("left-out machines", left_out.score if left_out else None, "out"),
        ("with last checkpoints", left_out.last_checkpoints if left_out else None, "out"),
        ("equal weights", fusion.equal_weights, "mean"),
        *(
            (method, found.dev_score, "mean")
            for method, found in fusion.label_free.items()
            if method != "mean"
        ),
    ]
    found = [Standing(name, score, kind) for name, score, kind in together if score is not None]
    if fusion.alone is not None:
        found += map(Standing, fusion.systems, fusion.alone)
    return found


def _how_honest(fusion: FusionResult) -> str:
    """What labels of left-out machines have chosen all the same."""
    left_out = fusion.leave_one_machine_out
    if left_out is None or not left_out.chosen:
        return ", which is the honest estimate"
    return f" of weights; their labels chose checkpoints or weights of {', '.join(left_out.chosen)}"


def _systems_table(fusion: FusionResult) -> Table | None:
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
        return None
    lines = [
        Line((name,), [f"{100 * values[place]:.2f}" for _, values in columns])
        for place, name in enumerate(fusion.systems)
    ]
    heads = ["System", *(name for name, _ in columns)]
    return Table(heads, lines, "Percent; the pictures' numbers")


def _left_out_table(fusion: FusionResult) -> Table | None:
    """What was fitted without each machine, and how it does on that machine."""
    left_out = fusion.leave_one_machine_out
    if left_out is None:
        return None
    lines = []
    for machine, found in sorted(left_out.machines.items(), key=lambda pair: pair[0].lower()):
        weights = zip(found.systems, found.weights, strict=True) if found.weights else ()
        used = ", ".join(
            f"{name} {100 * weight:.0f}" for name, weight in weights if weight >= SHOWN
        )
        lines.append(Line((machine,), [f"{100 * found.score:.2f}"], words=used or "none fitted"))
    lines.append(Line(("all",), [f"{100 * left_out.score:.2f}"], kind="total", words=""))
    return Table(
        ["Machine", "Score", "Weights fitted on the others"],
        lines,
        "Percent; each machine scored with weights that were fitted without it",
    )
