"""Which checkpoints a fine-tuned run keeps, and which of them are scored."""

from __future__ import annotations

import dataclasses
import json
import shlex
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from dcase_asd.embeddings.store import MEMBERS
from dcase_asd.errors import ArtifactError, command
from dcase_asd.files import read_json, write_json, write_text
from dcase_asd.folders import PLAN, editions_below
from dcase_asd.recipe.detector import Detector
from dcase_asd.recipe.system import ADDED, Embedding, System, read_system, recipe_path
from dcase_asd.recipe.toml import recipe_from, recipe_text
from dcase_asd.registry import load_class

AVERAGE = "average.safetensors"
"""The mean of the best checkpoints' weights."""

METADATA = "dcase_asd"
"""As `backbone.METADATA`, which cannot be had without torch."""
LARGEST_HEADER = 100 * 2**20
"""Bytes; the safetensors format allows no more."""


@dataclass(frozen=True)
class KeptCheckpoint:
    """A checkpoint file with its step and official dev score in [0, 1]; None: not evaluated."""

    file: str
    step: int
    score: float | None = None


@dataclass(frozen=True)
class KeptCheckpoints:
    """A fine-tuned run's checkpoints.

    Attributes:
        inputs: Fingerprint of what was trained on.
        checkpoints: Those kept, by step; the last step's is always among them.
        scored: Files that embeddings are made with.
        finished: Whether training has come to its end.
    """

    inputs: str
    checkpoints: tuple[KeptCheckpoint, ...] = ()
    scored: tuple[str, ...] = ()
    finished: bool = False


def checkpoints_folder(run: str | Path) -> Path:
    """Where a run's checkpoints lie."""
    return Path(run) / "checkpoints"


def embedding_folders(run: str | Path) -> list[Path]:
    """Folders, each in the form of a run's, that hold the embeddings a run's scores are made of.

    The run folder itself, or where several checkpoints are scored, one below it for each.

    Raises:
        ArtifactError: As `scored_checkpoints`.
    """
    run = Path(run)
    paths = scored_checkpoints(run) if _marker(run).is_file() else []
    return [run / MEMBERS / path.stem for path in paths] if len(paths) > 1 else [run]


def write_kept(run: str | Path, kept: KeptCheckpoints) -> None:
    """Write which checkpoints there are."""
    write_json(_marker(run), asdict(kept))


def read_kept(run: str | Path) -> KeptCheckpoints | None:
    """Read which checkpoints there are; None where none has been kept yet."""
    content = read_json(_marker(run))
    if content is None:
        return None
    checkpoints = tuple(KeptCheckpoint(**each) for each in content["checkpoints"])
    return KeptCheckpoints(
        content["inputs"], checkpoints, tuple(content["scored"]), content["finished"]
    )


def choose(
    checkpoints: tuple[KeptCheckpoint, ...],
    ensemble: Literal["best", "last", "weights"],
    count: int,
) -> tuple[KeptCheckpoint, ...]:
    """The checkpoints of an ensemble, by step.

    Args:
        checkpoints: All that there are, by step.
        ensemble: ``last``, else the best by dev score; of equal scores the later.
        count: How many.
    """
    if ensemble == "last":
        return checkpoints[-count:]
    ranked = sorted(checkpoints, key=lambda each: (each.score or 0.0, each.step))
    return tuple(sorted(ranked[-count:], key=lambda each: each.step))


def scored_checkpoints(run: str | Path) -> list[Path]:
    """Checkpoints that a fine-tuned run is embedded with.

    Raises:
        ArtifactError: Fine-tuning has not come to its end, or a checkpoint is gone.
    """
    kept = read_kept(run)
    if kept is None or not kept.finished:
        finish = command("finetune", "--data", "data", "--run", run)
        raise ArtifactError(f"{run}: fine-tuning is not finished; finish it with {finish}")
    paths = [checkpoints_folder(run) / file for file in kept.scored]
    for path in paths:
        if not path.is_file():
            raise ArtifactError(f"{path}: this checkpoint is gone; fine-tune again in another run")
    return paths


