"""A run's evaluation scores -> a system in a challenge package."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from dcase_asd.editions.edition import Edition, load_edition
from dcase_asd.embeddings.rules import run_objections
from dcase_asd.errors import SubmissionError, some
from dcase_asd.files import (
    find_below,
    folder_content,
    mend_folders,
    only_writer,
    read_json,
    replace_folder,
    replacing,
    write_json,
)
from dcase_asd.progress import Progress, Silent
from dcase_asd.recipe.toml import read_recipe
from dcase_asd.scores.table import read_caveats, read_scores
from dcase_asd.scores.threshold import ThresholdRule
from dcase_asd.submission.meta import (
    SubmissionForm,
    build_meta,
    left_empty,
    meta_text,
    system_facts,
)
from dcase_asd.submission.official_files import SubmittedFile, official_files, reason_against
from dcase_asd.submission.package import (
    LARGEST_FILE,
    PDF_START,
    TASK_FOLDER,
    meta_name,
    package_name,
    read_package,
    report_name,
    zip_content,
)

MARKER = "package.json"
"""File beside ``task2/`` that says which edition the package is for; it is not zipped."""


@dataclass(frozen=True)
class Submitted:
    """What `submit` did: the system's folder, the zip of its package, and whether they changed."""

    folder: Path
    archive: Path
    systems: list[str]
    files: list[SubmittedFile]
    changed: bool


def submit(
    run: str | Path,
    edition: str,
    label: str,
    out: str | Path,
    *,
    form: str | Path | None = None,
    report: str | Path | None = None,
    overwrite: bool = False,
    quantile: float = 0.9,
    rule: ThresholdRule = "empirical",
    progress: Progress | None = None,
) -> Submitted:
    """Put a run into a challenge package, beside systems that are there already.

    Args:
        run: Run folder with scores of the edition's evaluation set.
        edition: For which year.
        label: ``<Lastname>_<Inst>_task2_<1-4>``; what it has before the number is the package.
        out: Folder that holds ``<package>/task2/<label>/`` and ``<package>.zip``.
        form: TOML file with authors and descriptions (see `SubmissionForm`); without one these
            fields of the meta file stay empty.
        report: The technical report, a PDF.
        overwrite: Whether a system or report that differs may be replaced.
        quantile: Share of new normal clips that the threshold lets pass, in (0, 1).
        rule: How the threshold is set from leave-one-out train scores (see `set_threshold`).
        progress: Where to tell what was left out.

    Returns:
        Where the package is; a system that is there already, to the byte, is left as it is.

    Raises:
        SubmissionError: The label, form or report is wrong, something else is in the way, or the
            edition's rules do not allow what the run was trained with.
        ScoresError: The run has no evaluation scores, or a threshold cannot be set.
        ArtifactError: The package cannot be written, or another process is writing it.
    """
    run, out, progress = Path(run), Path(out), progress or Silent()
    rules = load_edition(edition)
    package = package_name(label, rules)
    if not 0 < quantile < 1:
        raise SubmissionError(f"the quantile {quantile} must lie between 0 and 1, such as 0.9")
    pdf = None if report is None else _read_report(Path(report))
    scores = read_scores(run, rules.name)
    if reason := reason_against(run, rules):
        raise SubmissionError(reason)
    for sentence in read_caveats(run, rules.name):
        progress.note(sentence)
    objections = run_objections(run, rules)
    if refusals := [str(each) for each in objections if each.level == "error"]:
        raise SubmissionError("; ".join(refusals))
    for each in objections:
        progress.note(str(each))
    files, rows, caveats = official_files(run, scores, rules, quantile, rule)
    for caveat, sections in caveats.items():
        progress.note(f"{some(sections)}: {caveat}")
    _note_coverage(rules, rows, progress)
    meta = _meta(run, scores, rules, label, form=form, progress=progress)
    content = {name: text.encode() for name, text in {**files, meta_name(label): meta}.items()}
    folder = out / package
    archive = out / f"{package}.zip"
    with only_writer(out):
        _claim(folder, archive, rules)
        task = folder / TASK_FOLDER
        mend_folders(task)
        system = task / label
        report_path = task / report_name(package)
        new_system = _must_change(system, folder_content(system), content, overwrite)
        name = report_path.name
        before = {name: report_path.read_bytes()} if report_path.is_file() else None
        new_report = pdf is not None and _must_change(report_path, before, {name: pdf}, overwrite)
        if new_system:
            replace_folder(system, content)
        if new_report and pdf is not None:
            _write(report_path, pdf)
        new_archive = _write_archive(folder, archive)
        systems = [path.name for path in find_below(task, "*") if path.is_dir()]
    return Submitted(
        system, archive, systems, rows, changed=new_system or new_report or new_archive
    )


