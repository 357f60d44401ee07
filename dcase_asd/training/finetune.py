"""Recordings of many machines -> checkpoints of a backbone that was fine-tuned on them."""

from __future__ import annotations

import atexit
import dataclasses
import os
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dcase_asd.clips.cache import content_hashes
from dcase_asd.clips.pack import packed_recordings
from dcase_asd.clips.prepare import up_to_date_manifest
from dcase_asd.editions.edition import load_edition
from dcase_asd.embeddings.kept import (
    KeptCheckpoint,
    checkpoints_folder,
    detector_of,
    heard_otherwise,
    keep_recipe,
    read_kept,
)
from dcase_asd.embeddings.rules import (
    Uses,
    objections,
    together,
    uses_of,
    uses_of_run,
)
from dcase_asd.errors import BackboneError, RecipeError, TrainingError
from dcase_asd.files import fingerprint, only_writer
from dcase_asd.progress import Progress, Silent
from dcase_asd.recipe.subset import Names
from dcase_asd.recipe.system import (
    Embedding,
    Far,
    System,
    read_system,
    recipe_path,
    with_subset,
)
from dcase_asd.recipe.training import Training
from dcase_asd.registry import load_backbone

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator

    from dcase_asd.audio import Mapped
    from dcase_asd.training.data import TrainingSet
    from dcase_asd.training.dev_score import DevelopmentSet
    from dcase_asd.training.loop import Loop


@dataclass(frozen=True)
class FineTuned:
    """What `finetune` did: the checkpoints that are scored, and whether it trained just now."""

    checkpoints: tuple[KeptCheckpoint, ...]
    scored: tuple[Path, ...]
    changed: bool