def checkpoint_metadata(path: str | Path) -> dict[str, str]:
    """What a checkpoint says of itself, read without torch; nothing for a file of others."""
    try:
        with Path(path).open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(size)) if size <= LARGEST_HEADER else {}
        return dict(json.loads(header["__metadata__"][METADATA]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def heard_otherwise(recipe: Embedding) -> str:
    """That a recipe's checkpoint was fine-tuned on what another `far` leaves; else empty."""
    about = checkpoint_metadata(Path(recipe.checkpoint or "").expanduser())
    heard = about.get("far", "none")
    if "classes" not in about or heard == recipe.far:
        return ""
    return (
        f"fine-tuned on recordings with far = {heard} and embedded with far = {recipe.far}; "
        f"--far {heard} embeds them as they were heard in training"
    )


def _marker(run: str | Path) -> Path:
    return checkpoints_folder(run) / "kept.json"


def keep_recipe(run: str | Path, system: System) -> None:
    """Write a system's recipe into its run folder; what was made otherwise is never mixed.

    A recipe that nothing was made with yet, such as one with a mistake, is replaced.

    Raises:
        ArtifactError: The run folder was made with another backbone or other embedding options, or
            is a data folder.
    """
    run, path = Path(run), recipe_path(run)
    if not path.exists() and editions_below(run):
        raise ArtifactError(f"{run}: a data folder; give another --run, such as runs/{system.name}")
    if path.exists() and _holds_results(run):
        made = read_system(path)
        before, after = _that_must_stay(made), _that_must_stay(system)
        kept = read_kept(run)
        if kept is not None and kept.finished:
            # No checkpoint is chosen by it any more, and embeddings are made anew with another.
            for name in ("train.representation", *ADDED):
                before.pop(name, None)
                after.pop(name, None)
        changes = [
            f"{name} was {before.get(name)!r} and is {after.get(name)!r}"
            for name in sorted(before.keys() | after.keys())
            if before.get(name) != after.get(name)
        ]
        if changes:
            way_out = "give another --run, or remove this folder"
            if "train.seed" in before:  # nobody shall remove days of training
                way_out = "leave them out to go on with this run, or give another --run"
            if changes and all(change.startswith("data.") for change in changes):
                flags = shlex.join(made.subset.flags()) or "no --machine, --section, …"
                way_out = f"give {flags} to go on with this run, or give another --run"
            raise ArtifactError(
                f"{run}: made with other settings ({', '.join(changes)}); {way_out}"
            )
    write_text(path, recipe_text(replace(system, score=detector_of(run, system))))


def detector_of(run: str | Path, system: System) -> Detector:
    """How a system is scored: as its recipe says, else as the run was, else as its plugin proposes.

    What its plugin proposes is for its own representation: a backbone that is fine-tuned, now or
    before, is scored as the report does.

    Raises:
        BackboneError: The plugin cannot be imported.
        RecipeError: What it proposes is wrong.
    """
    if system.score is not None:
        return system.score
    path, embed = recipe_path(run), system.embed
    if path.is_file() and _holds_results(Path(run)):
        before = read_system(path)
        if before.score is not None and before.embed.plugin == embed.plugin:
            return before.score
    return Detector() if system.train is not None else proposed_detector(embed)


def proposed_detector(embed: Embedding) -> Detector:
    """What the plugin proposes; the default of a fine-tuned checkpoint.

    Raises:
        BackboneError: The plugin cannot be imported.
        RecipeError: What it proposes is wrong.
    """
    if "classes" in checkpoint_metadata(Path(embed.checkpoint or "").expanduser()):
        return Detector()
    return recipe_from(load_class(embed.plugin).scoring, Detector, f"plugin {embed.plugin!r}")


def _holds_results(run: Path) -> bool:
    """Whether a run folder holds more than a recipe and the plan of what to embed."""
    beginnings = {recipe_path(run).name, PLAN}
    files = (path for path in run.rglob("*") if path.is_file() and path.name not in beginnings)
    return any(path.stat().st_size for path in files)  # a lock or a new history is empty


def _that_must_stay(system: System) -> dict[str, Any]:
    """Recipe values by name that embeddings and checkpoints of a run folder depend on."""
    values = dataclasses.asdict(system.embed)
    del values["batch_size"]  # which changes no embedding
    if system.train is not None:
        values |= {f"data.{name}": value for name, value in vars(system.subset).items()}
        values |= {f"train.{name}": value for name, value in vars(system.train).items()}
        del values["train.pseudo_run"]  # of its clusters, wherever they lie, `finetune` knows
    return values
