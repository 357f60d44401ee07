"""What running recipes would do, what is done already, and what it would take; writes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from dcase_asd.clips.manifest import manifest_path, read_manifest
from dcase_asd.editions.edition import Edition, load_edition, official_editions
from dcase_asd.embeddings.kept import embedding_folders, read_kept
from dcase_asd.embeddings.store import planned_markers
from dcase_asd.errors import DcaseAsdError, command
from dcase_asd.recipe.fusion import FusedSystem
from dcase_asd.recipe.system import System
from dcase_asd.recipe.training import Training
from dcase_asd.runs.cost import Audio, cost_of, trained_clips
from dcase_asd.runs.overlay import read_overlay
from dcase_asd.runs.recipes import Form, Node, is_submission, read_forms, read_nodes
from dcase_asd.runs.requirements import forbidden_training, missing_clips, missing_weights
from dcase_asd.runs.runner import Setup
from dcase_asd.scores.table import scores_path
from dcase_asd.submission.package import TASK_FOLDER, package_name
from dcase_asd.training.data import read_training_set

DONE, TO_DO, NOT_PART = "done", "to do", "-"


@dataclass(frozen=True)
class Stand:
    """How far a system is.

    Attributes:
        training: ``done``, ``to do``, the step that it is at, or ``-`` where it has no training.
        embeddings: Likewise, the share of machines.
        scores: ``done`` or ``to do``.
        trained: Share of the training that is done, in [0, 1].
        embedded: Share of the machines that are embedded, in [0, 1].
    """

    training: str
    embeddings: str
    scores: str
    trained: float
    embedded: float


def stand_of(run: Path, system: System | FusedSystem, editions: Sequence[str]) -> Stand:
    """How far a system is on some editions."""
    scored = all(scores_path(run, edition).with_suffix(".json").is_file() for edition in editions)
    scores = DONE if scored and editions else TO_DO
    if isinstance(system, FusedSystem):
        return Stand(NOT_PART, NOT_PART, scores, trained=1.0, embedded=1.0)
    training, trained = NOT_PART, 1.0
    if system.train is not None:
        kept = read_kept(run)
        step = max((each.step for each in kept.checkpoints), default=0) if kept else 0
        trained = step / system.train.steps
        training = f"step {step:,} of {system.train.steps:,}" if step else TO_DO
        if kept is not None and kept.finished:
            training, trained = DONE, 1.0
    present, planned = _machines(run, editions) if trained == 1 else (0, 0)
    embeddings = TO_DO
    if present:
        embeddings = DONE if present == planned else f"{present} of {planned} machines"
    return Stand(training, embeddings, scores, trained, present / planned if planned else 0.0)


def _machines(run: Path, editions: Sequence[str]) -> tuple[int, int]:
    """Machines that are embedded, and that should be, over all checkpoints and editions."""
    try:
        folders = embedding_folders(run)
    except DcaseAsdError:  # a checkpoint is gone; running the system tells of it
        return 0, 0
    present = planned = 0
    for folder in folders:
        for edition in editions:
            markers = planned_markers(folder, edition)
            if markers is None:
                planned += 1
                continue
            planned += len(markers)
            present += sum(marker.is_file() for marker in markers)
    return present, planned


def state_of_package(out: Path, label: str, edition: Edition) -> str:
    """Whether a label's system is in its package."""
    package = package_name(label, edition)
    there = (out / package / TASK_FOLDER / label).is_dir()
    return DONE if there and (out / f"{package}.zip").is_file() else TO_DO


TFLOPS = 50.0
"""Sustained speed that is assumed, 10^12 operations per second. No figure was measured: a large GPU
whose peak in bf16 is some hundred may reach it, a small one does not."""
TRAIN_CLIPS, TEST_CLIPS = 1000, 200
"""Clips of a section, where there are no data yet: what most of the challenge's have."""
SECONDS = 10.0
"""Length of a clip, where there are no data yet."""


@dataclass(frozen=True)
class PlannedSystem:
    """One system of a plan.

    Attributes:
        name: Its run folder's name.
        recipe: Its recipe file.
        fuses: The systems that it fuses; empty where it is none.
        clips: Clips that it is fine-tuned on; None where it is not fine-tuned.
        steps: Length of its training, in the unit of its recipe.
        seen: Clips in all batches of its training.
        stand: How far it is.
        hours: GPU hours of all of it; None of a fusion, and where they cannot be estimated.
        hours_left: Of what is not done yet.
        disk: Bytes that it takes when it is done.
        state: Bytes more while it is fine-tuned.
    """

    name: str
    recipe: Path
    fuses: tuple[str, ...]
    clips: int | None
    steps: int | None
    seen: int | None
    stand: Stand
    hours: float | None
    hours_left: float | None
    disk: float | None
    state: float | None


