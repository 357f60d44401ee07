"""Recordings without labels -> a checkpoint of a backbone that was pre-trained on them."""

from __future__ import annotations

import atexit
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from dcase_asd.errors import TrainingError
from dcase_asd.files import only_writer, read_json, write_json, write_text
from dcase_asd.progress import Progress, Silent
from dcase_asd.recipe.pretraining import Pretraining
from dcase_asd.recipe.toml import recipe_text
from dcase_asd.registry import PRETRAINED, PRETRAINING_RECIPE
from dcase_asd.training.pipes import remove_fetched
from dcase_asd.training.pretraining_files import (
    check_recipe,
    keep,
    load_state,
    marker_path,
    save,
    state_path,
)
from dcase_asd.training.recordings import Recordings, find_recordings

if TYPE_CHECKING:
    from dcase_asd.training.history import History
    from dcase_asd.training.pretraining_engine import PretrainingEngine

PIPES = "pipes"
"""Folder of a run in which what pipes print is kept."""
NOTES = 20
"""Recordings that cannot be used and are told one by one; of more only the number."""


@dataclass(frozen=True)
class Pretrained:
    """What `pretrain` did: the checkpoint, and whether it trained just now."""

    checkpoint: Path
    changed: bool


def pretrain(
    audio: Sequence[str | Path],
    run: str | Path,
    settings: Pretraining,
    *,
    device: str = "auto",
    workers: int = 2,
    tensorboard: bool = False,
    mlflow: str = "",
    progress: Progress | None = None,
) -> Pretrained:
    """Pre-train a backbone on recordings without labels.

    A run that was stopped at any moment goes on where its state was last saved, and ends with the
    weights of an undisturbed one. Started by ``accelerate launch`` or ``torchrun``, the processes
    share the batches of each update.

    Args:
        audio: Folders, audio files, shards and pipes (see `recordings.find_recordings`).
        run: Run folder to write to.
        settings: The recipe.
        device: ``cpu``, ``cuda``, ``cuda:1``; ``auto`` takes a GPU where there is one.
        workers: Threads that read audio; 0 reads between the updates.
        tensorboard: Write the history for TensorBoard, too.
        mlflow: Write it to MLflow, too: a folder, or the address of a server.
        progress: Where to tell how far it is.

    Raises:
        DataError: There is no recording.
        AudioError: Hardly any recording can be used.
        BackboneError: The plugin or checkpoint cannot be used.
        RecipeError: A value does not fit the plugin or the checkpoint.
        TrainingError: The recipe does not fit memory or the number of processes; the loss is not
            finite; the state is damaged or of other recordings.
        ArtifactError: The run folder was made with another recipe, or is being written.
    """
    from dcase_asd.training.finetune import is_main_process

    run, main = Path(run), is_main_process()
    progress = (progress or Silent()) if main else Silent()
    check_recipe(run, settings)
    recordings = find_recordings(audio, progress, run / PIPES)
    marker, checkpoint = marker_path(run), run / PRETRAINED
    done = read_json(marker)
    if done is not None and checkpoint.is_file():
        if done["inputs"] != recordings.fingerprint:
            raise TrainingError(f"{run}: pre-trained on other recordings; give another --run")
        return Pretrained(checkpoint, changed=False)

    import torch

    from dcase_asd.training.engine import leave_processes, make_accelerator
    from dcase_asd.training.faults import names_lost_processes
    from dcase_asd.training.history import History
    from dcase_asd.training.pretraining_engine import PretrainingEngine
    from dcase_asd.training.pretraining_student import student
    from dcase_asd.training.tracking import Tracking

    accelerator = make_accelerator(settings, device)
    with (
        only_writer(run) if main else nullcontext(),
        names_lost_processes(accelerator.num_processes),
    ):
        backbone, whole = student(settings)
        own = accelerator.num_processes == 1 and device != "auto"
        try:
            engine = PretrainingEngine(
                backbone, whole, accelerator, torch.device(device) if own else accelerator.device
            )
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise TrainingError(
                f"cannot compute on the device {device!r} ({reason}); try --device cpu"
            ) from error
        if main:  # not before: the next command would take over what cannot be done
            write_text(run / PRETRAINING_RECIPE, recipe_text(settings))
        first, state = load_state(run, recordings)
        if state is not None:
            engine.restore(state)
        tracking = Tracking(mlflow, run, settings, progress) if main and mlflow else None
        history = History(run, first, tensorboard, tracking) if main else None
        with history or nullcontext():
            _train(run, engine, recordings, workers, first, history, progress)
        accelerator.wait_for_everyone()
        if main:
            write_json(marker, {"inputs": recordings.fingerprint, "updates": settings.updates})
            state_path(run).unlink(missing_ok=True)
            remove_fetched(run / PIPES)
        if accelerator.num_processes > 1:
            atexit.register(leave_processes)
    return Pretrained(checkpoint, changed=True)


