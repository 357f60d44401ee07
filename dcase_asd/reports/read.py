"""What a report tells of a system: read from its run folder, and evaluated."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dcase_asd.editions.edition import Edition
from dcase_asd.embeddings.kept import KeptCheckpoints, read_kept
from dcase_asd.fusion.result import FusionResult, read_fusion
from dcase_asd.metrics.bootstrap import Interval
from dcase_asd.metrics.evaluate import StageResult, evaluate_stage
from dcase_asd.metrics.labels import GroundTruth, label_by_truth, labels_from_names
from dcase_asd.metrics.official import Evaluation, SectionResult
from dcase_asd.metrics.ranking import Floats
from dcase_asd.metrics.roc import RocCurve, roc_curves
from dcase_asd.recipe.subset import EVERYTHING, Subset
from dcase_asd.recipe.system import recipe_path
from dcase_asd.registry import PRETRAINING_RECIPE
from dcase_asd.scores.table import (
    of_tests,
    part_of_scores,
    read_provenance,
    read_scores,
    sections_of,
)
from dcase_asd.training.history import read_history

STAGES = {"dev": "Development set", "eval": "Evaluation set"}
ORDER = ["machine", "section", "file"]


@dataclass(frozen=True)
class MachineSection:
    """The scores of one section of a machine.

    Attributes:
        machine: Machine type.
        section: Section.
        train: Leave-one-out scores of its train clips, (n,).
        train_domains: Their domains, (n,); empty where unknown.
        tests: One row per test clip: ``domain``, ``condition`` (empty where unknown), ``score``.
        results: Its official values; of each domain in 2021; none without labels.
        curves: Its ROC curves; none without labels.
    """

    machine: str
    section: str
    train: Floats
    train_domains: NDArray[np.str_]
    tests: pd.DataFrame
    results: tuple[SectionResult, ...]
    curves: tuple[RocCurve, ...]

    def scores(self, condition: str | None = None, domain: str | None = None) -> Floats:
        """Scores of test clips of a condition and domain; None stands for any."""
        rows = self.tests
        if condition is not None:
            rows = rows[rows["condition"] == condition]
        if domain is not None:
            rows = rows[rows["domain"] == domain]
        return rows["score"].to_numpy(dtype=np.float64)


@dataclass(frozen=True)
class Stage:
    """A system's scores of the development or of the evaluation set.

    Attributes:
        name: ``dev`` or ``eval``.
        labels: Where the labels are from; empty where there are none.
        sections: Each machine type and section, by name.
        evaluation: The official result; None without labels.
        interval: Its bootstrap interval.
        notes: What the reader should know of.
    """

    name: str
    labels: str
    sections: tuple[MachineSection, ...]
    evaluation: Evaluation | None
    interval: Interval | None
    notes: tuple[str, ...]

    @property
    def title(self) -> str:
        """The stage in words."""
        return STAGES[self.name]

    def label(self, section: MachineSection) -> str:
        """What to call a section: by its machine alone where that has no other."""
        machines = Counter(each.machine for each in self.sections)
        several = machines[section.machine] > 1
        return f"{section.machine}, section {section.section}" if several else section.machine


@dataclass(frozen=True)
class ReportedSystem:
    """All that is known of a system.

    Attributes:
        name: What the report calls it.
        run: Its run folder.
        provenance: What made its scores.
        tests: Its test scores as they stand in the file.
        stages: What it has scored.
        fusion: Where it is a fusion, what that found out.
        history: Where it was fine-tuned, the entries of its training history.
        pretraining: Where its checkpoint is a pre-training's run folder, the entries of that.
        kept: Where it was fine-tuned, its checkpoints.
        recipe: The text of its recipe; empty where there is none.
        subset: Which machine types and sections these are; over some of them a score is not the
            official one.
    """

    name: str
    run: Path
    provenance: dict[str, Any]
    tests: pd.DataFrame
    stages: tuple[Stage, ...]
    fusion: FusionResult | None
    history: tuple[dict[str, float], ...]
    pretraining: tuple[dict[str, float], ...]
    kept: KeptCheckpoints | None
    recipe: str
    subset: Subset = EVERYTHING

    def stage(self, name: str) -> Stage | None:
        """One of its stages; None where it has no scores of it."""
        return next((stage for stage in self.stages if stage.name == name), None)


def read_reported_system(
    run: Path,
    name: str,
    edition: Edition,
    truth: GroundTruth | None,
    *,
    resamples: int,
    asked: Subset = EVERYTHING,
) -> ReportedSystem:
    """Read what a run folder holds of an edition, or a subset, and evaluate what has labels.

    Raises:
        ScoresError: There are no scores.
        DataError: There are none of the subset that is asked for.
        GroundTruthError: The ground truth names other clips.
        ClipNameError: A test clip's name follows no grammar of the edition.
        ArtifactError: A file is damaged.
    """
    provenance = read_provenance(run, edition.name)
    whole = read_scores(run, edition.name)
    scores, subset = part_of_scores(whole, asked, run, edition.name)
    if truth is not None and subset:
        rows = truth.rows[subset.mask(truth.rows)]
        truth = None if rows.empty else GroundTruth(rows, truth.path)
    tests = of_tests(scores, run, edition.name)
    path = recipe_path(run)
    recipe = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    return ReportedSystem(
        name=name,
        run=run,
        provenance=provenance,
        tests=tests,
        stages=tuple(_stages(run, scores, edition, truth, resamples, subset)),
        fusion=read_fusion(run, edition.name),
        history=read_history(run),
        pretraining=_pretraining(recipe),
        kept=read_kept(run),
        recipe=recipe,
        subset=subset,
    )


def _pretraining(recipe: str) -> tuple[dict[str, float], ...]:
    """The history of the pre-training whose run folder a recipe names as its checkpoint."""
    try:
        embed = tomllib.loads(recipe).get("embed")
    except tomllib.TOMLDecodeError:  # shown as it stands
        return ()
    checkpoint = embed.get("checkpoint") if isinstance(embed, dict) else None
    if isinstance(checkpoint, str) and (Path(checkpoint) / PRETRAINING_RECIPE).is_file():
        return read_history(checkpoint)
    return ()


def names_of(runs: Sequence[Path]) -> list[str]:
    """What to call runs: by their folders, with those above where these would be the same."""
    whole = [run.resolve() for run in runs]
    lengths = range(1, max(len(path.parts) for path in whole) + 1)
    each = (["/".join(path.parts[-length:]) for path in whole] for length in lengths)
    return next(names for names in each if len(set(names)) == len(names))


def _stages(
    run: Path,
    scores: pd.DataFrame,
    edition: Edition,
    truth: GroundTruth | None,
    resamples: int,
    subset: Subset,
) -> Iterator[Stage]:
    covered = sections_of(truth.rows) if truth is not None else set()
    tests = scores[scores["split"] == "test"]
    if truth is not None and not covered & sections_of(tests):
        label_by_truth(tests, truth.rows, run, truth.path)  # says what does not fit
    for name in STAGES:
        mine = tests[tests["stage"] == name]
        if mine.empty:
            continue
        shown = labels_from_names(mine, edition)
        blind = shown[shown["condition"] == ""]
        of_blind = truth if covered & sections_of(blind) else None
        result = evaluate_stage(
            mine, edition, of_blind, source=run, resamples=resamples, subset=subset
        )
        known, notes = result.labelled, [*result.notes]
        if result.fault is not None and of_blind is not None and known.empty:
            raise result.fault
        if result.fault is not None and not known.empty:
            notes.append(f"No {'official ' * edition.official}result: {result.fault}")
        shown["condition"] = ""
        shown.loc[known.index, ["domain", "condition"]] = known[["domain", "condition"]]
        train = scores[(scores["split"] == "train") & (scores["stage"] == name)]
        yield Stage(
            name=name,
            labels="" if known.empty else result.labels,
            sections=_sections(shown, labels_from_names(train, edition, "train"), result, edition),
            evaluation=result.evaluation,
            interval=result.interval,
            notes=tuple(notes),
        )


def _sections(
    tests: pd.DataFrame, train: pd.DataFrame, result: StageResult, edition: Edition
) -> tuple[MachineSection, ...]:
    """The scores of each section, with the values and curves of those that have a result."""
    evaluation, curves = result.evaluation, list[RocCurve]()
    results = () if evaluation is None else evaluation.sections
    if evaluation is not None:
        curves = roc_curves(result.labelled, edition.metric, strict=edition.official)
    of_train = dict(list(train.groupby(["machine", "section"])))
    sections = [
        MachineSection(
            str(key[0]),
            str(key[1]),
            of_train.get(key, train[:0])["score"].to_numpy(dtype=np.float64),
            of_train.get(key, train[:0])["domain"].to_numpy(dtype=str),
            rows,
            tuple(each for each in results if (each.machine, each.section) == key),
            tuple(each for each in curves if (each.machine, each.section) == key),
        )
        for key, rows in tests.sort_values(ORDER).groupby(["machine", "section"], sort=True)
    ]
    return tuple(sorted(sections, key=lambda each: (each.machine.lower(), each.section)))
