"""Anomaly scores and labels -> the official result of an edition, or AUC and pAUC of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from dcase_asd.editions.edition import Edition, load_edition
from dcase_asd.errors import DataError, ScoresError
from dcase_asd.files import write_json, write_text
from dcase_asd.folders import editions_below, is_run, no_such_run
from dcase_asd.metrics.bootstrap import confidence_interval, own_intervals
from dcase_asd.metrics.labels import (
    clip_differences,
    in_words,
    join_by_name,
    label_by_names,
    label_by_truth,
    labels_from_names,
    read_ground_truth,
    sections_of,
)
from dcase_asd.metrics.official import evaluate as official_result
from dcase_asd.metrics.official_files import (
    find_official_files,
    official_clip_name,
    read_official_file,
)
from dcase_asd.metrics.result import EvaluationReport, as_csv, as_latex, as_markdown
from dcase_asd.metrics.strata import CONDITIONS, find_strata
from dcase_asd.progress import Progress, Silent
from dcase_asd.scores.table import of_machines, of_tests, read_caveats, read_scores, scores_path

Key = tuple[str, str, str]
"""Machine, section and domain of a file; the domain is empty except in 2021."""


def evaluation_scores(
    scores: pd.DataFrame, edition: Edition, run: str | Path
) -> dict[Key, dict[str, float]]:
    """A run's scores of evaluation test clips: score file -> clip's file name -> score.

    Args:
        scores: What `scores.table.read_scores` returns.
        edition: Whose files.
        run: Where the scores are from, for messages.

    Raises:
        ScoresError: A clip does not name its domain, by which the edition sorts its files.
    """
    test = scores[(scores["stage"] == "eval") & (scores["split"] == "test")]
    by_domain = "{domain}" in edition.submission.score_file
    test = labels_from_names(test, edition) if by_domain else test.assign(domain="")
    hidden = test[test["domain"] == ""]
    if by_domain and not hidden.empty:
        raise ScoresError(
            f"{run}: {hidden['file'].iloc[0]} does not name its domain, by which {edition.name} "
            "sorts its files; score the clips under their official names"
        )
    return {
        (str(machine), str(section), str(domain)): dict(
            zip(clips["file"], clips["score"].astype(float), strict=True)
        )
        for (machine, section, domain), clips in test.sort_values("file").groupby(
            ["machine", "section", "domain"]
        )
    }


def read_official_scores(folder: str | Path, edition: Edition) -> pd.DataFrame:
    """Scores of a folder of official files, and decisions where there are decision files.

    Returns:
        Columns ``machine``, ``section``, ``file``, ``score`` and perhaps ``decision``.

    Raises:
        ScoresError: A file is missing or malformed, or decisions and scores name different clips.
    """
    tables: dict[str, list[pd.DataFrame]] = {"score": [], "decision": []}
    for file in find_official_files(folder, edition):
        table = read_official_file(file.path).rename(columns={"value": file.kind})
        if file.kind == "decision" and not table["decision"].isin([0, 1]).all():
            wrong = table[~table["decision"].isin([0, 1])].iloc[0]
            raise ScoresError(
                f"{file.path}: the decision {wrong['decision']:g} of {wrong['file']} is neither "
                "0 nor 1"
            )
        tables[file.kind].append(table.assign(machine=file.machine, section=file.section))
    scores = pd.concat(tables["score"], ignore_index=True)
    if not tables["decision"]:
        return scores
    decisions = pd.concat(tables["decision"], ignore_index=True)
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


FEW = 10
"""Test clips of a condition below which the pAUC rests on less than one normal clip."""


def evaluate_run_or_folder(
    target: str | Path,
    edition: str,
    ground_truth: str | Path | None = None,
    *,
    machines: Sequence[str] = (),
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
        machines: Evaluate these machine types only; all if empty.
        resamples: Of the confidence interval; 0 leaves it out.
        seed: Of the resamples.
        progress: Where to tell what the user should know of.

    Returns:
        The report. Machines and sections that the ground truth does not cover, and clips without
        a label, are left out and named in its notes.

    Raises:
        DataError: The target does not exist, or is a file or data folder.
        ScoresError: Scores are missing, malformed, duplicated or not finite.
        GroundTruthError: Labels are missing or do not match the scores.
    """
    rules = load_edition(edition)
    said = _Notes(progress or Silent())
    target = Path(target)
    ground_truth = None if ground_truth is None else Path(ground_truth)
    scores = _read_scores(target, rules)
    for sentence in read_caveats(target, rules.name):
        said.note(sentence)
    scores = of_machines(scores, machines, target)
    if ground_truth is None:
        labelled, left_out = label_by_names(scores, rules, target)
    else:
        truth = read_ground_truth(ground_truth, rules)
        if machines:
            truth = truth[truth["machine"].isin(machines)]
        labelled, left_out = label_by_truth(scores, truth, target, ground_truth)
    for sentence in left_out:
        said.note(sentence)
    labelled = labelled.sort_values(["machine", "section", "file"], ignore_index=True)
    complete = _is_complete(labelled, rules, said)
    evaluation = official_result(labelled, rules.metric, strict=rules.official)
    for sentence in evaluation.left_out:
        said.note(sentence)
    interval, intervals = None, {}
    if resamples and rules.official:
        interval = confidence_interval(labelled, rules.metric, resamples=resamples, seed=seed)
    elif resamples:
        intervals = own_intervals(labelled, resamples=resamples, seed=seed)
        interval = intervals[""]["mean"]
    strata = find_strata(labelled)
    if not rules.official:
        _note_few(labelled, said)
    return EvaluationReport(
        edition=rules.name,
        target=target.resolve().name,
        labels=f"ground truth {ground_truth.resolve().name}" if ground_truth else "file names",
        evaluation=evaluation,
        interval=interval,
        clips={name: len(rows) for name, rows in zip(strata.names, strata.rows, strict=True)},
        complete=complete,
        notes=tuple(said.notes),
        intervals=intervals,
    )


