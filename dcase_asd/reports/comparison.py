"""How systems compare: whether they agree, how far their scores have moved, how training went."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from dcase_asd.errors import TooFewClipsError
from dcase_asd.fusion.robustness import normal_shift, spread
from dcase_asd.metrics.ranking import Floats
from dcase_asd.reports.figures.bars import FARTHEST, QUANTILES, shift_figure
from dcase_asd.reports.figures.heat_map import NONE, heat_map
from dcase_asd.reports.figures.style import Gallery, Picture
from dcase_asd.reports.figures.training import checkpoints_figure, history_figure
from dcase_asd.reports.read import ReportedSystem, Stage
from dcase_asd.reports.results import Line, Table

FULL_COLOR = 1.0
"""Least distance, in units of the train scores' spread, that is drawn in full color."""
STAGE_CLIPS = {"dev": "development", "eval": "evaluation"}
CLIP = ["stage", "machine", "section", "file"]
FEWEST_CLIPS = 3
"""Of fewer, ranks say nothing."""


@dataclass(frozen=True)
class Agreement:
    """Rank correlations of systems.

    Attributes:
        names: The systems.
        correlations: Spearman's, of the ranks of each pair, (systems, systems), in [-1, 1]; NaN
            where it is not defined.
        clips: Number of test clips that all systems scored.
        sections: Number of machine sections that they are means over.
    """

    names: tuple[str, ...]
    correlations: Floats
    clips: int
    sections: int


@dataclass(frozen=True)
class Shift:
    """A section's scores in units of its train scores' spread, and how far normal ones moved."""

    label: str
    train: Floats
    test: Floats
    distance: float


def agreement(tests: Mapping[str, pd.DataFrame], gallery: Gallery) -> dict[str, Any] | None:
    """Whether systems agree: a heat map of rank correlations, and the same as a table.

    Args:
        tests: As for `rank_correlations`.
        gallery: Takes the picture.

    Returns:
        ``picture`` and ``table``; None where no correlation is known.
    """
    found = rank_correlations(tests)
    if found is None:
        return None
    names = found.names
    values = found.correlations
    others = values[~np.eye(len(names), dtype=bool)]
    alt = (
        f"Rank correlation of the test scores of {len(names)} systems, times 100: from "
        f"{100 * np.nanmin(others):.0f} to {100 * np.nanmax(others):.0f}."
        if np.isfinite(others).any()
        else "Rank correlation of test scores: not defined, as scores are equal."
    )
    known = others[np.isfinite(others)]
    palest = float(np.clip(known.min(initial=0.9), 0.0, 0.9))
    figure = heat_map(names, names, values, lambda value: f"{100 * value:.0f}", (palest, 1.0))
    caption = (
        f"Spearman's rank correlation of {found.clips} test clips, times 100: the mean over "
        f"{found.sections} machine sections. Systems that agree less have more to give to a fusion."
    )
    lines = [
        Line((name,), [NONE if np.isnan(value) else f"{value:.3f}" for value in row])
        for name, row in zip(names, values, strict=True)
    ]
    return {
        "picture": gallery.show(figure, "correlation", alt, caption),
        "table": Table(["System", *names], lines, "Spearman's rank correlation of test scores"),
    }


def rank_correlations(tests: Mapping[str, pd.DataFrame]) -> Agreement | None:
    """Whether systems put test clips into the same order.

    Spearman's correlation within each machine and section, averaged over these, as levels of
    machines are not what systems should agree on.

    Args:
        tests: System -> test scores with the columns of `CLIP` and ``score``.

    Returns:
        None for a single system, or where they share no section.
    """
    if len(tests) < 2:  # noqa: PLR2004 - a pair
        return None
    columns = {name: table.set_index(CLIP)["score"] for name, table in tests.items()}
    together = pd.concat(columns, axis=1, join="inner")
    matrices = [
        scores.corr("spearman")
        for _, scores in together.groupby(level=[0, 1, 2])
        if len(scores) >= FEWEST_CLIPS
    ]
    if not matrices:
        return None
    # A system with equal scores agrees with nobody: its correlations are NaN, and left out here.
    means = pd.concat(matrices).groupby(level=0, sort=False).mean()
    return Agreement(tuple(tests), means.to_numpy(dtype=np.float64), len(together), len(matrices))


def robustness(systems: Sequence[ReportedSystem], gallery: Gallery) -> Picture | None:
    """A heat map of how far scores of each system and machine have moved."""
    name = "eval" if any(system.stage("eval") for system in systems) else "dev"
    with_stage = [(system, stage) for system in systems if (stage := system.stage(name))]
    table = pd.DataFrame(
        [{each.label: each.distance for each in shifts(stage)[0]} for _, stage in with_stage]
    )
    if table.columns.empty or len(table) < 2:  # noqa: PLR2004 - a comparison
        return None
    names = [system.name for system, _ in with_stage]
    values = table.to_numpy(dtype=np.float64)
    return distance_map(names, [*table.columns], values, gallery, STAGE_CLIPS[name])


