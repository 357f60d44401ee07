"""Run folders -> a page and pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

import dcase_asd
from dcase_asd.editions.edition import Edition, load_edition
from dcase_asd.errors import ArtifactError, DataError, DcaseAsdError, ScoresError, command
from dcase_asd.files import only_writer, read_json, replacing, write_json
from dcase_asd.folders import check_runs
from dcase_asd.metrics.labels import find_ground_truth
from dcase_asd.progress import Advance, Progress, Silent
from dcase_asd.recipe.fusion import is_fused, member_runs, read_fused_system
from dcase_asd.recipe.imported import IMPORTED
from dcase_asd.recipe.subset import EVERYTHING, Names
from dcase_asd.reports import comparison
from dcase_asd.reports.clip_lists import clip_lists, find_recordings
from dcase_asd.reports.figures.style import PICTURES, Gallery, PictureFormat, drawing
from dcase_asd.reports.fusion import fusion_parts
from dcase_asd.reports.machines import Decisions, machine_cards
from dcase_asd.reports.page import render_page
from dcase_asd.reports.read import STAGES, ReportedSystem, names_of, read_reported_system
from dcase_asd.reports.results import ranking, score_title, stage_results, stage_scores
from dcase_asd.scores.table import read_scores
from dcase_asd.scores.threshold import ThresholdRule

PAGE = "report.html"
MARKER = "report.json"
"""Names the files that a report has made; the next one replaces these and no others."""
FEW_SYSTEMS = 4
"""Have room beside each other. Of more, each machine of each system is shown on request only: of
14 systems of the miniature these are 446 pictures and 10 MB."""


@dataclass(frozen=True)
class Reported:
    """What `report` did: the page, the pictures beside it, and whether anything changed."""

    page: Path
    pictures: tuple[Path, ...]
    changed: bool


def report(
    runs: Sequence[str | Path],
    edition: str,
    ground_truth: str | Path | None = None,
    out: str | Path | None = None,
    *,
    picture_format: PictureFormat = "svg",
    machines: Names = (),
    sections: Names = (),
    exclude_editions: Names = (),
    quantile: float = 0.9,
    rule: ThresholdRule = "empirical",
    resamples: int = 1000,
    details: bool = False,
    clips: bool = False,
    data: str | Path | None = None,
    most: int = 5,
    progress: Progress | None = None,
) -> Reported:
    """Show one system, or several beside each other, on a page that needs nothing else.

    Args:
        runs: Run folders with scores of the edition; several make a comparison.
        edition: Which edition.
        ground_truth: Labels of the evaluation set, as for `evaluate`; without them its clips are
            shown unlabelled.
        out: Folder to write to; by default ``report/<edition>`` in the run folder or, of several,
            in the current folder.
        picture_format: Format of the pictures beside the page.
        machines: Show these machine types only; all if empty.
        sections: Show these sections only; all if empty.
        exclude_editions: Editions that are not to be shown.
        quantile: Share of new normal clips that the thresholds let pass, as for `submit`.
        rule: How thresholds are set, as for `submit`.
        resamples: Of the confidence intervals; 0 leaves them out.
        details: Show each machine of each of more than `FEW_SYSTEMS` systems, too.
        clips: Begin with the clips of each machine, the most anomalous first, with players.
        data: Data folder with their recordings; by default the one that was embedded.
        most: How many clips of each machine section have a player and a picture; 0 for all.
        progress: Where to tell how far it is.

    Returns:
        Where the page is. The same inputs give the same bytes.

    Raises:
        DataError: A run folder is missing or given twice, or has no scores of a subset; or the
            recordings' folder is none.
        ScoresError: A run has no scores of the edition.
        GroundTruthError: The ground truth is missing, or of other clips.
        ArtifactError: A file is damaged, or somebody else's file is in the way.
    """
    progress = progress or Silent()
    if not runs:
        raise DataError("no run folder is given; name at least one")
    if not 0 < quantile < 1:
        raise ScoresError(f"the quantile {quantile} must lie between 0 and 1, such as 0.9")
    rules = load_edition(edition)
    folders = check_runs(runs)
    asked = EVERYTHING.changed(machines, sections, exclude_editions)
    truth = find_ground_truth(ground_truth, rules)
    systems = []
    with progress.bar("Reading", len(runs), "runs") as advance:
        for run, name in zip(folders, names_of(folders), strict=True):
            systems.append(
                read_reported_system(run, name, rules, truth, asked=asked, resamples=resamples)
            )
            advance(1)
    recordings = find_recordings(systems, rules, data) if clips else None
    default = (folders[0] if len(folders) == 1 else Path()) / "report" / rules.name
    out = default if out is None else Path(out)
    gallery = Gallery(picture_format)
    decisions = Decisions(rule, quantile)
    again = list[str]()
    if not details and len(systems) > FEW_SYSTEMS:
        again = [rules.name]
        again += [] if ground_truth is None else ["--ground-truth", str(ground_truth)]
        again += asked.flags()
    total = sum(len(stage.sections) for system in systems for stage in system.stages)
    with progress.bar("Drawing", 0 if again else total, "machine sections") as advance, drawing():
        values = _page(systems, rules, decisions, gallery, advance, again)
    values["clips"] = []
    if recordings is not None:
        with drawing():
            values["clips"] = clip_lists(systems, decisions, recordings, most, gallery, progress)
    page = render_page(values)
    files = {PAGE: page.encode(), **gallery.files}
    changed = write_report_folder(out, files)
    return Reported(out / PAGE, tuple(out / name for name in gallery.files), changed)


def _page(
    systems: Sequence[ReportedSystem],
    edition: Edition,
    decisions: Decisions,
    gallery: Gallery,
    advance: Advance,
    again: Sequence[str],
) -> dict[str, Any]:
    """The values that the page shows, but for its clips.

    With `again`, an edition and more arguments, each system is shown alone by these, here in short.
    """
    tests = {system.name: system.tests for system in systems}
    return {
        "version": dcase_asd.__version__,
        "edition": edition.name,
        "official": edition.official,
        "lede": _in_short(systems, edition),
        "subset": any(system.subset for system in systems),
        "score_title": score_title(edition.metric, systems),
        "ranking": ranking(systems, edition),
        "results": [
            stage for name in STAGES if (stage := stage_results(systems, name, gallery)) is not None
        ],
        "comparison": {
            "agreement": comparison.agreement(tests, gallery),
            "robustness": comparison.robustness(systems, gallery),
        },
        "many": len(systems) > FEW_SYSTEMS,
        "systems": [
            _system(system, edition, decisions, gallery.below(f"{i}_{system.name}"), advance, again)
            for i, system in enumerate(systems, start=1)
        ],
    }


def _in_short(systems: Sequence[ReportedSystem], edition: Edition) -> str:
    """What is shown, in a sentence."""
    counts = list[str]()
    for name, title in STAGES.items():
        stage = next((found for system in systems if (found := system.stage(name))), None)
        if stage is not None:
            clips = sum(len(section.tests) for section in stage.sections)
            machines = len({section.machine for section in stage.sections})
            labels = f"labels from {stage.labels}" if stage.labels else "without labels"
            kinds = "machine type" if machines == 1 else "machine types"
            of = title.lower() if counts else title
            counts.append(f"{of}: {clips} test clips of {machines} {kinds}, {labels}")
    told = [edition.title, "; ".join(counts)]
    if parts := dict.fromkeys(str(system.subset) for system in systems if system.subset):
        told.append(f"{'; '.join(parts)} alone: no score here is the official one")
    return " ".join(f"{sentence[:1].upper()}{sentence[1:]}." for sentence in told)


def _system(
    system: ReportedSystem,
    edition: Edition,
    decisions: Decisions,
    gallery: Gallery,
    advance: Advance,
    again: Sequence[str],
) -> dict[str, Any]:
    fusion = None
    if system.fusion is not None:
        tests, lacking = _members(system, edition)
        fusion = fusion_parts(system.fusion, gallery) | {
            "agreement": comparison.agreement(tests, gallery),
            "lacking": lacking,
        }
    stages = list[dict[str, Any]]()
    for stage in system.stages:
        if again:
            stages.append({"title": stage.title, "notes": stage.notes, "cards": [], "shift": None})
            continue
        cards, notes = machine_cards(stage, edition.metric, decisions, gallery, advance)
        shift, lacking = comparison.shift(stage, gallery)
        notes = [*stage.notes, *notes, *lacking]
        stages.append({"title": stage.title, "notes": notes, "cards": cards, "shift": shift})
    return {
        "name": system.name,
        "scores": stage_scores(system),
        "facts": _facts(system),
        "fusion": fusion,
        "training": [] if again else comparison.training(system, gallery),
        "stages": stages,
        "recipe": system.recipe,
        "command": again and command("report", system.run, "--edition", *again).strip("`"),
    }


def _facts(system: ReportedSystem) -> list[tuple[str, str]]:
    provenance = system.provenance
    parameters = provenance.get("parameters")
    rate = provenance.get("sample_rate")
    as_it_was = "unknown" if provenance.get("backbone") == IMPORTED else "as recorded"
    found = [
        ("Backbone", str(provenance.get("backbone", "unknown"))),
        ("Parameters", f"{parameters:,}" if isinstance(parameters, int) else "unknown"),
        ("Sample rate", f"{rate / 1000:g} kHz" if rate else as_it_was),
    ]
    if system.kept is not None and system.kept.scored:
        found.append(("Scored checkpoints", ", ".join(system.kept.scored)))
    return found


def _members(system: ReportedSystem, edition: Edition) -> tuple[dict[str, pd.DataFrame], list[str]]:
    """Test scores of the systems of a fusion; sentences about those that are not there any more."""
    tests: dict[str, pd.DataFrame] = {}
    lacking = []
    if is_fused(system.run):
        fusion = read_fused_system(system.run).fusion
        for name, run in zip(fusion.names, member_runs(system.run, fusion), strict=True):
            try:
                scores = read_scores(run, edition.name)
            except DcaseAsdError as error:
                lacking.append(f"Without {name}: {error}")
                continue
            tests[name] = scores[(scores["split"] == "test") & system.subset.mask(scores)]
    return tests, lacking


def write_report_folder(folder: str | Path, files: Mapping[str, bytes]) -> bool:
    """Write the files of a report, and remove the pictures of an earlier one that it has not.

    The marker is written before the files, so that a process that is killed between them leaves
    nothing that the next one would take for somebody else's.

    Args:
        folder: Where to.
        files: Path relative to the folder, with forward slashes -> content.

    Returns:
        Whether anything was changed.

    Raises:
        ArtifactError: A file that no report made is in the way; or the folder cannot be written,
            or another process is writing it.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise ArtifactError(f"{folder}: is a file; give another folder with --out")
    with only_writer(folder):
        found = (read_json(folder / MARKER) or {}).get("files")
        earlier = set(map(str, found)) if isinstance(found, list | dict) else set()
        made = earlier | {MARKER} if earlier else earlier
        for name in (*files, MARKER):
            if (folder / name).exists() and name not in made:
                raise ArtifactError(
                    f"{folder / name}: was not made by a report; move it away, or give another "
                    "folder with --out"
                )
        for path in sorted((folder / PICTURES).rglob("*.*")):
            name = path.relative_to(folder).as_posix()
            if name in earlier - files.keys() and path.is_file():
                path.unlink()
                with suppress(OSError):  # others' files are in it
                    path.parent.rmdir()
        changed = write_json(folder / MARKER, {"files": sorted(files)})
        for name, content in files.items():
            path = folder / name
            if not path.is_file() or path.read_bytes() != content:
                changed = True
                with replacing(path) as temporary:
                    temporary.write_bytes(content)
    return changed