def write_results(
    report: EvaluationReport,
    *,
    json: str | Path | None = None,
    csv: str | Path | None = None,
    markdown: str | Path | None = None,
    latex: str | Path | None = None,
) -> list[Path]:
    """Write a report in the formats that a path is given for; returns the paths.

    Raises:
        ArtifactError: A file cannot be written.
    """
    written = []
    if json is not None:
        written.append(Path(json))
        write_json(written[-1], report.to_json())
    for path, text in ((csv, as_csv), (markdown, as_markdown), (latex, as_latex)):
        if path is not None:
            written.append(Path(path))
            write_text(written[-1], text(report.evaluation, report.target, report.intervals))
    return written


class _Notes:
    """Tells the user and keeps what was said for the report."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)
        self.progress.note(message)


def _read_scores(target: Path, edition: Edition) -> pd.DataFrame:
    wanted = "; give a run folder or one with official score files"
    if not target.exists():
        raise DataError(no_such_run(target, wanted))
    if not target.is_dir() or editions_below(target):
        raise DataError(f"{target}: a {'data folder' if target.is_dir() else 'file'}{wanted}")
    # A folder of official files may have scores/ below it, too.
    of_run = is_run(target) or scores_path(target, edition.name).is_file()
    return _read_run(target, edition) if of_run else read_official_scores(target, edition)


def _read_run(run: Path, edition: Edition) -> pd.DataFrame:
    scores = read_scores(run, edition.name)
    return of_tests(scores, run, edition.name).drop(columns="split")


def _note_few(labelled: pd.DataFrame, said: _Notes) -> None:
    """Say of which machines there are too few clips to tell anything."""
    for machine, clips in labelled.groupby("machine"):
        counts = [int((clips["condition"] == condition).sum()) for condition in CONDITIONS]
        if min(counts) < FEW:
            said.note(
                f"{machine}: {counts[0]} normal and {counts[1]} anomalous test clips; below {FEW} "
                "of each, AUC and above all pAUC can be far off, and so can their intervals"
            )


def _is_complete(labelled: pd.DataFrame, edition: Edition, said: _Notes) -> bool:
    """Whether the evaluated machines and sections are those of the edition; says what differs."""
    if not edition.official:
        return True
    evaluated = sections_of(labelled)
    stages = {
        stage: {(machine, section) for machine, found in machines.items() for section in found}
        for stage, machines in edition.machines.items()
    }
    unknown = evaluated.difference(*stages.values())
    if unknown:
        said.note(f"{in_words(unknown)} is not of {edition.name}, and counts all the same")
    missing = {stage: pairs - evaluated for stage, pairs in stages.items() if pairs & evaluated}
    for stage, pairs in missing.items():
        if pairs:
            said.note(
                f"only {len(evaluated & stages[stage])} of {len(stages[stage])} machine sections "
                f"of the {stage} set of {edition.name} are evaluated; without {in_words(pairs)}"
            )
    return not unknown and not any(missing.values())
