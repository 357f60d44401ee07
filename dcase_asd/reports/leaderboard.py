"""Which of many runs is best: scores, what their recipes differ in, what they cost."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from dcase_asd.editions.edition import Edition, load_edition
from dcase_asd.errors import DataError, DcaseAsdError, GroundTruthError, command, some
from dcase_asd.folders import DataFolder, is_run, subfolders
from dcase_asd.fusion.label_free import is_chosen
from dcase_asd.metrics.bootstrap import Interval
from dcase_asd.metrics.labels import GroundTruth, find_ground_truth
from dcase_asd.metrics.official import Evaluation
from dcase_asd.metrics.selection import Choice, choose_best
from dcase_asd.progress import Progress, Silent
from dcase_asd.recipe.fusion import is_fused, read_fused_system
from dcase_asd.recipe.system import System, read_system, recipe_path
from dcase_asd.reports.read import STAGES, ReportedSystem, names_of, read_reported_system
from dcase_asd.scores.table import scored_editions
from dcase_asd.training.history import read_history

LEFT_OUT = "left out"
"""Heading of what a choice is worth on machine types that were left out of it."""
SCORES = {"dev score": "dev", "eval score": "eval"}
"""Heading of a score -> its stage."""
DIFFERS = "differs in"
"""Heading of what a recipe has that not all have."""
FUSION, TRAIN = "fusion", "train"
"""Values that stand for a whole table: of a run that is a fusion, or that has no training."""
EXPLAINED = (
    f"{LEFT_OUT}: the best on the other machine types, scored on the one left out; "
    "the best score is optimistic, as the same clips chose it"
)


@dataclass(frozen=True)
class Row:
    """A run of a leaderboard.

    Attributes:
        name: What to call it.
        run: Its folder.
        evaluations: Stage (``dev``, ``eval``) -> official result; only those with labels.
        intervals: Stage -> bootstrap interval of its score.
        differs: What its recipe has that those of all the others have not, in words.
        parameters: Of the network; None where that is not known.
        training_seconds: Time that its updates took, evaluations aside; None without training.
        problem: Why it has no score; empty where it has one.
        subset: What alone it has scores of, in words; empty where that is everything.
    """

    name: str
    run: Path
    evaluations: dict[str, Evaluation]
    intervals: dict[str, Interval]
    differs: str
    parameters: int | None
    training_seconds: float | None
    problem: str = ""
    subset: str = ""

    def score(self, stage: str) -> float | None:
        """The score of a stage, in [0, 1]; None where it has none."""
        return self.evaluations[stage].score if stage in self.evaluations else None

    @property
    def cells(self) -> dict[str, str]:
        """Heading -> text of the cell; what is not known is ``-``."""
        interval = self.intervals.get("dev")
        seconds = self.training_seconds
        dev, evaluation = SCORES
        return {
            dev: _percent(self.score("dev")),
            "95 % interval": "-" if interval is None else interval.percent,
            evaluation: _percent(self.score("eval")),
            "parameters": "-" if self.parameters is None else f"{self.parameters:,}",
            "training": "-" if seconds is None else str(timedelta(seconds=round(seconds))),
        }


@dataclass(frozen=True)
class Leaderboard:
    """Runs, best first.

    Attributes:
        edition: The edition that they are compared on.
        rows: By dev score, then by eval score, then by name; after these, those that have scores
            of a subset, with which no other compares; those without a score last.
        choice: The best by dev score, and what choosing it is worth; None below two dev scores.
        chosen: Runs whose checkpoints, systems or weights were chosen by dev labels before.
    """

    edition: str
    rows: tuple[Row, ...]
    choice: Choice | None
    chosen: tuple[str, ...] = ()

    @property
    def explanation(self) -> str:
        """What the figure beside the best score is, and is not; empty where there is none."""
        if self.choice is None or self.choice.left_out is None:
            return ""
        if not self.chosen:
            return EXPLAINED
        return f"{EXPLAINED}; all labels chose checkpoints or weights of {some(self.chosen)} before"

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Headings and cells; a column that no run has a value in is left out."""
        shown = []
        for number, row in enumerate(self.rows):
            left_out = self.choice.left_out if self.choice and number == 0 else None
            first, *rest = row.cells.items()
            cells = [("run", row.name), first, (LEFT_OUT, _percent(left_out)), *rest]
            alone = [f"{row.subset} alone"] if row.subset else []
            words = row.problem or ", ".join([*alone, *filter(None, [row.differs])])
            shown.append({**dict(cells), DIFFERS: words})
        columns = [
            name
            for name in shown[0]
            if name in ("run", "dev score") or any(each[name] not in ("-", "") for each in shown)
        ]
        return columns, [[each[name] for name in columns] for each in shown]

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON values; scores in [0, 1]."""
        rows = [
            {
                "run": str(row.run),
                **{f"{stage}_score": row.score(stage) for stage in STAGES},
                "intervals": {name: dataclasses.asdict(of) for name, of in row.intervals.items()},
                "differs": row.differs,
                "parameters": row.parameters,
                "training_seconds": row.training_seconds,
                "problem": row.problem,
                **({"subset": row.subset} if row.subset else {}),
            }
            for row in self.rows
        ]
        choice = self.choice and {
            "run": str(self.rows[0].run),
            "dev_score": self.choice.score,
            "left_out_machines": self.choice.left_out,
            "labels_chose_before": list(self.chosen),
            "chosen": {name: self.rows[of].name for name, of in self.choice.chosen.items()},
        }
        return {"edition": self.edition, "runs": rows, "choice": choice}

    def as_csv(self) -> str:
        """The table as CSV, in percent."""
        text = io.StringIO()
        columns, rows = self.table()
        csv.writer(text, lineterminator="\n").writerows([columns, *rows])
        return text.getvalue()


def read_leaderboard(
    folder: str | Path,
    edition: str = "",
    ground_truth: str | Path | None = None,
    *,
    data: str | Path | None = None,
    resamples: int = 1000,
    progress: Progress | None = None,
) -> Leaderboard:
    """Compare all runs of a folder; one that has no scores, or damaged ones, is listed, too.

    Args:
        folder: Folder of run folders.
        edition: The edition to compare them on; empty takes the newest that any of them has scores
            of, and says so where there are others.
        ground_truth: Labels of the evaluation set, as for `evaluate`.
        data: Data folder; where it holds the edition's ground truth, that is the default.
        resamples: Of the confidence intervals; 0 leaves them out.
        progress: Where to tell how far it is.

    Raises:
        DataError: The folder holds no runs, or none with scores.
        GroundTruthError: The ground truth cannot be read.
    """
    folder, progress = Path(folder), progress or Silent()
    runs = _runs_of(folder)
    scored = sorted({name for run in runs for name in scored_editions(run)})
    if not scored and not edition:
        raise DataError(f"{folder}: none of its {len(runs)} run(s) has scores yet")
    rules = load_edition(edition or scored[-1])
    if not edition and len(scored) > 1:
        others = ", ".join(scored[:-1])
        progress.note(f"scores of {rules.name} are compared; --edition takes others: {others}")
    if ground_truth is None and data is not None:
        there = DataFolder(Path(data)).ground_truth(rules.name)
        ground_truth = there if there.is_dir() else None
    truth = find_ground_truth(ground_truth, rules)
    systems, problems = [], {}
    with progress.bar("Reading", len(runs), "runs") as advance:
        for run, name in zip(runs, names_of(runs), strict=True):
            try:
                systems.append(_read(run, name, rules, truth, resamples))
            except DcaseAsdError as error:
                problems[name] = run
                progress.note(str(error))
            advance(1)
    return compare_runs(systems, rules.name, problems)


def compare_runs(
    systems: Sequence[ReportedSystem], edition: str, without: Mapping[str, Path] | None = None
) -> Leaderboard:
    """Compare runs that are read already.

    Args:
        systems: Those with scores.
        edition: What they are scores of.
        without: Name -> run of those that have none.
    """
    without = without or {}
    runs = {each.name: each.run for each in systems} | dict(without)
    values = {name: _values(run) for name, run in runs.items()}
    words = differences(values)
    rows = [
        Row(
            system.name,
            system.run,
            {each.name: each.evaluation for each in system.stages if each.evaluation is not None},
            {each.name: each.interval for each in system.stages if each.interval is not None},
            words[system.name],
            system.provenance.get("parameters"),
            training_seconds(system.run),
            subset=str(system.subset) if system.subset else "",
        )
        for system in systems
    ]
    rows += [
        Row(name, run, {}, {}, words[name], None, training_seconds(run), f"no scores of {edition}")
        for name, run in without.items()
    ]
    rows.sort(
        key=lambda row: (
            bool(row.problem), row.subset, *(-(row.score(stage) or 0.0) for stage in STAGES),
            row.name,
        )
    )  # fmt: skip
    compared = [row for row in rows if "dev" in row.evaluations and row.subset == rows[0].subset]
    choice = (
        choose_best([row.evaluations["dev"] for row in compared]) if len(compared) > 1 else None
    )
    chosen = tuple(row.name for row in compared if _is_chosen(row.run))
    return Leaderboard(edition, tuple(rows), choice, chosen)


def differences(values: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """What each of several recipes has that not all have, in words.

    Args:
        values: Name of a run -> name of a recipe value -> value. A run that lacks a value is
            compared by the others, so that one without training does not list all of it.

    Returns:
        Name of the run -> ``name=value`` of each difference.
    """
    kinds: dict[str, Counter[str]] = {}
    for of in values.values():
        for name, value in of.items():
            kinds.setdefault(name, Counter())[str(value)] += 1
    differing = {
        name
        for name, found in kinds.items()
        if len(found) > 1 or (name in (FUSION, TRAIN) and found.total() < len(values))
    }
    return {
        run: ", ".join(f"{name}={_text(of[name])}" for name in of if name in differing)
        for run, of in values.items()
    }


def training_seconds(run: str | Path) -> float | None:
    """Seconds that the updates of a run's training took; None where it has no history."""
    try:
        settings, history = read_system(run).train, read_history(run)
    except DcaseAsdError:
        return None
    speeds = [each["clips_per_second"] for each in history if each.get("clips_per_second")]
    if settings is None or not speeds:
        return None
    clips = settings.accumulation * settings.batch_size
    return sum(clips / speed for speed in speeds)


