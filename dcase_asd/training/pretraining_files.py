"""A pre-training's run folder: its recipe, the state to resume from, and its checkpoints."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dcase_asd.errors import ArtifactError, RecipeError, TrainingError
from dcase_asd.files import replacing
from dcase_asd.folders import RECIPE, editions_below
from dcase_asd.recipe.pretraining import Pretraining
from dcase_asd.recipe.toml import read_recipe
from dcase_asd.registry import PRETRAINING_RECIPE
from dcase_asd.training.recordings import Recordings

if TYPE_CHECKING:
    from dcase_asd.training.pretraining_engine import PretrainingEngine

MAY_CHANGE = ("save_every", "checkpoint_every")
"""Values that change no weight, so that a run may go on with others."""


def settings_of(run: str | Path, given: dict[str, Any]) -> Pretraining:
    """The recipe of a run that was begun, else the defaults, with what is given put in.

    Raises:
        RecipeError: A value is wrong.
    """
    path = Path(run) / PRETRAINING_RECIPE
    begun = read_recipe(path, Pretraining) if path.is_file() else None
    try:
        if begun is None:
            return Pretraining(**given)
        return dataclasses.replace(begun, **given)
    except ValueError as error:
        raise RecipeError(str(error)) from error


def check_recipe(run: Path, settings: Pretraining) -> None:
    """Refuse a run folder that is something else, or was begun with other values.

    Raises:
        ArtifactError: It is or was.
    """
    if (run / RECIPE).is_file() or editions_below(run):
        what = "a system's run folder" if (run / RECIPE).is_file() else "a data folder"
        raise ArtifactError(f"{run}: {what}; give another --run, such as runs/pretrain")
    if not state_path(run).is_file() and not marker_path(run).is_file():
        return
    before = read_recipe(run / PRETRAINING_RECIPE, Pretraining)
    changes = [
        f"{name} was {old!r} and is {new!r}"
        for name, old in vars(before).items()
        if (new := getattr(settings, name)) != old and name not in MAY_CHANGE
    ]
    if changes:
        raise ArtifactError(
            f"{run}: begun with another recipe ({', '.join(changes)}); leave them out to go on "
            "with this run, or give another --run"
        )


def keep(run: Path, engine: PretrainingEngine, recordings: Recordings, updates: int) -> None:
    """Write the state, and a checkpoint, where it is time to."""
    settings = engine.settings
    if settings.checkpoint_every and updates % settings.checkpoint_every == 0:
        save(run / "checkpoints" / f"step_{updates:07d}.safetensors", engine)
    if updates % settings.save_every == 0:
        import torch

        content = {
            "inputs": recordings.fingerprint, "updates": updates, "engine": engine.state()
        }  # fmt: skip
        with replacing(state_path(run)) as temporary, temporary.open("wb") as file:
            torch.save(content, file)


def save(path: Path, engine: PretrainingEngine) -> None:
    """Write the student as a backbone's checkpoint, which `load_backbone` takes."""
    with replacing(path) as temporary:
        engine.backbone.save(temporary)


def load_state(run: Path, recordings: Recordings) -> tuple[int, dict[str, Any] | None]:
    """Updates that were made, and the state after them; None at the beginning."""
    from dcase_asd.training.checkpoints import read_state

    path = state_path(run)
    if not path.is_file():
        return 0, None
    content = read_state(path, "remove it to start again, or give another --run")
    if content["inputs"] != recordings.fingerprint:
        raise TrainingError(
            f"{run}: begun with other recordings than --audio holds now; give another --run, or "
            "put the recordings back as they were"
        )
    return content["updates"], content["engine"]


def state_path(run: Path) -> Path:
    """Where the state to resume from lies."""
    return run / "checkpoints" / "state.pt"


def marker_path(run: Path) -> Path:
    """What says that the pre-training has ended, and of what."""
    return run / "checkpoints" / "pretrained.json"
