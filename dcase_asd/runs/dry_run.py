"""What running recipes would do, what is done already, and what it would take; writes nothing.

Hours are told where a training was measured: the median of the clips a second in the history
(`train.jsonl`) of the system itself, else of another run below the same folder that starts from the
same checkpoint and trains the same weights. Disk follows from the parameters that plugins state of
their published weights (`registry`); head and classifier, some per cent of them, are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd

from dcase_asd.clips.manifest import manifest_path, read_manifest
from dcase_asd.editions.edition import Edition, load_edition, official_editions
from dcase_asd.errors import DcaseAsdError, command
from dcase_asd.recipe.fusion import FusedSystem
from dcase_asd.recipe.subset import Subset
from dcase_asd.recipe.system import System, read_system
from dcase_asd.recipe.training import Training
from dcase_asd.registry import Checkpoint, installed_plugins, named_checkpoints
from dcase_asd.runs.recipes import Form, Node, read_all
from dcase_asd.runs.requirements import (
    editions_of,
    forbidden_training,
    missing_clips,
    missing_weights,
    wrong_parts,
)
from dcase_asd.runs.runner import Setup
from dcase_asd.runs.status import DONE, TO_DO, Status, status_of
from dcase_asd.submission.package import TASK_FOLDER, package_name
from dcase_asd.training.data import read_training_set
from dcase_asd.training.history import read_history

BYTES = 4
"""Bytes of a value in float32, as checkpoints and embeddings are written."""
STATE_COPIES = 3
"""Copies of the weights in the state to resume from: the model, and AdamW's two moments."""
SECONDS_IN_HOUR = 3600.0
TRAIN_CLIPS, TEST_CLIPS = 1000, 200
"""Clips of a section, where there are no data yet: what most of the challenge's have."""


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
        speed: Clips a second that its training was measured at; None where none was.
        hours_left: Hours that what is left of its training takes at that speed.
        disk: Bytes of checkpoints and embeddings when it is done; None where unknown.
        state: Bytes more while it is fine-tuned.
    """

    name: str
    recipe: Path
    fuses: tuple[str, ...]
    clips: int | None
    steps: int | None
    seen: int | None
    stand: Status
    speed: float | None
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
    """

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
            "systems": [asdict(each) | {"recipe": str(each.recipe)} for each in self.systems],
            "submissions": [asdict(each) for each in self.submissions],
            "totals": {name: self.total(name) for name in ("hours_left", "disk")},
            "assumptions": self.assumptions,
            "needed": self.needed,
        }


def plan_recipes(recipes: Sequence[str | Path], setup: Setup, out: str | Path) -> Plan:
    """Plan the run of recipes or of forms.

    Args:
        recipes: Systems' recipes and submissions' forms.
        setup: As for running them; a manifest is read where there is one, nothing is looked up
            or written otherwise.
        out: Folder for packages.

    Raises:
        RecipeError: A recipe is wrong; all mistakes are listed.
    """
    forms, others = read_all(recipes, setup.changes())
    plan = Plan()
    clips = _clips(setup.data, plan)
    wanted: list[tuple[Node, tuple[str, ...]]] = [
        (form.node, (load_edition(form.form.edition).name,)) for form in forms
    ]
    wanted += [(node, _editions(node, clips)) for node in others]
    nodes = {each.name: (each, editions) for top, editions in wanted for each in top.walk()}
    # Fusions last, as they are made last.
    for node, editions in sorted(nodes.values(), key=lambda each: each[0].is_fusion):
        plan.systems.append(_planned(node, editions, setup, clips, plan))
    plan.submissions = [_planned_submission(form, Path(out)) for form in forms]
    systems = [node for node, _ in nodes.values()]
    plan.needed += [*missing_weights(systems, setup.runs), *wrong_parts(systems, setup.runs)]
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
    nominal = f"{TRAIN_CLIPS:,} train and {TEST_CLIPS} test clips in each section"
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
    if clips is not None:
        return editions_of(node, clips, node.recipe.editions)
    return (
        tuple(load_edition(name).name for name in node.recipe.editions) or official_editions()[-1:]
    )


def _planned(
    node: Node, editions: tuple[str, ...], setup: Setup, clips: pd.DataFrame | None, plan: Plan
) -> PlannedSystem:
    system = node.recipe
    stand = status_of(setup.runs / node.name, system, editions, node.subset)
    if isinstance(system, FusedSystem):
        names = tuple(member.name for member in node.members)
        return PlannedSystem(node.name, node.path, names, None, None, None, stand, *[None] * 4)
    settings, subset = system.train, system.subset
    clips_scored = sum(_clip_count(each, clips, subset) for each in editions)
    disk, state = _disk(system, clips_scored)
    found = seen = speed = None
    if settings is not None:
        needed = plan.needed if stand.trained < 1 else []
        known = settings.without_pseudo_labels() if node.members else settings
        found = _training_clips(known, subset, editions, setup, clips, needed)
        seen = settings.updates * settings.accumulation * settings.batch_size
        speed = measured_speed(setup.runs, node.name, system)
    steps = None if settings is None else settings.steps
    planned = PlannedSystem(
        node.name, node.path, (), found, steps, seen, stand, None, None, disk, state
    )
    return at_speed(planned, speed)