def _runs_of(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; give the one that the run folders are in")
    runs = [folder / name for name in subfolders(folder) if is_run(folder / name)]
    if runs:
        return runs
    if is_run(folder):
        raise DataError(f"{folder}: is a run folder; give the one above it, {folder.parent}")
    below = [folder / name for name in subfolders(folder) if _holds_runs(folder / name)]
    hint = f", but {below[0]} has" if below else f"; make one with {command('demo')}"
    raise DataError(f"{folder}: has no run folders{hint}")


def _holds_runs(folder: Path) -> bool:
    return any(is_run(folder / name) for name in subfolders(folder))


def _read(
    run: Path, name: str, edition: Edition, truth: GroundTruth | None, resamples: int
) -> ReportedSystem:
    """Read a run; labels that are of other clips than it has scored are left aside."""
    try:
        return read_reported_system(run, name, edition, truth, resamples=resamples)
    except GroundTruthError:
        if truth is None:
            raise
        return read_reported_system(run, name, edition, None, resamples=resamples)


def _is_chosen(run: Path) -> bool:
    try:
        return is_chosen(run)
    except DcaseAsdError:  # a recipe that cannot be read is told elsewhere
        return False


def _values(run: Path) -> dict[str, Any]:
    """The values of a run's recipe by their full names; none where it has no readable recipe."""
    try:
        if is_fused(run):
            fusion = read_fused_system(run).fusion
            return {FUSION: f"{fusion.method} of {', '.join(fusion.names)}"}
        if not recipe_path(run).is_file():
            return {}
        return dict(_flat(read_system(run)))
    except DcaseAsdError:
        return {}


def _flat(system: System) -> Iterable[tuple[str, Any]]:
    for part, of in dataclasses.asdict(system).items():
        if part not in ("name", "editions", "data") and isinstance(of, dict):
            for name, value in of.items():
                if isinstance(value, dict):
                    yield from ((f"{part}.{name}.{key}", each) for key, each in value.items())
                else:
                    yield f"{part}.{name}", value
    yield "data.exclude_editions", system.subset.exclude_editions
    if system.train is None:
        yield TRAIN, "none"


def _text(value: Any) -> str:
    if isinstance(value, tuple | list):
        return "[" + " ".join(map(_text, value)) + "]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f}"
