"""Anomaly scores and labels -> the official result of an edition, or AUC and pAUC of one's own."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from dcase_asd.editions.edition import Edition, load_edition
from dcase_asd.errors import DataError, GroundTruthError, ScoresError
from dcase_asd.files import write_json, write_text
from dcase_asd.folders import editions_below, is_run, no_such_run
from dcase_asd.metrics.bootstrap import Interval, Intervals, confidence_interval, own_intervals
from dcase_asd.metrics.labels import (
    GroundTruth,
    clip_differences,
    find_ground_truth,
    in_words,
    join_by_name,
    label_by_names,
    label_by_truth,
)
from dcase_asd.metrics.official import Evaluation
from dcase_asd.metrics.official import evaluate as official_result
from dcase_asd.metrics.official_files import (
    Kind,
    find_official_files,
    official_clip_name,
    read_official_file,
)
from dcase_asd.metrics.result import EvaluationReport, result_table
from dcase_asd.metrics.strata import CONDITIONS, find_strata
from dcase_asd.progress import Progress, Silent
from dcase_asd.recipe.subset import EVERYTHING, Names, Subset
from dcase_asd.scores.table import (
    of_tests,
    part_of_scores,
    read_caveats,
    read_scores,
    scores_path,
    sections_of,
)

FEW = 10
"""Test clips of a condition below which the pAUC rests on less than one normal clip."""


def evaluate_run_or_folder(
    target: str | Path,
    edition: str,
    ground_truth: str | Path | None = None,
    *,
    machines: Names = (),
    sections: Names = (),
    exclude_editions: Names = (),
    resamples: int = 1000,
    seed: int = 0,
    progress: Progress | None = None,
) -> EvaluationReport:
    """Evaluate a system as the official evaluator of an edition does; one's own by AUC and pAUC.

    Args:
        target: A run folder with scores, or a folder with the official score (and decision) files
            of one system anywhere below it.
        edition: The edition whose recipe is followed.
        ground_truth: An official evaluator's folder or an ``eval_data_list*.csv``. Without it the
            labels are those in the clips' names, as in development sets.
        machines: Evaluate these machine types only; all if empty. The result over a part of what
            is scored, or of scores of a part, is not the official one, and says so.
        sections: Evaluate these sections only; likewise.
        exclude_editions: Editions that are not to be evaluated.
        resamples: Of the confidence interval; 0 leaves it out.
        seed: Of the resamples.
        progress: Where to tell what the user should know of.

    Returns:
        The report. Machines and sections that the ground truth does not cover, and clips without
        a label, are left out and named in its notes.

    Raises:
        DataError: The target does not exist, or is a file or data folder, or holds nothing of a
            subset.
        ScoresError: Scores are missing, malformed, duplicated or not finite.
        GroundTruthError: Labels are missing or do not match the scores.
    """
    progress = progress or Silent()
    rules, target = load_edition(edition), Path(target)
    asked = EVERYTHING.changed(machines, sections, exclude_editions)
    scores, subset = part_of_scores(_read_tests(target, rules), asked, target, rules.name)
    truth = find_ground_truth(ground_truth, rules, subset)
    result = evaluate_stage(
        scores, rules, truth, source=target, resamples=resamples, seed=seed, subset=subset
    )
    notes = (*read_caveats(target, rules.name), *result.notes)
    for sentence in notes:
        progress.note(sentence)
    if result.evaluation is None:
        raise result.fault or GroundTruthError  # one of both is there
    strata = find_strata(result.labelled)
    return EvaluationReport(
        edition=rules.name,
        target=target.resolve().name,
        labels=result.labels,
        evaluation=result.evaluation,
        interval=result.interval,
        clips={name: len(rows) for name, rows in zip(strata.names, strata.rows, strict=True)},
        complete=result.complete,
        notes=notes,
        intervals=result.intervals,
        subset=subset,
    )


@dataclass(frozen=True)
class StageResult:
    """What the labels of a set of test clips give.

    Attributes:
        labelled: Clips of a known condition as `metrics.official.evaluate` takes them, in the order
            of machines, sections and files; their index is that of the scores.
        labels: Where the labels are from: ``file names``, or the ground truth by its name.
        evaluation: The result; None where it is not defined.
        fault: Why it is not.
        interval: Bootstrap interval of its score; None without resamples.
        intervals: Of one's own machines, intervals of AUC and pAUC (see `own_intervals`).
        complete: Whether all machines and sections of the edition's stage were evaluated.
        notes: What is left out or missing, in sentences.
    """

    labelled: pd.DataFrame
    labels: str
    evaluation: Evaluation | None
    fault: GroundTruthError | None
    interval: Interval | None
    intervals: Intervals
    complete: bool
    notes: tuple[str, ...]


def evaluate_stage(
    scores: pd.DataFrame,
    edition: Edition,
    truth: GroundTruth | None = None,
    stage: str = "",
    *,
    source: str | Path = "the scores",
    resamples: int = 0,
    seed: int = 0,
    subset: Subset = EVERYTHING,
) -> StageResult:
    """Label test clips, leave out those without a label, evaluate the others, say what is missing.

    Args:
        scores: One row per test clip: ``machine``, ``section``, ``file``, ``score`` and perhaps
            ``stage`` and ``decision``.
        edition: Whose recipe and whose grammar of names are followed.
        truth: Labels of some sections; without it those in the clips' names count.
        stage: Only the clips of ``dev`` or ``eval``; empty for all.
        source: Where the scores are from, for messages.
        resamples: Of the confidence interval; 0 leaves it out.
        seed: Of the resamples.
        subset: What the scores are of; the rest of the edition is then not told to be missing.

    Returns:
        The result; labels that are missing or not enough are its `fault` and no error.

    Raises:
        ScoresError: A clip is scored twice, or belongs to another section than its row says.
    """
    tests = scores[scores["stage"] == stage] if stage else scores
    labelled, notes, missing = tests[:0].assign(domain="", condition=""), list[str](), list[str]()
    evaluation, fault, interval = None, None, None
    intervals: Intervals = {}
    try:
        if truth is None:
            labelled, notes = label_by_names(tests, edition, source)
        else:
            labelled, notes = label_by_truth(tests, truth.rows, source, truth.path)
        labelled = labelled.sort_values(["machine", "section", "file"])
        missing = _missing(labelled, edition, subset)
        notes += missing
        evaluation = official_result(labelled, edition.metric, strict=edition.official)
        notes += evaluation.left_out
        if resamples and edition.official:
            interval = confidence_interval(labelled, edition.metric, resamples=resamples, seed=seed)
        elif resamples:
            intervals = own_intervals(labelled, resamples=resamples, seed=seed)
            interval = intervals[""]["mean"]
        if not edition.official:
            notes += _few(labelled)
    except GroundTruthError as error:
        fault = error
    labels = "file names" if truth is None else f"ground truth {truth.path.resolve().name}"
    return StageResult(
        labelled,
        labels,
        evaluation,
        fault,
        interval,
        intervals,
        not (missing or subset),
        tuple(notes),
    )


def read_official_tables(
    folder: str | Path, edition: Edition, kinds: Collection[Kind]
) -> dict[Kind, pd.DataFrame]:
    """Some kinds of official files of a folder, of scores among them.

    Returns:
        Kind -> columns ``machine``, ``section``, ``file`` and ``score`` (or ``decision``); scores
        are there in any case.

    Raises:
        ScoresError: A file is missing or malformed.
    """
    tables: dict[Kind, list[pd.DataFrame]] = {}
    for file in find_official_files(folder, edition):
        if file.kind not in kinds:
            continue
        value = "decision" if file.kind == "decision" else "score"
        table = read_official_file(file.path).rename(columns={"value": value})
        if value == "decision" and not table["decision"].isin([0, 1]).all():
            wrong = table[~table["decision"].isin([0, 1])].iloc[0]
            raise ScoresError(
                f"{file.path}: the decision {wrong['decision']:g} of {wrong['file']} is neither "
                "0 nor 1"
            )
        table = table.assign(machine=file.machine, section=file.section)
        tables.setdefault(file.kind, []).append(table)
    return {kind: pd.concat(parts, ignore_index=True) for kind, parts in tables.items()}


def read_official_scores(folder: str | Path, edition: Edition) -> pd.DataFrame:
    """Scores of test clips of a folder of official files, and decisions where there are any.

    Returns:
        Columns ``machine``, ``section``, ``file``, ``score`` and perhaps ``decision``.

    Raises:
        ScoresError: A file is missing or malformed, or decisions and scores name different clips.
    """
    tables = read_official_tables(folder, edition, ("score", "decision"))
    scores, decisions = tables["score"], tables.get("decision")
    if decisions is None:
        return scores
    decisions["file"] = [official_clip_name(file) for file in decisions["file"]]
    different = clip_differences(
        scores, decisions, "scored but without a decision", "decided but not scored"
    )
    if different:
        raise ScoresError(
            f"{folder}: scores and decisions do not match: {different}; "
            "name every test clip once in both, or remove all decision files"
        )
    return join_by_name(scores, decisions)


def _read_tests(target: Path, edition: Edition) -> pd.DataFrame:
    """Scores of the test clips of a run, or of a folder of official files."""
    wanted = "; give a run folder or one with official score files"
    if not target.exists():
        raise DataError(no_such_run(target, wanted))
    if not target.is_dir() or editions_below(target):
        raise DataError(f"{target}: a {'data folder' if target.is_dir() else 'file'}{wanted}")
    # A folder of official files may have scores/ below it, too.
    if is_run(target) or scores_path(target, edition.name).is_file():
        scores = read_scores(target, edition.name)
        return of_tests(scores, target, edition.name).drop(columns="split")
    return read_official_scores(target, edition)


def _missing(labelled: pd.DataFrame, edition: Edition, subset: Subset) -> list[str]:
    """How the evaluated machines and sections differ from those of the edition, in sentences."""
    if not edition.official:
        return []
    evaluated = sections_of(labelled)
    stages = {
        stage: {
            (machine, section)
            for machine, found in machines.items()
            for section in found
            if subset.takes(machine, section)
        }
        for stage, machines in edition.machines.items()
    }
    unknown = evaluated.difference(*stages.values())
    said = [f"{in_words(unknown)} is not of {edition.name}, and counts all the same"]
    return said[: len(unknown)] + [
        f"only {len(evaluated & whole)} of {len(whole)} machine sections of the {stage} set of "
        f"{edition.name} are evaluated; without {in_words(whole - evaluated)}"
        for stage, whole in stages.items()
        if whole & evaluated and whole - evaluated
    ]


def _few(labelled: pd.DataFrame) -> list[str]:
    """Of which machines there are too few clips to tell anything, in sentences."""
    said = []
    for machine, clips in labelled.groupby("machine"):
        counts = [int((clips["condition"] == condition).sum()) for condition in CONDITIONS]
        if min(counts) < FEW:
            said.append(
                f"{machine}: {counts[0]} normal and {counts[1]} anomalous test clips; below {FEW} "
                "of each, AUC and above all pAUC can be far off, and so can their intervals"
            )
    return said


def write_results(
    reports: EvaluationReport | Sequence[EvaluationReport],
    *,
    json: str | Path | None = None,
    csv: str | Path | None = None,
    markdown: str | Path | None = None,
    latex: str | Path | None = None,
) -> list[Path]:
    """Write results in the formats that a path is given for; returns the paths.

    Args:
        reports: One, or several that stand side by side; the JSON of several is a list.
        json: Everything, in full precision.
        csv: The table, in percent.
        markdown: The table.
        latex: The table.

    Raises:
        ArtifactError: A file cannot be written.
    """
    alone = isinstance(reports, EvaluationReport)
    listed = [reports] if isinstance(reports, EvaluationReport) else list(reports)
    written, table = [], result_table(listed)
    if json is not None:
        written.append(Path(json))
        values = [report.to_json() for report in listed]
        write_json(written[-1], values[0] if alone else values)
    for path, text in ((csv, table.csv), (markdown, table.markdown), (latex, table.latex)):
        if path is not None:
            written.append(Path(path))
            write_text(written[-1], text())
    return written