def at_speed(system: PlannedSystem, speed: float | None) -> PlannedSystem:
    """A planned system whose training takes as long as so many clips a second need."""
    if speed is None or system.seen is None:
        return replace(system, speed=None, hours_left=None)
    left = (1 - system.stand.trained) * system.seen / speed / SECONDS_IN_HOUR
    return replace(system, speed=speed, hours_left=left)


def measured_speed(runs: str | Path, name: str, system: System) -> float | None:
    """Clips a second of a system's own training, else of one that computes the same; or None."""
    runs = Path(runs)
    others = sorted(path.parent.name for path in runs.glob("*/train.jsonl"))
    for run in dict.fromkeys([name, *others]):
        if run != name and not _computes_as(runs / run, system):
            continue
        speeds = [each["clips_per_second"] for each in read_history(runs / run)
                  if "clips_per_second" in each]  # fmt: skip
        if speeds:
            return median(speeds)
    return None


def _computes_as(run: Path, system: System) -> bool:
    """Whether a run's training takes as long for a clip, as far as its recipe can tell."""
    try:
        other = read_system(run)
    except DcaseAsdError:
        return False
    alike = ("seconds", "precision", "tune", "freeze", "batch_size")
    return (
        other.train is not None
        and system.train is not None
        and (other.embed.plugin, other.embed.checkpoint, other.embed.options)
        == (system.embed.plugin, system.embed.checkpoint, system.embed.options)
        and all(getattr(other.train, each) == getattr(system.train, each) for each in alike)
    )


def _disk(system: System, clips: int) -> tuple[float | None, float | None]:
    """Bytes that stay, and more while fine-tuning; None where the network is not a known one."""
    network = _network(system)
    if network is None or not network.parameters:
        return None, None
    settings, weights = system.train, network.parameters * BYTES
    if settings is None:
        return 0.0, 0.0
    members = 1 if settings.ensemble == "weights" else settings.keep
    kept = settings.keep + 1  # the last one stays, too
    disk = kept * weights + members * clips * settings.embedding * BYTES
    return float(disk), float(STATE_COPIES * weights)


def _network(system: System) -> Checkpoint | None:
    """The published network that a system starts from; None where it is no such one."""
    embedding = system.embed
    if "architecture" in embedding.options:
        return None
    plugins = {plugin.name: plugin for plugin in installed_plugins()}
    plugin = plugins.get(embedding.plugin)
    known = () if plugin is None else named_checkpoints(plugin)
    if embedding.checkpoint is None:
        return known[0] if known else None
    parts = Path(embedding.checkpoint).parts
    for checkpoint in known:
        files = {file.name for file in checkpoint.files} if len(checkpoint.files) == 1 else set()
        if {checkpoint.name, *files} & set(parts):
            return checkpoint
    return None


def _training_clips(
    settings: Training,
    subset: Subset,
    editions: tuple[str, ...],
    setup: Setup,
    clips: pd.DataFrame | None,
    needed: list[str],
) -> int | None:
    if clips is None:
        names = [load_edition(name).name for name in settings.editions]
        names = [each for each in names or _nominal_editions(editions)
                 if each not in subset.exclude_editions]  # fmt: skip
        return TRAIN_CLIPS * sum(_sections(load_edition(each), subset) for each in names)
    try:
        return len(read_training_set(setup.data, settings, subset=subset).clips)
    except DcaseAsdError as error:
        needed.append(str(error))
        return None


def _clip_count(edition: str, clips: pd.DataFrame | None, subset: Subset) -> int:
    """Train and test clips of an edition that a subset takes."""
    if clips is not None and (clips["edition"] == edition).any():
        chosen = (clips["edition"] == edition) & clips["split"].isin(["train", "test"])
        return int((chosen & (clips["role"] == "machine") & subset.mask(clips)).sum())
    return _sections(load_edition(edition), subset) * (TRAIN_CLIPS + TEST_CLIPS)


def _sections(edition: Edition, subset: Subset) -> int:
    return sum(
        subset.takes(machine, section)
        for of in edition.machines.values()
        for machine, sections in of.items()
        for section in sections
    )


def _planned_submission(form: Form, out: Path) -> PlannedSubmission:
    label, edition = form.form.label, load_edition(form.form.edition)
    package = package_name(label, edition)
    there = (out / package / TASK_FOLDER / label).is_dir() and (out / f"{package}.zip").is_file()
    return PlannedSubmission(label, edition.name, form.node.name, DONE if there else TO_DO)
