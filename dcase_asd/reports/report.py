"""Run folders -> a page and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

import dcase_asd
from dcase_asd.editions.edition import Edition, load_edition
from dcase_asd.errors import DataError, DcaseAsdError, ScoresError
from dcase_asd.folders import check_runs
from dcase_asd.metrics.labels import read_ground_truth
from dcase_asd.progress import Advance, Progress, Silent
from dcase_asd.recipe.fusion import is_fused, member_runs, read_fused_system
from dcase_asd.reports import comparison, page
from dcase_asd.reports.comparison import rank_correlations
from dcase_asd.reports.figures.style import PictureFormat, drawing
from dcase_asd.reports.folder import write_report_folder
from dcase_asd.reports.fusion import fusion_parts, fusion_robustness
from dcase_asd.reports.gallery import Gallery
from dcase_asd.reports.machines import Decisions, machine_cards
from dcase_asd.reports.page import Html
from dcase_asd.reports.read import STAGES, ReportedSystem, Truth, names_of, read_reported_system
from dcase_asd.reports.results import headline, score_facts, stage_results
from dcase_asd.scores.table import read_scores
from dcase_asd.scores.threshold import ThresholdRule

PAGE = "report.html"
BESIDE = 4
"""Systems whose tables of both stages have room beside each other."""
AREAS = (
    "Anomaly scores are larger for clips that are more anomalous. AUC is the area under the ROC "
    "curve, pAUC that up to a false-alarm rate of 10 %, standardised to 50 % at chance. "
)
OFFICIAL = (
    f"{AREAS}Results are computed as the official evaluator of the edition does.",
    "From 2022 on the AUC of a domain sets its normal clips against the anomalous clips of both "
    "domains, and the pAUC is over all clips; the official score is the harmonic mean of all.",
)
OWN = (
    f"{AREAS}Both are over all clips of a section; a machine's are the means over its comparison.",
)
HOW_TO_READ = (
    "Train scores are leave-one-out: each train clip is scored by the others. The threshold is "
    "set by them alone and marks what is decided to be anomalous.",
    "Scores beyond the ends of a histogram are counted in its outermost bars.",
)


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
    form: PictureFormat = "svg",
    machines: Sequence[str] = (),
    quantile: float = 0.9,
    rule: ThresholdRule = "empirical",
    resamples: int = 1000,
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
        form: Of the pictures beside the page.
        machines: Show these machine types only; all if empty.
        quantile: Share of new normal clips that the thresholds let pass, as for `submit`.
        rule: How thresholds are set, as for `submit`.
        resamples: Of the confidence intervals; 0 leaves them out.
        progress: Where to tell how far it is.

    Returns:
        Where the page is. The same inputs give the same bytes.

    Raises:
        DataError: A run folder is missing or given twice.
        ScoresError: A run has no scores of the edition, or none of a machine.
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
    truth = None
    if ground_truth is not None:
        labels = read_ground_truth(ground_truth, rules)
        if machines:
            labels = labels[labels["machine"].isin(machines)]
        truth = Truth(labels, Path(ground_truth))
    systems = []
    with progress.bar("Reading", len(runs), "runs") as advance:
        for run, name in zip(folders, names_of(folders), strict=True):
            systems.append(
                read_reported_system(
                    run, name, rules, truth, machines=machines, resamples=resamples
                )
            )
            advance(1)
    default = (folders[0] if len(folders) == 1 else Path()) / "report" / rules.name
    out = default if out is None else Path(out)
    gallery = Gallery(form)
    total = sum(len(stage.sections) for system in systems for stage in system.stages)
    with progress.bar("Drawing", total, "machine sections") as advance, drawing():
        text = _page(systems, rules, Decisions(rule, quantile), gallery, advance)
    files = {PAGE: text.encode(), **gallery.files}
    changed = write_report_folder(out, files)
    return Reported(out / PAGE, tuple(out / name for name in gallery.files), changed)


def _page(
    systems: Sequence[ReportedSystem],
    edition: Edition,
    decisions: Decisions,
    gallery: Gallery,
    advance: Advance,
) -> str:
    names = [system.name for system in systems]
    title = names[0] if len(names) == 1 else f"{len(names)} systems compared"
    lead = page.join(
        [
            page.paragraph(f"Anomalous sound detection · {edition.name}", "kicker"),
            page.heading(1, title),
            page.paragraph(_in_short(systems, edition), "lede"),
            headline(systems, edition),
        ]
    )
    contents = [("results", "Results")]
    results = "Official results" if edition.official else "Results"
    body = [page.section("results", results, _results(systems, gallery))]
    together = _comparison(systems, gallery)
    if together:
        contents.append(("comparison", "Comparison"))
        body.append(page.section("comparison", "The systems side by side", together))
    for number, system in enumerate(systems, start=1):
        anchor = f"system-{number}"
        contents.append((anchor, "Machine by machine" if len(systems) == 1 else system.name))
        folder = f"{number}_{system.name}"
        parts = _system(
            system, edition, decisions, gallery, folder, advance, alone=len(systems) == 1
        )
        heading = "Machine by machine" if len(systems) == 1 else system.name
        body.append(page.section(anchor, heading, parts))
    contents.append(("reading", "How to read this"))
    how_to = (*(OFFICIAL if edition.official else OWN), *HOW_TO_READ)
    body.append(page.section("reading", "How to read this", map(page.paragraph, how_to)))
    foot = f"Made by dcase-asd {dcase_asd.__version__} of {', '.join(names)}."
    return page.page(f"{title}, {edition.name}", lead, contents, page.join(body), foot)


def _in_short(systems: Sequence[ReportedSystem], edition: Edition) -> str:
    """What is shown, in a sentence."""
    counts = []
    for name, title in STAGES.items():
        stage = next((found for system in systems if (found := system.stage(name))), None)
        if stage is not None:
            clips = sum(len(section.tests) for section in stage.sections)
            machines = len({section.machine for section in stage.sections})
            labels = f"labels from {stage.labels}" if stage.labels else "without labels"
            kinds = "machine type" if machines == 1 else "machine types"
            counts.append(f"{title.lower()}: {clips} test clips of {machines} {kinds}, {labels}")
    return f"{edition.title[:1].upper()}{edition.title[1:]}. {'; '.join(counts).capitalize()}."


def _results(systems: Sequence[ReportedSystem], gallery: Gallery) -> list[Html]:
    parts = [stage_results(systems, name, gallery) for name in STAGES]
    return [page.columns(parts)] if len(systems) <= BESIDE else parts


def _comparison(systems: Sequence[ReportedSystem], gallery: Gallery) -> list[Html]:
    if len(systems) == 1:
        return []
    parts = []
    found = rank_correlations({system.name: system.tests for system in systems})
    if found is not None:
        agreement = comparison.agreement(found, gallery, "")
        parts.append(page.join([page.heading(3, "Agreement"), agreement]))
    robust = comparison.robustness(systems, gallery)
    if robust:
        parts.append(page.join([page.heading(3, "Robustness"), robust]))
    return [page.columns(parts)] if parts else []


def _system(
    system: ReportedSystem,
    edition: Edition,
    decisions: Decisions,
    gallery: Gallery,
    folder: str,
    advance: Advance,
    *,
    alone: bool,
) -> list[Html]:
    scores = [] if alone else score_facts(system, edition)
    parts = [page.facts([*scores, *_facts(system)])]
    if system.fusion is not None:
        parts.append(page.heading(3, "Fusion"))
        parts += fusion_parts(system.fusion, gallery, folder)
        members, lacking = _members(system, edition, gallery, folder)
        robust = fusion_robustness(system.fusion, gallery, folder)
        parts += [page.columns([robust, members]), page.notes(lacking)]
    course = comparison.training(system, gallery, folder)
    if course:
        parts += [page.heading(3, "Training"), course]
    for stage in system.stages:
        cards, notes = machine_cards(stage, edition.metric, decisions, gallery, folder, advance)
        moved, lacking = comparison.shift(stage, gallery, folder)
        parts += [page.heading(3, stage.title), page.notes([*stage.notes, *notes, *lacking])]
        parts += [cards, page.heading(4, "Shift from train to test clips") if moved else Html("")]
        parts.append(moved)
    if system.recipe:
        parts.append(page.folded("Its recipe", page.verbatim(system.recipe)))
    return parts


def _facts(system: ReportedSystem) -> list[tuple[str, str]]:
    provenance = system.provenance
    parameters = provenance.get("parameters")
    rate = provenance.get("sample_rate")
    found = [
        ("Backbone", str(provenance.get("backbone", "unknown"))),
        ("Parameters", f"{parameters:,}" if isinstance(parameters, int) else "unknown"),
        ("Sample rate", f"{rate / 1000:g} kHz" if rate else "as recorded"),
    ]
    if system.kept is not None and system.kept.scored:
        found.append(("Scored checkpoints", ", ".join(system.kept.scored)))
    return found


def _members(
    system: ReportedSystem, edition: Edition, gallery: Gallery, folder: str
) -> tuple[Html, list[str]]:
    """How alike the systems of a fusion are; sentences about those that are not there any more."""
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
            tests[name] = scores[scores["split"] == "test"]
    found = rank_correlations(tests)
    if found is None:
        return Html(""), lacking
    shown = comparison.agreement(found, gallery, folder)
    return page.join([page.heading(4, "Agreement of its systems"), shown]), lacking