def finetune(
    data: str | Path,
    run: str | Path,
    system: System,
    *,
    device: str = "auto",
    workers: int = 2,
    tensorboard: bool = False,
    mlflow: str = "",
    machines: Names | None = None,
    sections: Names | None = None,
    exclude_editions: Names | None = None,
    progress: Progress | None = None,
) -> FineTuned:
    """Fine-tune a backbone to tell machines and their attributes apart.

    A run that was stopped at any moment goes on where its state was last saved, and ends with the
    weights of an undisturbed one. Started by ``accelerate launch`` or ``torchrun``, the processes
    share the batches of each update. Where recordings are new, changed or gone since `prepare`, the
    manifest is brought up to date first. What embedding takes out of recordings (`far`) training
    does not hear either: by the same function, of whole clips.

    Args:
        data: Data folder with a manifest.
        run: Run folder to write to.
        system: With the recipe in `train`; `embed` says what to start from and what to hear.
        device: ``cpu``, ``cuda``, ``cuda:1``; ``auto`` takes a GPU where there is one.
        workers: Threads that read audio; 0 reads between the updates.
        tensorboard: Write the training history for TensorBoard, too.
        mlflow: Write it to MLflow, too: a folder, or the address of a server.
        machines: Machine types to train on; by default those of `system`, else all.
        sections: Sections to train on; likewise.
        exclude_editions: Editions to leave out, their noise clips, too; likewise.
        progress: Where to tell how far it is.

    Raises:
        DataError: The data folder lacks clips, classes, noise, a labelled development set, or far
            channels that are to be taken out.
        BackboneError: The plugin or checkpoint cannot be used or fine-tuned, or holds weights that
            are not finite.
        TrainingError: The recipe does not fit the backbone, data, memory or number of processes;
            the loss is not finite; the state is damaged; a third party's loss or augmentation is
            missing or fails; TensorBoard or MLflow is not installed.
        ArtifactError: The run folder was made with another recipe, or is being written.
    """
    from dcase_asd.training.data import read_training_set
    from dcase_asd.training.named import parts_of, record_of

    data, run = Path(data), Path(run)
    settings = system.train or Training()
    system = with_subset(
        dataclasses.replace(system, train=settings), machines, sections, exclude_editions
    )
    progress = (progress or Silent()) if is_main_process() else Silent()
    before = read_kept(run)
    finished = before is not None and before.finished
    parts = [] if finished else parts_of(settings, run)  # told before all audio is read
    up_to_date_manifest(data, progress)
    chosen = read_training_set(data, settings, system.embed, system.subset)
    paths = [*chosen.clips["path"], *chosen.noise["path"]]
    hashes = content_hashes(data, paths, progress)
    # What was begun before the audio was looked at has the first half, with which this begins.
    inputs = chosen.fingerprint() + fingerprint([hashes[path] for path in paths])
    if before is not None and finished:  # seen before torch is imported, which takes seconds
        return _finished(run, system, inputs, before.inputs, progress)

    from dcase_asd.training.dev_score import read_development_set
    from dcase_asd.training.engine import leave_processes, make_accelerator
    from dcase_asd.training.faults import names_lost_processes
    from dcase_asd.training.history import History
    from dcase_asd.training.tracking import Tracking

    accelerator = make_accelerator(settings, device)
    with (
        only_writer(run) if accelerator.is_main_process else nullcontext(),
        names_lost_processes(accelerator.num_processes),
    ):
        if accelerator.is_main_process:
            keep_recipe(run, system)
        accelerator.wait_for_everyone()
        for note in chosen.notes:
            progress.note(note)
        dev = read_development_set(data, settings, system.embed, system.subset)
        choosing = "" if dev is None or settings.ensemble == "last" else dev.edition.name
        own = uses_of(chosen.clips["edition"], chosen.noise["edition"], choosing)
        # What its classes were clustered by may have been trained as well.
        uses = together(own, uses_of_run(settings.pseudo_run) if settings.pseudo_run else {})
        if not settings.editions and len(own["train"]) > 1:
            listed = ", ".join(own["train"])
            progress.note(f"trained on all that is on disk: {listed}; --editions chooses")
        for sentence in _rules_broken(system, uses):
            progress.note(sentence)
        loop = _loop(
            data, run, system, settings, chosen, dev, uses,
            record=record_of(run, parts, progress), inputs=inputs,
            packed=packed_recordings(data, hashes, progress),
            accelerator=accelerator, device=device, workers=workers, progress=progress,
        )  # fmt: skip
        state = loop.files.load_state()
        if accelerator.is_main_process:
            tracking = Tracking(mlflow, run, system, progress) if mlflow else None
            first = 0 if state is None else state.updates
            loop.history = History(run, first, tensorboard, tracking)
        with loop.history or nullcontext():
            loop.run(state)
        accelerator.wait_for_everyone()
        if accelerator.num_processes > 1:
            # At exit, as the next system goes on with the same processes; not after an error, when
            # taking leave could wait for processes that are gone.
            atexit.register(leave_processes)
    return _outcome(run, changed=True)


def _finished(run: Path, system: System, inputs: str, before: str, progress: Progress) -> FineTuned:
    """What was fine-tuned before, on the same clips."""
    with only_writer(run) if is_main_process() else nullcontext():
        if is_main_process():
            keep_recipe(run, system)
    if not inputs.startswith(before):
        raise TrainingError(
            f"{run}: fine-tuned on other clips than the data folder holds now; give another --run"
        )
    done = _outcome(run, changed=False)
    heard = dataclasses.replace(system.embed, checkpoint=str(done.scored[0]))
    if told := heard_otherwise(heard):
        progress.note(told)
    return done


def is_main_process() -> bool:
    """Whether this is the one process, or of those of a launcher the one that writes and speaks."""
    return os.environ.get("RANK", "0") == "0"