@dataclass(frozen=True)
class Plan:
    """What a pre-training would do.

    Attributes:
        recordings: How many there are.
        weights: Of the network that is trained, without decoder and teacher.
        sample_rate: In Hz; 0: each recording at its own.
        masks: Of a clip at 16 kHz, over all its bands.
        visible: Patches that the student sees of each band, and how many there are.
        gflop: Of a clip at 16 kHz, forward and backward.
        done: Updates that the run has made already.
        updates: Updates in all.
        clips: Of an update.
    """

    recordings: int
    weights: int
    sample_rate: int
    masks: int
    visible: tuple[int, int]
    gflop: float
    done: int
    updates: int
    clips: int


def plan_pretraining(
    audio: Sequence[str | Path],
    run: str | Path,
    settings: Pretraining,
    progress: Progress | None = None,
) -> Plan:
    """What `pretrain` would do with the same arguments; all is read, nothing written.

    Raises:
        DcaseAsdError: As `pretrain` before its first update.
    """
    import torch

    from dcase_asd.backbone.vision_transformer import PATCH
    from dcase_asd.training.pretraining_batches import PretrainingBatch
    from dcase_asd.training.pretraining_cost import gflop_of_clip
    from dcase_asd.training.pretraining_engine import images_and_clones
    from dcase_asd.training.pretraining_objective import visible_patches
    from dcase_asd.training.pretraining_student import batch_rate, student

    run = Path(run)
    check_recipe(run, settings)
    with nullcontext(run / PIPES) if (run / PIPES).is_dir() else TemporaryDirectory() as pipes:
        recordings = find_recordings(audio, progress, Path(pipes))
    backbone, whole = student(settings)
    rate = batch_rate(settings) or 16_000
    samples = round(whole.seconds * rate)
    clip = PretrainingBatch(
        0, torch.zeros(1, samples), torch.tensor([samples]), torch.tensor([rate]), [], []
    )
    images, clones = images_and_clones(clip, backbone, whole, torch.device("cpu"))
    grid = images.shape[1] // PATCH * (images.shape[2] // PATCH)
    done = read_json(marker_path(run))
    return Plan(
        recordings=len(recordings),
        weights=sum(each.numel() for each in backbone.parameters()),
        sample_rate=batch_rate(settings),
        masks=int(clones.sum()),
        visible=(visible_patches(grid, whole), grid),
        gflop=gflop_of_clip(backbone.options["architecture"], whole, grid, len(images)),
        done=load_state(run, recordings)[0] if done is None else settings.updates,
        updates=settings.updates,
        clips=settings.batch_size * settings.accumulation,
    )


def _train(
    run: Path,
    engine: PretrainingEngine,
    recordings: Recordings,
    workers: int,
    first: int,
    history: History | None,
    progress: Progress,
) -> None:
    """Train from an update on to the end, and write the checkpoint."""
    from dcase_asd.training.batches import load_batches
    from dcase_asd.training.engine import training
    from dcase_asd.training.pretraining_batches import PretrainingBatches
    from dcase_asd.training.pretraining_student import batch_rate

    settings = engine.settings
    batches = PretrainingBatches(recordings, settings, batch_rate(settings))
    told: set[str] = set()
    with (
        training(engine.model, settings),
        progress.bar("Pre-training", settings.updates - first, "updates") as advance,
    ):
        loaded = load_batches(batches, engine.numbers(first), workers, engine.device.type == "cuda")
        for update in range(first, settings.updates):
            report = engine.update(update, loaded)
            for line in report.skipped:
                if line not in told and len(told) < NOTES:
                    progress.note(f"left out: {line}")
                told.add(line)
            if history is not None:
                history.add(update + 1, update + 1, report.values)
                keep(run, engine, recordings, update + 1)
            rank = report.values["effective_rank"]
            progress.status(
                f"loss {report.loss:.4f}, effective rank {rank:.1f}, "
                f"{report.clips_per_second:.1f} clips/s"
            )
            advance(1)
    if len(told) > NOTES:
        progress.note(f"left out: {len(told) - NOTES} more for such reasons")
    if history is not None:
        save(run / PRETRAINED, engine)