def distance_map(
    names: Sequence[str], machines: Sequence[str], table: Floats, gallery: Gallery, clips: str
) -> Picture:
    """Distances of systems (rows) and machines (columns) as a heat map."""
    means = [float(np.nanmean(row)) if np.isfinite(row).any() else np.nan for row in table]
    ranked = [f"{name} {mean:.2f}" for name, mean in zip(names, means, strict=True)]
    alt = f"Move of {clips} from train scores, mean over machines: {', '.join(ranked)}."
    full = max(FULL_COLOR, float(np.nanquantile(table, 0.9)))
    figure = heat_map(
        [*names], [*machines, "mean"], np.column_stack([table, means]), _short, (0.0, full)
    )
    caption = (
        f"How far the lowest tenth of the {clips} scores, which normal clips have, has moved from "
        "leave-one-out train scores, in standard deviations of their middle half. No label is used "
        "and it does not depend on how far anomalies stand out; smaller is more robust."
    )
    return gallery.show(figure, "robustness", alt, caption)


def shift(stage: Stage, gallery: Gallery) -> tuple[Picture | None, list[str]]:
    """Where the test scores of each machine lie beside its train scores."""
    found, lacking = shifts(stage)
    if not found:
        return None, lacking
    labels = [each.label for each in found]
    figure = shift_figure(labels, [each.train for each in found], [each.test for each in found])
    alt = (
        f"Scores of train and {STAGE_CLIPS[stage.name]} clips of each machine in standard "
        f"deviations of the train scores' middle half; moves of normal clips: {_listed(found)}."
    )
    caption = (
        "Thin line: 5th to 95th percentile; bar: the middle half; tick: median. Anomalies belong "
        "to the test clips, so their upper part must lie higher. By the lowest tenth, normal clips "
        f"have moved by {_listed(found)}."
    )
    if any(np.quantile(np.abs(each.test), QUANTILES[-1]) > FARTHEST for each in found):
        caption += f" Lines are cut at {FARTHEST:g}."
    return gallery.show(figure, f"{stage.name}_shift", alt, caption), lacking


def shifts(stage: Stage) -> tuple[list[Shift], list[str]]:
    """How far scores of each section's normal clips have moved from train to test clips.

    Returns:
        The shifts of sections where one is defined, and sentences about the others.
    """
    found, lacking = [], []
    for section in stage.sections:
        label = stage.label(section)
        train, test = section.train, section.scores()
        try:
            moved = normal_shift(train, test)
        except TooFewClipsError as error:
            lacking.append(f"{label}: {error}")
            continue
        middle, unit = np.median(train), spread(train)
        found.append(Shift(label, (train - middle) / unit, (test - middle) / unit, moved))
    return found, lacking


def training(system: ReportedSystem, gallery: Gallery) -> list[Picture]:
    """How its backbone was pre-trained here and how it was fine-tuned, over the steps.

    Loss, accuracy, dev score and learning rate; of a pre-training what would show a collapse.
    """
    quantities = {
        "loss": ("loss", 1.0, True),
        "accuracy": ("accuracy, %", 100.0, True),
        "effective_rank": ("effective rank of [CLS]", 1.0, True),
        "target_var": ("deviation of targets", 1.0, True),
        "pred_var": ("deviation of predictions", 1.0, True),
        "teacher_decay": ("decay of the teacher", 1.0, False),
        "learning_rate": ("learning rate", 1.0, False),
    }
    histories = {"Pre-training": system.pretraining, "Training": system.history}
    shown = []
    for (what, history), (key, (label, scale, smooth)) in itertools.product(
        histories.items(), quantities.items()
    ):
        entries = [(entry["step"], scale * entry[key]) for entry in history if key in entry]
        if entries:
            steps, values = np.array(entries, dtype=np.float64).T
            title = label if what == "Training" else f"{what}: {label}"
            figure = history_figure(steps, values, title, smooth=smooth)
            alt = (
                f"{what} of {system.name}, {label}: from {values[0]:.4g} at step {steps[0]:.0f} "
                f"to {values[-1]:.4g} at step {steps[-1]:.0f}."
            )
            name = what.lower().replace("-", "")
            shown.append(gallery.show(figure, f"{name}_{key}", alt))
    entries = [(e["step"], e["dev_score"]) for e in system.history if "dev_score" in e]
    if entries:
        steps, values = np.array(entries, dtype=np.float64).T
        chosen = _scored_steps(system)
        figure = checkpoints_figure(steps, values, chosen)
        said = f" Scored: steps {', '.join(map(str, sorted(chosen)))}." if chosen else ""
        alt = (
            f"Dev score of {len(values)} checkpoints of {system.name}: best "
            f"{100 * values.max():.2f} % at step {steps[values.argmax()]:.0f}.{said}"
        )
        shown.append(gallery.show(figure, "training_dev_score", alt))
    return shown


def _scored_steps(system: ReportedSystem) -> set[int]:
    if system.kept is None:
        return set()
    return {each.step for each in system.kept.checkpoints if each.file in system.kept.scored}


def _listed(found: Sequence[Shift]) -> str:
    return ", ".join(f"{each.label} {each.distance:.2f}" for each in found)


def _short(value: float) -> str:
    """At most four letters."""
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"  # noqa: PLR2004
