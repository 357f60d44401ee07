"""What makes a system: the recipe that a run folder carries, from embedding to score."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dcase_asd.errors import ArtifactError, RecipeError
from dcase_asd.folders import RECIPE, check_run
from dcase_asd.recipe.detector import Detector
from dcase_asd.recipe.toml import read_content, read_recipe
from dcase_asd.recipe.training import Training


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
