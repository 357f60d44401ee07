"""A challenge package -> everything that is wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import get_args

import pandas as pd

from dcase_asd.clips.manifest import clips_of_edition, read_manifest
from dcase_asd.editions.edition import Edition, load_edition
from dcase_asd.embeddings.rules import run_objections
from dcase_asd.errors import (
    DataError,
    ScoresError,
    SubmissionError,
    TooFewClipsError,
    command,
    nearest_name,
)
from dcase_asd.metrics.official_files import official_clip_name
from dcase_asd.scores.table import read_caveats, read_scores
from dcase_asd.scores.threshold import ThresholdRule
from dcase_asd.submission.check import check_package
from dcase_asd.submission.meta import system_facts
from dcase_asd.submission.official_files import (
    Key,
    evaluation_scores,
    official_files,
    reason_against,
)
from dcase_asd.submission.package import TASK_FOLDER, Problem, error, read_package, warning
from dcase_asd.submission.run_check import RunContent, check_against_run, run_content


@dataclass(frozen=True)
class Validation:
    """What was looked at, and all that was found.

    `clips` counts the evaluation test clips that each system must score; `files` the files of the
    package.
    """

    package: Path
    edition: str
    systems: list[str]
    files: int
    clips: int
    problems: list[Problem]

    @property
    def errors(self) -> int:
        """How many findings keep the package from being accepted."""
        return sum(problem.level == "error" for problem in self.problems)

    @property
    def warnings(self) -> int:
        """How many findings the author should look at."""
        return len(self.problems) - self.errors

    def accepted(self, strict: bool = False) -> bool:
        """Whether nothing is wrong; with `strict` a warning is wrong too."""
        return not (self.problems if strict else self.errors)


def validate(
    package: str | Path,
    edition: str,
    data: str | Path,
    runs: Sequence[str | Path] = (),
    *,
    quantile: float = 0.9,
) -> Validation:
    """Check a challenge package.

    Args:
        package: The zip or the folder that `submit` makes; nothing is unpacked to disk.
        edition: Whose rules hold.
        data: Data folder with the manifest of the edition's evaluation set.
        runs: Run folders to compare scores, results and what was trained on with: one for each
            system in the order of the labels, or ``LABEL=FOLDER``.
        quantile: That the decisions were submitted with.

    Returns:
        All errors and warnings.

    Raises:
        SubmissionError: There is no package, or a run belongs to no system.
        DataError: The data folder holds no evaluation test clip of the edition.
        ScoresError: A run has no scores of the edition.
    """
    package, rules = Path(package), load_edition(edition)
    clips = _evaluation_clips(data, rules)
    content = read_package(package)
    files = content.systems()
    systems = list(files)
    folders = _runs_of_systems(runs, systems)
    held: dict[str, RunContent] = {}
    for label, run in folders.items():
        scores = read_scores(run, rules.name)
        by_file = evaluation_scores(scores, rules, run)
        decisions = _decisions(run, scores, rules, quantile)
        held[label] = run_content(by_file, rules, system_facts(run, scores, rules), decisions)
    computed = {label: each.facts.results for label, each in held.items()}
    problems = check_package(content, rules, clips, computed)
    for label, run in folders.items():
        problems += check_against_run(label, files[label], held[label])
        problems += _check_rules(run, rules, f"{TASK_FOLDER}/{label}")
    return Validation(
        package=package, edition=rules.name, systems=systems, files=len(content.files),
        clips=sum(map(len, clips.values())), problems=problems,
    )  # fmt: skip


def _decisions(
    run: Path, scores: pd.DataFrame, edition: Edition, quantile: float
) -> dict[str, dict[str, str]]:
    """Threshold rule -> files that a run would be submitted with; without rules that fail."""
    found = {}
    for rule in get_args(ThresholdRule) if edition.submission.decision_file else ():
        with suppress(ScoresError, TooFewClipsError):
            files, _, _ = official_files(run, scores, edition, quantile, rule)
            found[rule] = {name: text for name, text in files.items() if "decision" in name}
    return found


def _check_rules(run: Path, edition: Edition, where: str) -> list[Problem]:
    """What the rules have against how a run was made."""
    reason = reason_against(run, edition)
    return [
        *([error(where, reason)] if reason else []),
        *(Problem(each.level, where, str(each)) for each in run_objections(run, edition)),
        *(warning(where, sentence) for sentence in read_caveats(run, edition.name)),
    ]


def _evaluation_clips(data: str | Path, edition: Edition) -> dict[Key, set[str]]:
    clips = clips_of_edition(read_manifest(data), edition.name, data)
    test = clips[
        (clips["stage"] == "eval") & (clips["split"] == "test") & (clips["role"] == "machine")
    ]
    if test.empty:
        raise DataError(
            f"{data}: holds no evaluation test clip of {edition.name} to check the package by; "
            f"put its eval_data there and run {command('prepare', '--data', data)} again"
        )
    by_domain = "{domain}" in edition.submission.score_file
    expected: dict[Key, set[str]] = {}
    columns = (test[name] for name in ("machine", "section", "domain", "path"))
    for machine, section, domain, path in zip(*columns, strict=True):
        name = official_clip_name(PurePosixPath(path).name)
        expected.setdefault((machine, section, domain if by_domain else ""), set()).add(name)
    return expected


def _runs_of_systems(runs: Sequence[str | Path], systems: list[str]) -> dict[str, Path]:
    if not systems:  # told where the package is checked
        return {}
    named: dict[str, Path] = {}
    unnamed: list[Path] = []
    for run in runs:
        label, equals, folder = str(run).partition("=")
        if not equals or Path(run).is_dir():
            unnamed.append(Path(run))
        elif label in systems:
            named[label] = Path(folder)
        else:
            raise SubmissionError(
                f"--run {run}: the package has no system {label}; {nearest_name(label, systems)}"
            )
    free = [label for label in systems if label not in named]
    if len(unnamed) > len(free):
        raise SubmissionError(
            f"{len(runs)} runs for {len(systems)} system(s); give --run once for each system"
        )
    return {**named, **dict(zip(free, unnamed, strict=False))}
