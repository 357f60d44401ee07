"""A system from recordings to results, with all the systems that it is made of."""

from __future__ import annotations

import dataclasses
import json
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from dcase_asd.clips.manifest import clips_of_edition, read_manifest
from dcase_asd.clips.prepare import prepare_when_free
from dcase_asd.editions.edition import load_edition
from dcase_asd.embeddings.embed import embed
from dcase_asd.fusion.fuse import fuse
from dcase_asd.metrics.evaluate import evaluate_run_or_folder
from dcase_asd.metrics.result import EvaluationReport
from dcase_asd.progress import Advance, Progress, Silent
from dcase_asd.recipe.fusion import FusedSystem, Fusion
from dcase_asd.recipe.subset import EVERYTHING, Subset
from dcase_asd.runs.claims import claimed, owner_of
from dcase_asd.runs.overlay import Overlay, read_overlay
from dcase_asd.runs.recipes import Node, read_nodes
from dcase_asd.runs.requirements import check_requirements, editions_of
from dcase_asd.scores.score import score
from dcase_asd.training.finetune import finetune, is_main_process


@dataclass(frozen=True)
class Setup:
    """Where to read, to write and to compute.

    Attributes:
        data: Data folder.
        runs: Folder of the run folders.
        device: ``cpu``, ``cuda``, ``cuda:1``, or ``auto``.
        workers: Threads that read audio while fine-tuning.
        overlay: A file of changes to every recipe (see `runs.overlay`).
        values: Single changes to every recipe that has the table, each ``table.name=value``.
        prepared: Take the manifest as it is, without looking through the data folder.
        overwrite: Replace a fusion, or a system in a package, that was made otherwise.
        subset: Which clips every system takes, in place of what its recipe says.
    """

    data: Path
    runs: Path
    device: str = "auto"
    workers: int = 2
    overlay: Path | None = None
    prepared: bool = False
    overwrite: bool = False
    values: tuple[str, ...] = ()
    subset: Subset = EVERYTHING

    def __post_init__(self) -> None:
        for name in ("data", "runs", "overlay"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, Path(getattr(self, name)))

    def changes(self) -> Overlay:
        """Read what is to be changed in every recipe.

        Raises:
            RecipeError: As `read_overlay`.
        """
        given = [f"data.{name}={json.dumps(of)}" for name, of in self.subset.given().items()]
        return read_overlay(self.overlay, [*self.values, *given])


@dataclass(frozen=True)
class SystemRun:
    """What running a system gave.

    Attributes:
        run: Its run folder.
        evaluations: Results of every edition and stage with known labels.
        changed: Whether anything was done that was not done before.
    """

    run: Path
    evaluations: list[EvaluationReport]
    changed: bool = True


def run_recipe(recipe: str | Path, setup: Setup, progress: Progress | None = None) -> SystemRun:
    """Run a recipe, of a system or of a fusion with its systems, in folders below ``runs``.

    Raises:
        RecipeError: A recipe is wrong or lacks weights; all mistakes are listed.
        DcaseAsdError: As the steps; the same call goes on where it stopped.
    """
    (node,) = read_nodes([recipe], setup.changes())
    runner = Runner(setup, progress or Silent())
    runner.prepare()
    check_requirements([node], setup.data, setup.runs, node.recipe.editions)
    return runner.run_and_evaluate(node, node.recipe.editions)


def finetune_recipe(recipe: str | Path, setup: Setup, progress: Progress | None = None) -> bool:
    """Only fine-tune what a recipe names; several processes of a launcher may do so together.

    `prepare` must have been run before.

    Returns:
        Whether anything was trained that was not trained before.

    Raises:
        DcaseAsdError: As `run_recipe`.
    """
    (node,) = read_nodes([recipe], setup.changes())
    check_requirements([node], setup.data, setup.runs, node.recipe.editions)
    runner = Runner(setup, progress or Silent())
    changed = []
    for each in node.walk():
        # Of the processes of a launcher one speaks for all of them.
        with (
            claimed(setup.runs, each.name, runner.progress) if is_main_process() else nullcontext()
        ):
            changed.append(runner.finetune(each))
    return any(changed)