@dataclass(frozen=True)
class PlannedSubmission:
    """A form of a plan: its label and system, and whether it is packaged."""

    label: str
    edition: str
    system: str
    package: str


@dataclass
class Plan:
    """What running recipes would do.

    Attributes:
        systems: Single ones, then fusions, each after those that it is made of.
        submissions: Of the forms.
        assumptions: What the figures rest on, in words.
        needed: What must be put right before it can run.
        tflops: The speed assumed.
    """

    tflops: float
    systems: list[PlannedSystem] = field(default_factory=list)
    submissions: list[PlannedSubmission] = field(default_factory=list)
    assumptions: list[str] = field(default_factory=list)
    needed: list[str] = field(default_factory=list)

    def total(self, of: str) -> float:
        """The sum of a figure over the systems that it is known of."""
        return sum(getattr(each, of) or 0.0 for each in self.systems)

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON values."""
        return {
            "tflops": self.tflops,
            "systems": [asdict(each) | {"recipe": str(each.recipe)} for each in self.systems],
            "submissions": [asdict(each) for each in self.submissions],
            "totals": {name: self.total(name) for name in ("hours", "hours_left", "disk")},
            "assumptions": self.assumptions,
            "needed": self.needed,
        }


def plan_recipes(
    recipes: Sequence[str | Path], setup: Setup, out: str | Path, tflops: float = TFLOPS
) -> Plan:
    """Plan the run of recipes or of forms.

    Args:
        recipes: Systems' recipes and submissions' forms.
        setup: As for running them; a manifest is read where there is one, nothing is looked up
            or written otherwise.
        out: Folder for packages.
        tflops: Sustained speed to assume, in 10^12 operations per second.

    Raises:
        RecipeError: A recipe is wrong; all mistakes are listed.
    """
    overlay = read_overlay(setup.overlay)
    forms = read_forms([path for path in recipes if is_submission(path)], overlay)
    others = read_nodes([path for path in recipes if not is_submission(path)], overlay)
    plan = Plan(tflops)
    clips = _clips(setup.data, plan)
    wanted: list[tuple[Node, tuple[str, ...]]] = [
        (form.node, (load_edition(form.form.edition).name,)) for form in forms
    ]
    wanted += [(node, _editions(node, clips)) for node in others]
    nodes = {each.name: (each, editions) for top, editions in wanted for each in top.walk()}
    # Fusions last, as they are made last.
    for node, editions in sorted(nodes.values(), key=lambda each: bool(each[0].members)):
        plan.systems.append(_planned(node, editions, setup, clips, plan))
    plan.submissions = [_planned_submission(form, Path(out)) for form in forms]
    plan.needed += missing_weights((node for node, _ in nodes.values()), setup.runs)
    if clips is not None:
        for top, editions in wanted:
            packaged = any(form.node is top for form in forms)
            systems = list(top.walk())
            plan.needed += missing_clips(systems, clips, setup.data, editions, packaged)
            if packaged:
                plan.needed += forbidden_training(systems, setup.data, setup.runs, editions)
    plan.needed = list(dict.fromkeys(plan.needed))
    scored = [each for _, editions in nodes.values() for each in editions]
    _assume_clips(clips, scored, setup.data, plan)
    plan.assumptions.append(
        f"{tflops:g} TFLOP/s sustained on each GPU (assumed, not measured; --tflops sets it)"
    )
    return plan


def _clips(data: Path, plan: Plan) -> pd.DataFrame | None:
    """The manifest; None where there is none yet."""
    if not manifest_path(data).is_file():
        return None
    clips = read_manifest(data)
    editions = ", ".join(sorted(clips["edition"].unique()))
    plan.assumptions.append(f"{manifest_path(data)}: {len(clips):,} clips of {editions}")
    return clips


def _assume_clips(
    clips: pd.DataFrame | None, editions: Iterable[str], data: Path, plan: Plan
) -> None:
    present = set() if clips is None else set(clips["edition"])
    absent = sorted(set(editions) - present)
    nominal = f"{TRAIN_CLIPS:,} train and {TEST_CLIPS} test clips of {SECONDS:g} s in each section"
    if clips is None:
        trained = _nominal_editions(editions)
        plan.assumptions.append(
            f"there is no manifest ({command('prepare', '--data', data)} makes it): assumed are "
            f"{nominal} of {trained[0]} to {trained[-1]}"
        )
    elif absent:
        plan.assumptions.append(f"{', '.join(absent)}: not there; assumed are {nominal}")


def _nominal_editions(scored: Iterable[str]) -> list[str]:
    """The challenge's editions up to the newest that is scored."""
    known = official_editions()
    years = [name for name in scored if name in known]
    return [name for name in known if name <= max(years, default=known[-1])]


