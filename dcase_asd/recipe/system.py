"""What makes a system: the recipe that a run folder carries, from embedding to score."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from dcase_asd.editions.edition import load_edition
from dcase_asd.errors import ArtifactError, EditionError, RecipeError, nearest_name
from dcase_asd.poolings import Pooling, pooling_problems
from dcase_asd.recipe.detector import Detector
from dcase_asd.recipe.setting import out_of_range, refuse, setting
from dcase_asd.recipe.subset import EVERYTHING, Names, Subset
from dcase_asd.recipe.toml import read_content, read_recipe
from dcase_asd.recipe.training import Training

Bands = Literal["mean", "concat", "together", "apart"]
Far = Literal["none", "cancel", "subtract", "wram"]
ADDED = ("pooling", "pooling_options", "bands", "far")
"""Fields about what comes before and after the plugin; embeddings are older than these."""


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
    pooling: Pooling | None = setting(
        None,
        "Pooling over time of the backbone's tokens, by itself for each frequency band; default: "
        "the plugin's own representation.",
    )
    pooling_options: dict[str, float] = setting(
        {}, "Parameters of the pooling, each as name=value: p of gem, r of gwrp, gamma of rdp."
    )
    bands: Bands = setting(
        "concat",
        "With --pooling: concat pools each frequency band and puts them one after the other, mean "
        "averages them, apart keeps them, to be scored band by band; together makes one token of "
        "all bands of a moment before it is pooled.",
    )
    far: Far = setting(
        "none",
        "What to take out of the channel by the other of two, the far microphone: cancel what a "
        "filter makes of it, wram's variant of that, or subtract its magnitudes; of a run that is "
        "fine-tuned also in training.",
    )

    def __post_init__(self) -> None:
        choices = (("bands", self.bands, Bands), ("far", self.far, Far))
        problems = out_of_range(self) + [
            f"{name} cannot be {value!r}; {nearest_name(str(value), get_args(kind))}"
            for name, value, kind in choices
            if value not in get_args(kind)
        ]
        if self.pooling is not None:
            problems += pooling_problems(self.pooling, self.pooling_options)
        elif given := [name for name in ("pooling_options", "bands") if name in self.added()]:
            problems.append(
                f"{' and '.join(given)} need a pooling; choose one with --pooling, such as rdp, or "
                "leave them out"
            )
        if self.far != "none" and self.channel not in (0, 1):
            problems.append(
                f"far = {self.far} takes the other of two channels, and channel is {self.channel}; "
                "choose 0 or 1"
            )
        refuse(problems)

    def added(self) -> dict[str, Any]:
        """What goes before or after the plugin and is not left as it is, by its field's name."""
        options = {name: float(value) for name, value in self.pooling_options.items()}
        given = {"pooling": self.pooling, "pooling_options": options or None, "bands": self.bands,
                 "far": self.far}  # fmt: skip
        usual = {"bands": "concat", "far": "none"}
        return {name: value for name, value in given.items() if value != usual.get(name)}


@dataclass(frozen=True)
class System:
    """One system: everything that tells its scores from another's."""

    name: str = setting(text="Name of the system and of its run folder.")
    embed: Embedding = setting(text="How clips become embeddings.")
    score: Detector | None = setting(
        None,
        "How embeddings become anomaly scores; default: as the run was scored before, else as the "
        "plugin proposes, and as the defaults are where it proposes nothing or is fine-tuned.",
    )
    editions: tuple[str, ...] = setting(
        (), "Editions to run on; default: all that the data folder holds."
    )
    train: Training | None = setting(
        None, "How the backbone is fine-tuned first; default: it is used as it is."
    )
    data: Subset | None = setting(None, "Which clips are taken; default: all.")

    def __post_init__(self) -> None:
        object.__setattr__(self, "data", self.data or None)
        refuse(
            f"{name} names {edition}, which data.exclude_editions leaves out; {way_out}"
            for name, editions, way_out in self._pinned()
            for edition in editions
            if _leaves_out(self.subset, edition)
        )

    @property
    def subset(self) -> Subset:
        """Which clips are taken."""
        return self.data or EVERYTHING

    def _pinned(self) -> list[tuple[str, tuple[str, ...], str]]:
        """Where editions are named, which, and what to do where one of them is to be left out."""
        one_of_both = "take it out of one of both"
        pinned: list[tuple[str, tuple[str, ...], str]] = [("editions", self.editions, one_of_both)]
        if self.train is not None:
            dev = (self.train.dev_edition,) if self.train.dev_edition else ()
            noise = self.train.noise_editions if self.train.noise_probability > 0 else ()
            name_others = "name others by --noise-editions, or give --noise-probability 0"
            pinned += [
                ("train.editions", self.train.editions, one_of_both),
                ("train.dev_edition", dev, one_of_both),
                ("train.noise_editions", noise, name_others),
            ]
        return pinned


def with_subset(
    system: System,
    machines: Names | None = None,
    sections: Names | None = None,
    exclude_editions: Names | None = None,
) -> System:
    """A system with what is given in the place of what its recipe says of the clips to take.

    Raises:
        RecipeError: An edition is to be left out that the recipe names elsewhere.
    """
    try:
        return replace(system, data=system.subset.changed(machines, sections, exclude_editions))
    except ValueError as error:
        raise RecipeError(f"{system.name}: {error}") from error


def _leaves_out(subset: Subset, edition: str) -> bool:
    try:
        return load_edition(edition).name in subset.exclude_editions
    except EditionError:
        return False  # that there is no such edition is told where it is looked for


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