def _read_report(path: Path) -> bytes:
    if not path.is_file():
        raise SubmissionError(f"{path}: no such technical report; give a PDF with --report")
    content = path.read_bytes()
    if not content.startswith(PDF_START):
        raise SubmissionError(f"{path}: is no PDF; export the technical report as PDF")
    if len(content) > LARGEST_FILE:
        limit = f"{LARGEST_FILE // 2**20} MiB"
        raise SubmissionError(f"{path}: is larger than {limit}; make its figures smaller")
    return content


def _note_coverage(edition: Edition, rows: list[SubmittedFile], progress: Progress) -> None:
    machines = edition.machines["eval"]
    lacking = set(machines) - {row.machine for row in rows}
    if lacking:
        progress.note(
            f"the run covers {len(machines) - len(lacking)} of {len(machines)} evaluation machines "
            f"of {edition.name}; not {', '.join(sorted(lacking))}"
        )


def _meta(
    run: Path,
    scores: pd.DataFrame,
    edition: Edition,
    label: str,
    *,
    form: str | Path | None,
    progress: Progress,
) -> str:
    filled = SubmissionForm() if form is None else read_recipe(form, SubmissionForm)
    facts = system_facts(run, scores, edition)
    said = filled.description.get("ensemble_method_subsystem_count", facts.subsystems)
    if facts.subsystems is not None and said != facts.subsystems:
        progress.note(
            f"the form says {said} in ensemble_method_subsystem_count, but the run is made of "
            f"{facts.subsystems}; take it out of the form to have them counted"
        )
    meta = build_meta(label, edition, filled, facts)
    if edition.submission.external_datasets and (
        told := facts.unnamed_weights(filled.external_datasets)
    ):
        progress.note(told)
    unasked = sorted(set(filled.description) - set(edition.submission.description))
    if unasked:
        progress.note(f"{edition.name} does not ask for {', '.join(unasked)}: left out")
    unknown = [machine for machine, values in facts.results.items() if None in values.values()]
    if unknown:
        progress.note(
            f"the run has no complete labelled development scores of "
            f"{', '.join(unknown)}: "
            "null in the meta file"
        )
    empty = left_empty(meta)
    if empty:
        what = "give a form with --form" if form is None else "right only where it does not apply"
        progress.note(f"null in the meta file: {', '.join(empty)} ({what})")
    return meta_text(meta)


def _claim(folder: Path, archive: Path, edition: Edition) -> None:
    """Make the package's folder, or see that it is one of this edition."""
    marker = read_json(folder / MARKER)
    if marker is None:
        for path in (folder / TASK_FOLDER, archive):
            if path.exists():
                raise SubmissionError(
                    f"{path}: is there already and was not made by `submit`; "
                    "move it away, or give another folder with --out"
                )
        write_json(folder / MARKER, {"edition": edition.name})
    else:
        check_edition(folder, edition)


def check_edition(folder: str | Path, edition: Edition) -> None:
    """Refuse to put a system into the package of another edition.

    Args:
        folder: Of the package, which need not be there.
        edition: For which the system is.

    Raises:
        SubmissionError: The package is for another.
    """
    marked = (read_json(Path(folder) / MARKER) or {}).get("edition", edition.name)
    if marked != edition.name:
        raise SubmissionError(
            f"{folder}: holds a package for {marked}, not {edition.name}; "
            "give another folder with --out"
        )


def _must_change(
    path: Path, before: Mapping[str, bytes] | None, after: Mapping[str, bytes], overwrite: bool
) -> bool:
    """Whether `path` must be written; refused where that would replace something else."""
    if before is None or before == after or overwrite:
        return before != after
    differing = {
        name for name in before.keys() | after.keys() if before.get(name) != after.get(name)
    }
    raise SubmissionError(
        f"{path}: is there already and differs ({some(differing)}); replace it with --overwrite, "
        "or take another label"
    )


def _write_archive(folder: Path, archive: Path) -> bool:
    package = read_package(folder)
    for problem in package.problems:
        raise SubmissionError(f"{folder / problem.where}: {problem.what}")
    content = zip_content(package.files)
    if archive.is_file() and archive.read_bytes() == content:
        return False
    _write(archive, content)
    return True


def _write(path: Path, content: bytes) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(content)
