"""What makes a system: the recipe that a run folder carries, from embedding to score."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dcase_asd.errors import ArtifactError, RecipeError
from dcase_asd.recipe.detector import Detector
from dcase_asd.recipe.setting import out_of_range, refuse, setting
from dcase_asd.recipe.toml import read_content, read_recipe
from dcase_asd.recipe.training import Training


@dataclass(frozen=True)
class Embedding:
    """How clips become embeddings: `[embed]` of a recipe."""

    plugin: str = setting(text="Backbone plugin (see `dcase-asd plugins`).")
    checkpoint: str | None = setting(
        None,
        "Checkpoint to embed with or to fine-tune: a file, a folder, or a name that `dcase-asd "
        "weights` lists; default: the plugin's.",
    )
    options: dict[str, Any] = setting({}, "Options of the plugin, each as name=value.")
    channel: int = setting(
        0, "Channel of recordings with several, from 0 (in 2026 the near microphone)."
    )
    batch_size: int = setting(16, "Clips computed at once.", least=1)

    def __post_init__(self) -> None:
        refuse(out_of_range(self))


@dataclass(frozen=True)
class System:
    """One system: everything that tells its scores from another's."""

    name: str = setting(text="Name of the system and of its run folder.")
    embed: Embedding = setting(text="How clips become embeddings.")
    score: Detector = field(
        default_factory=Detector, metadata={"help": "How embeddings become anomaly scores."}
    )
    editions: tuple[str, ...] = setting(
        (), "Editions to run on; default: all that the data folder holds."
    )
    train: Training | None = setting(
        None, "How the backbone is fine-tuned first; default: it is used as it is."
    )


def recipe_path(run: str | Path) -> Path:
    """Where a run folder keeps its resolved recipe."""
    from dcase_asd.folders import RECIPE

    return Path(run) / RECIPE


def read_system(path: str | Path) -> System:
    """Read a system's recipe, or the one inside a run folder.

    Raises:
        DataError: A folder is no run's.
        ArtifactError: The run folder holds no recipe.
        RecipeError: The recipe is wrong (all mistakes are listed), or that of a fusion or of
            imported scores.
    """
    from dcase_asd.folders import check_run  # flags are made of recipes, without pandas

    folder = path = Path(path)
    if path.is_dir():
        path = recipe_path(check_run(path))
        if not path.is_file():
            raise ArtifactError(f"{path}: this run's recipe is gone; make the run again in another "
                                "folder")  # fmt: skip
    content = read_content(path)
    if "imported" in content:
        raise RecipeError(
            f"{folder}: imported scores of somebody else's system, with no backbone to fine-tune, "
            "embed or score with; evaluate, report or fuse it, or give another run"
        )
    if "fusion" in content:
        raise RecipeError(
            f"{folder}: a fusion of other systems, with no backbone of its own to fine-tune, embed "
            "or score with; do that with its systems and fuse them again, or give another run"
        )
    return read_recipe(path, System)
