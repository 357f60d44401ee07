"""What makes a system: the recipe that a run folder carries, from embedding to score."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dcase_asd.embeddings.kept import read_kept
from dcase_asd.embeddings.store import PLAN
from dcase_asd.errors import ArtifactError, RecipeError
from dcase_asd.files import write_text
from dcase_asd.folders import RECIPE, check_run, editions_below
from dcase_asd.recipe.toml import read_content, read_recipe, recipe_text
from dcase_asd.recipe.training import Training
from dcase_asd.scores.detector import Detector


@dataclass(frozen=True)
class Embedding:
    """How clips become embeddings.

    Attributes:
        plugin: Name of the backbone plugin.
        checkpoint: File or folder; None takes the plugin's default. Fine-tuning starts from it.
        options: Keyword arguments of the plugin's `from_checkpoint`.
        channel: Channel of recordings with several, from 0 (in 2026 the near microphone).
        batch_size: Clips computed at once.
    """

    plugin: str
    checkpoint: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    channel: int = 0
    batch_size: int = 16

    def __post_init__(self) -> None:
        if self.channel < 0 or self.batch_size < 1:
            raise ValueError("channel must be at least 0, batch_size at least 1")


@dataclass(frozen=True)
class System:
    """One system: everything that tells its scores from another's.

    Attributes:
        name: Name of its run folder.
        embed: How clips become embeddings.
        score: How embeddings become anomaly scores.
        editions: Editions to run on; empty means all that the data folder holds.
        train: How the backbone is fine-tuned first; None: it is used as it is.
    """

    name: str
    embed: Embedding
    score: Detector = field(default_factory=Detector)
    editions: tuple[str, ...] = ()
    train: Training | None = None


def recipe_path(run: str | Path) -> Path:
    """Where a run folder keeps its resolved recipe."""
    return Path(run) / RECIPE


def read_system(path: str | Path) -> System:
    """Read a system's recipe, or the one inside a run folder.

    Raises:
        DataError: A folder is no run's.
        ArtifactError: The run folder holds no recipe.
        RecipeError: The recipe is wrong (all mistakes are listed), or that of a fusion.
    """
    folder = path = Path(path)
    if path.is_dir():
        path = recipe_path(check_run(path))
        if not path.is_file():
            raise ArtifactError(f"{path}: this run's recipe is gone; make the run again in another "
                                "folder")  # fmt: skip
    if "fusion" in read_content(path):
        raise RecipeError(
            f"{folder}: a fusion of other systems, with no backbone of its own to fine-tune, embed "
            "or score with; do that with its systems and fuse them again, or give another run"
        )
    return read_recipe(path, System)


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
        before, after = _that_must_stay(read_system(path)), _that_must_stay(system)
        kept = read_kept(run)
        if kept is not None and kept.finished:
            # No checkpoint is chosen by it any more, and embeddings are made anew with another.
            before.pop("train.representation", None)
            after.pop("train.representation", None)
        changes = [
            f"{name} was {before.get(name)!r} and is {after.get(name)!r}"
            for name in sorted(before.keys() | after.keys())
            if before.get(name) != after.get(name)
        ]
        if changes:
            way_out = "give another --run, or remove this folder"
            if "train.seed" in before:  # nobody shall remove days of training
                way_out = "leave them out to go on with this run, or give another --run"
            raise ArtifactError(
                f"{run}: made with other settings ({', '.join(changes)}); {way_out}"
            )
    write_text(path, recipe_text(system))


def _holds_results(run: Path) -> bool:
    """Whether a run folder holds more than a recipe and the plan of what to embed."""
    beginnings = {recipe_path(run).name, PLAN}
    files = (path for path in run.rglob("*") if path.is_file() and path.name not in beginnings)
    return any(path.stat().st_size for path in files)  # a lock or a new journal is empty


def _that_must_stay(system: System) -> dict[str, Any]:
    """Recipe values by name that embeddings and checkpoints of a run folder depend on."""
    values = dataclasses.asdict(system.embed)
    del values["batch_size"]  # which changes no embedding
    if system.train is not None:
        values |= {f"train.{name}": value for name, value in vars(system.train).items()}
    return values
