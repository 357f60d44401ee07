"""Published weights that installed plugins name; read as data, so that no plugin is imported.

A plugin that has published weights lays a ``checkpoints.toml`` into its package, beside the module
that its entry point names. The first checkpoint is the default::

    [[checkpoints]]
    name = "BEATs_iter3"
    description = "pre-trained on AudioSet, 90 M parameters"
    licence = "MIT"
    note = "the authors' own link has been dead since 2023"     # where something must be said
    parameters = 90311792       # what a plan of a run estimates its time and disk by: 0 or left out
    gflop = 98.6                # where unknown; of a forward pass of 10 s at 16 kHz
    files = [{ name = "BEATs_iter3.pt", url = "https://…/BEATs_iter3.pt", sha256 = "…" }]

`url` is left out where a file can only be had by hand; a file of a Hugging Face repository has the
address ``https://huggingface.co/<id>/resolve/<revision>/<file>``. In its `from_checkpoint` the
plugin asks `find_checkpoint` for the path.
"""

from __future__ import annotations

import importlib.util
import os
import re
from dataclasses import dataclass
from pathlib import Path

from dcase_asd.errors import BackboneError, nearest_name
from dcase_asd.recipe import read_recipe
from dcase_asd.registry import Plugin, installed_plugins

RESOURCE = "checkpoints.toml"

CACHE_VARIABLE = "DCASE_ASD_CACHE"
"""Environment variable that names another folder for weights."""


@dataclass(frozen=True)
class WeightFile:
    """A file of a checkpoint; `url` and `sha256` are empty where there is none, or none known."""

    name: str
    url: str = ""
    sha256: str = ""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"\w[\w.+-]*", self.name):
            raise ValueError(f"{self.name!r} is no plain file name")
        if self.sha256 and not re.fullmatch(r"[0-9a-f]{64}", self.sha256):
            raise ValueError(f"{self.sha256!r} is no SHA-256 of 64 hexadecimal digits")


@dataclass(frozen=True)
class Checkpoint:
    """Published weights: one file, or several that belong into one folder.

    `parameters` counts the network's weights; `gflop` is 10^9 floating-point operations, two for
    each multiply-add, of a forward pass of 10 s at 16 kHz. Both are 0 where unknown.
    """

    name: str
    description: str
    licence: str
    files: tuple[WeightFile, ...]
    note: str = ""
    parameters: int = 0
    gflop: float = 0.0

    def __post_init__(self) -> None:
        if not re.fullmatch(r"\w[\w.+-]*", self.name):
            raise ValueError(f"{self.name!r} is no plain name")
        if not self.files:
            raise ValueError(f"{self.name} names no file")

    def folder(self, plugin: str) -> Path:
        """Folder of the files in the cache."""
        return cache_folder() / plugin / self.name

    def path(self, plugin: str) -> Path:
        """What is opened: the file where there is one, else the folder."""
        folder = self.folder(plugin)
        return folder / self.files[0].name if len(self.files) == 1 else folder

    def is_there(self, plugin: str) -> bool:
        """Whether all files are in the cache."""
        return all((self.folder(plugin) / file.name).is_file() for file in self.files)


@dataclass(frozen=True)
class _CheckpointsFile:
    checkpoints: tuple[Checkpoint, ...]


def cache_folder() -> Path:
    """Where weights lie: `CACHE_VARIABLE`, else ``dcase-asd`` in the user's cache folder."""
    if own := os.environ.get(CACHE_VARIABLE):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dcase-asd"


def named_checkpoints(plugin: Plugin) -> tuple[Checkpoint, ...]:
    """The checkpoints that a plugin names, the default first; none where it names none.

    Raises:
        RecipeError: The plugin's `RESOURCE` is malformed.
    """
    package = plugin.target.partition(":")[0].partition(".")[0]
    # The specification of a top-level package is found without running its code.
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / RESOURCE
        if path.is_file():
            return read_recipe(path, _CheckpointsFile).checkpoints
    return ()


def choose_checkpoint(plugin: str, name: str = "") -> Checkpoint:
    """One checkpoint of an installed plugin.

    Args:
        plugin: The plugin's name.
        name: The checkpoint's; empty for the default.

    Raises:
        BackboneError: No plugin has this name, or it names no such checkpoint.
    """
    plugins = {found.name: found for found in installed_plugins()}
    if plugin not in plugins:
        raise BackboneError(f"no plugin is called {plugin!r}; {nearest_name(plugin, plugins)}")
    checkpoints = named_checkpoints(plugins[plugin])
    if not checkpoints:
        raise BackboneError(f"the plugin {plugin!r} names no published weights, and may need none")
    for checkpoint in checkpoints:
        if name in ("", checkpoint.name):
            return checkpoint
    hint = nearest_name(name, (checkpoint.name for checkpoint in checkpoints))
    raise BackboneError(f"the plugin {plugin!r} names no checkpoint {name!r}; {hint}")


def find_checkpoint(plugin: str, name: str = "") -> Path:
    """Path of weights in the cache, for a plugin's `from_checkpoint`.

    Raises:
        BackboneError: They are not there; the message says which command fetches them, and which
            file to put where by hand.
    """
    checkpoint = choose_checkpoint(plugin, name)
    if not checkpoint.is_there(plugin):
        raise BackboneError(
            f"{checkpoint.name}: these weights are not here; `dcase-asd weights {plugin} "
            f"--checkpoint {checkpoint.name}` fetches them, or {by_hand(plugin, checkpoint)}"
        )
    return checkpoint.path(plugin)


def by_hand(plugin: str, checkpoint: Checkpoint) -> str:
    """Which files a user without a network has to put where."""
    folder = checkpoint.folder(plugin)
    missing = [file for file in checkpoint.files if not (folder / file.name).is_file()]
    files = ", ".join(f"{file.name} ({file.url})" if file.url else file.name for file in missing)
    note = f" ({checkpoint.note})" if checkpoint.note else ""
    return f"put {files} into {folder}{note}"