def planned_system(
    run: str | Path,
    recipe: str | Path | None = None,
    *,
    plugin: str | None = None,
    checkpoint: str | None = None,
    options: dict[str, Any] | None = None,
    channel: int | None = None,
    far: Far | None = None,
    settings: dict[str, Any] | None = None,
) -> System:
    """The system of a command: a recipe's, else that of the run, with what is given put in.

    Args:
        run: Run folder; its recipe is gone on with where no other is given.
        recipe: A system's recipe.
        plugin: Backbone plugin.
        checkpoint: Weights to start from.
        options: Options of the plugin.
        channel: Channel of recordings with several, from 0.
        far: How the other of two channels is taken out of it.
        settings: Values of `Training`.

    Raises:
        RecipeError: The recipe or a value is wrong, or no plugin is named anywhere.
    """
    run, path = Path(run), Path(recipe or recipe_path(run))
    if recipe is not None or path.is_file():
        system = read_system(path)
    elif plugin is None:
        raise RecipeError(f"{run}: no recipe yet; say what to fine-tune with --plugin")
    else:
        system = System(run.name, Embedding(plugin))
    given: dict[str, Any] = {
        "plugin": plugin, "checkpoint": checkpoint, "options": options or None, "channel": channel,
        "far": far,
    }  # fmt: skip
    changes = {name: value for name, value in given.items() if value is not None}
    try:
        train = dataclasses.replace(system.train or Training(), **(settings or {}))
        embedding = dataclasses.replace(system.embed, **changes)
        return dataclasses.replace(system, name=run.name, embed=embedding, train=train)
    except ValueError as error:
        raise RecipeError(str(error)) from error


def _rules_broken(system: System, uses: Uses) -> list[str]:
    """What the rules of the editions to be scored have against the training, in words.

    Where the recipe names none that is the newest edition that is trained on.
    """
    editions = [load_edition(name) for name in system.editions or uses["train"]]
    official = [each for each in editions if each.official]
    judged = official if system.editions else official[-1:]
    return [
        f"{each.what}: scores of {edition.name} are for analysis, not for a submission"
        for edition in judged
        for each in objections(uses, edition, system.name)
    ]


def _loop(
    data: Path,
    run: Path,
    system: System,
    settings: Training,
    chosen: TrainingSet,
    dev: DevelopmentSet | None,
    uses: Uses,
    *,
    record: list[dict[str, str]],
    inputs: str,
    packed: dict[str, Mapped],
    accelerator: Accelerator,
    device: str,
    workers: int,
    progress: Progress,
) -> Loop:
    """Put together all parts of the training."""
    from dcase_asd.backbone import broken_weight
    from dcase_asd.training.batches import TrainingBatches
    from dcase_asd.training.checkpoints import CheckpointFiles
    from dcase_asd.training.engine import Engine
    from dcase_asd.training.loop import Loop
    from dcase_asd.training.model import TrainingModel

    recipe = system.embed
    backbone = load_backbone(recipe.plugin, recipe.checkpoint, **recipe.options)
    if weight := broken_weight(backbone):
        raise BackboneError(
            f"{recipe.checkpoint or recipe.plugin}: the weight {weight} is not finite, so that "
            "nothing can be learnt from there; give another --checkpoint"
        )
    sub_centers = chosen.sub_centers(settings)
    network = TrainingModel(backbone, sub_centers, settings)
    rate = backbone.sample_rate or settings.sample_rate
    try:
        engine = Engine(network, settings, accelerator, _device(device, accelerator), rate)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise TrainingError(
            f"cannot compute on the device {device!r} ({reason}); try --device cpu"
        ) from error
    return Loop(
        engine=engine,
        batches=TrainingBatches(data, chosen, settings, rate, recipe.channel, recipe.far, packed),
        dev=dev, detector=detector_of(run, system),
        files=CheckpointFiles(
            run, settings, chosen.classes, sub_centers, inputs, uses,
            record=record, far=recipe.far,
        ),
        history=None, settings=settings, progress=progress, workers=workers,
    )  # fmt: skip


def _device(device: str, accelerator: Accelerator) -> torch.device:
    """One process computes where it is told to, several each on a device of its own."""
    import torch

    if accelerator.num_processes > 1 or device == "auto":
        chosen: torch.device = accelerator.device
        return chosen
    return torch.device(device)


def _outcome(run: Path, *, changed: bool) -> FineTuned:
    kept = read_kept(run)
    if kept is None:
        raise TrainingError(f"{run}: no checkpoint was written; run the same command again")
    paths = tuple(checkpoints_folder(run) / file for file in kept.scored)
    return FineTuned(kept.checkpoints, paths, changed)