@dataclass
class Runner:
    """Runs systems, each once, and remembers which are done.

    Attributes:
        setup: Where.
        progress: Where to tell how far it is.
        done: Names of systems and the editions that they were run on, and whether that changed
            anything.
    """

    setup: Setup
    progress: Progress
    done: dict[tuple[str, tuple[str, ...]], bool] = field(default_factory=dict)

    def prepare(self) -> None:
        """Make the manifest, after any other process that is about it.

        Raises:
            DataError: As `prepare`.
        """
        if not self.setup.prepared:
            prepare_when_free(self.setup.data, self.progress)

    def run_and_evaluate(self, node: Node, editions: tuple[str, ...]) -> SystemRun:
        """Run a system and, where conditions are known, evaluate it.

        Args:
            node: The system.
            editions: On which; empty means all that the data folder holds.
        """
        data, run = self.setup.data, self.setup.runs / node.name
        clips = read_manifest(data)
        names = editions_of(node, clips, editions)
        progress = _Named(self.progress, node.name)
        if lacking := sorted(set(clips["edition"]) - set(names)) if not editions else []:
            progress.note(f"of {', '.join(lacking)} nothing is taken")
        changed = self.run(node, names)
        clips = clips[node.subset.mask(clips)]
        evaluations: list[EvaluationReport] = []
        for edition in names:
            of_edition = clips_of_edition(clips, edition, data)
            test = of_edition[of_edition["split"] == "test"]
            known = test["condition"] != ""
            truth = data / "ground_truth" / edition
            blind = truth.is_dir() and ((test["stage"] == "eval") & ~known).any()
            labels = [*([None] if known.any() else []), *([truth] if blind else [])]
            evaluations += [
                evaluate_run_or_folder(run, edition, ground_truth=each, progress=progress)
                for each in labels
            ]
        return SystemRun(run, evaluations, changed)

    def run(self, node: Node, editions: tuple[str, ...]) -> bool:
        """Run a system after all that it is made of; returns whether anything changed."""
        key, runs = (node.name, editions), self.setup.runs
        if key not in self.done:
            # What another process runs comes last, when that may have ended.
            members = sorted(node.members, key=lambda each: bool(owner_of(runs, each.name)))
            clusters = bool(members) and not node.is_fusion
            wanted = self._trained_on(node) if clusters else editions
            changed = [self.run(member, wanted) for member in members]
            own = self._fuse if node.is_fusion else self._run_single
            with claimed(runs, node.name, self.progress):
                self.done[key] = any([*changed, own(node, editions)])
        return self.done[key]

    def finetune(self, node: Node) -> bool:
        """Fine-tune one system, where its recipe says so; returns whether it was trained now."""
        system = node.single(self.setup.runs)
        if system is None or system.train is None:
            return False
        return finetune(
            self.setup.data, self.setup.runs / system.name, system, device=self.setup.device,
            workers=self.setup.workers, progress=_Named(self.progress, system.name),
        ).changed  # fmt: skip

    def _trained_on(self, node: Node) -> tuple[str, ...]:
        """Editions whose embeddings a system's pseudo-labels are made of."""
        train = getattr(node.recipe, "train", None)
        names = sorted(load_edition(name).name for name in (train.editions if train else ()))
        names = names or sorted(read_manifest(self.setup.data)["edition"].unique())
        return tuple(name for name in names if name not in node.subset.exclude_editions)

    def _run_single(self, node: Node, editions: tuple[str, ...]) -> bool:
        system, run = node.single(self.setup.runs), self.setup.runs / node.name
        assert system is not None  # noqa: S101 - see `run`
        progress = _Named(self.progress, node.name)
        changed = self.finetune(node)
        for edition in editions:
            part = {"machines": system.subset.machines, "sections": system.subset.sections}
            done = embed(self.setup.data, run, edition, system, self.setup.device, progress, **part)
            scored = score(run, edition, system.score, progress, **part)
            changed = changed or bool(done.made) or scored.changed
        return changed

    def _fuse(self, node: Node, editions: tuple[str, ...]) -> bool:
        fused, runs = node.recipe, self.setup.runs
        assert isinstance(fused, FusedSystem)  # noqa: S101 - see `run`
        progress = _Named(self.progress, node.name)
        members = [runs / member.name for member in node.members]
        fusion = _of_runs(fused.fusion, node)
        changed = [
            fuse(
                members,
                runs / node.name,
                edition,
                fusion,
                overwrite=self.setup.overwrite,
                progress=progress,
            ).changed
            for edition in editions
        ]
        return any(changed)


def _of_runs(fusion: Fusion, node: Node) -> Fusion:
    """A fusion whose systems are named by their run folders instead of by their recipes."""
    names = tuple(member.name for member in node.members)
    always = tuple(name for name, kept in zip(names, fusion.kept, strict=True) if kept)
    return dataclasses.replace(fusion, systems=names, always=always)


class _Named:
    """Progress that says which system it is about."""

    def __init__(self, progress: Progress, name: str) -> None:
        self.progress, self.name = progress, name

    def bar(self, description: str, total: int, unit: str) -> AbstractContextManager[Advance]:
        """A bar with the system's name before its description."""
        return self.progress.bar(f"{self.name}: {description}", total, unit)

    def status(self, message: str) -> None:
        """As it is, beside the bar."""
        self.progress.status(message)

    def note(self, message: str) -> None:
        """A note with the system's name before it."""
        self.progress.note(f"{self.name}: {message}")