def _editions(node: Node, clips: pd.DataFrame | None) -> tuple[str, ...]:
    names = tuple(load_edition(name).name for name in node.recipe.editions)
    if names or clips is None:
        return names or official_editions()[-1:]
    return tuple(sorted(clips["edition"].unique()))


def _planned(
    node: Node,
    editions: tuple[str, ...],
    setup: Setup,
    clips: pd.DataFrame | None,
    plan: Plan,
) -> PlannedSystem:
    system = node.recipe
    stand = stand_of(setup.runs / node.name, system, editions)
    if isinstance(system, FusedSystem):
        names = tuple(member.name for member in node.members)
        return PlannedSystem(
            node.name, node.path, names, None, None, None, stand,
            hours=None, hours_left=None, disk=None, state=None,
        )  # fmt: skip
    settings = system.train
    scored = [_audio_of(edition, clips) for edition in editions]
    audio = Audio(sum(each.clips for each in scored), sum(each.seconds for each in scored))
    dev = _audio_of((settings and settings.dev_edition) or editions[-1], clips, "dev")
    cost = cost_of(system, dev, audio, plan.tflops)
    hours = left = None
    if cost.training_hours is not None and cost.embedding_hours is not None:
        hours = cost.training_hours + cost.embedding_hours
        left = (1 - stand.trained) * cost.training_hours
        left += (1 - stand.embedded) * cost.embedding_hours
    return PlannedSystem(
        name=node.name,
        recipe=node.path,
        fuses=(),
        clips=None
        if settings is None
        else _training_clips(
            settings, editions, setup, clips, plan.needed if stand.trained < 1 else []
        ),
        steps=None if settings is None else settings.steps,
        seen=None if settings is None else trained_clips(settings),
        stand=stand,
        hours=hours,
        hours_left=left,
        disk=cost.disk,
        state=cost.state,
    )


def _training_clips(
    settings: Training,
    editions: tuple[str, ...],
    setup: Setup,
    clips: pd.DataFrame | None,
    needed: list[str],
) -> int | None:
    if clips is None:
        names = [load_edition(name).name for name in settings.editions]
        facts = [load_edition(name) for name in names or _nominal_editions(editions)]
        return TRAIN_CLIPS * sum(_sections(each, ("dev", "eval")) for each in facts)
    try:
        return len(read_training_set(setup.data, settings).clips)
    except DcaseAsdError as error:
        needed.append(str(error))
        return None


def _audio_of(edition: str, clips: pd.DataFrame | None, stage: str = "") -> Audio:
    """Train and test clips of an edition, or of one stage of it."""
    if clips is not None and (clips["edition"] == edition).any():
        rows = clips[(clips["edition"] == edition) & clips["split"].isin(["train", "test"])]
        rows = rows[(rows["role"] == "machine") & (not stage or rows["stage"] == stage)]
        return Audio(len(rows), float((rows["frames"] / rows["sample_rate"]).sum()))
    facts = load_edition(edition)
    count = _sections(facts, (stage,) if stage else ("dev", "eval")) * (TRAIN_CLIPS + TEST_CLIPS)
    return Audio(count, count * SECONDS)


def _sections(edition: Edition, stages: Iterable[str]) -> int:
    machines = [edition.machines[stage] for stage in ("dev", "eval") if stage in stages]
    return sum(len(sections) for each in machines for sections in each.values())


def _planned_submission(form: Form, out: Path) -> PlannedSubmission:
    label, edition = form.form.label, load_edition(form.form.edition)
    return PlannedSubmission(
        label, edition.name, form.node.name, state_of_package(out, label, edition)
    )
