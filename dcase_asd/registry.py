"""Which backbones are installed and which published weights they name, read without importing them.

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
address ``https://huggingface.co/<id>/resolve/<revision>/<file>``. A user names one of them as a
checkpoint; for the default the plugin's `from_checkpoint` asks `find_checkpoint` for the path.
"""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dcase_asd import __version__
from dcase_asd.errors import BackboneError, DcaseAsdError, command, nearest_name
from dcase_asd.recipe.toml import read_recipe

if TYPE_CHECKING:
    from dcase_asd.backbone import Backbone

GROUP = "dcase_asd.backbones"


@dataclass(frozen=True)
class Plugin:
    """An installed backbone plugin: its name, the package that brings it, and where it stands."""

    name: str
    package: str
    version: str
    target: str

    def row(self, last: str) -> dict[str, str]:
        """A row of a table, whose last column has this name."""
        return dict(zip(("name", "package", "version", last), vars(self).values(), strict=True))


def installed_plugins(group: str = GROUP) -> list[Plugin]:
    """The installed plugins of an entry-point group by name, read from metadata only."""
    plugins = {plugin_of(point) for point in entry_points(group=group)}
    return sorted(plugins, key=lambda plugin: (plugin.name, plugin.package))


def plugin_of(point: EntryPoint) -> Plugin:
    """The plugin that an entry point stands for."""
    package = ("unknown",) * 2 if point.dist is None else (point.dist.name, point.dist.version)
    return Plugin(point.name, *package, point.value)


def installed_with_options(
    ours: dict[str, str], group: str, usage_of: Callable[[str], str], *, check: bool = False
) -> list[dict[str, str]]:
    """What there is of a kind with its options: the toolkit's, then what third parties installed.

    Args:
        ours: Name -> options as they are shown.
        group: Entry-point group of the others.
        usage_of: Imports one of them and gives its options.
        check: Import them, and say what fails in `state`.
    """
    works = {"state": "works"} if check else {}
    rows = [
        Plugin(name, "dcase-asd", __version__, options).row("options") | works
        for name, options in ours.items()
    ]
    for plugin in installed_plugins(group):
        rows.append(plugin.row("options") | {"options": ""})
        try:
            rows[-1] |= {"options": usage_of(plugin.name), **works} if check else {}
        except DcaseAsdError as error:
            rows[-1]["state"] = str(error)
    return rows


def import_problem(name: str) -> str | None:
    """Why a backbone plugin cannot be used, or None when it imports and is a backbone."""
    try:
        load_class(name)
    except DcaseAsdError as error:
        return str(error)
    return None


def load_class(name: str) -> type[Backbone]:
    """Import a backbone plugin's class.

    Raises:
        BackboneError: No plugin or several have this name, it does not import, or it is no
            backbone or an unfinished one.
    """
    point = find_point(name, GROUP, "backbone plugin", BackboneError)
    target = load_point(point, "plugin", BackboneError)
    from dcase_asd.backbone import TO_EMBED, Backbone

    if not (isinstance(target, type) and issubclass(target, Backbone)):
        raise BackboneError(
            f"the plugin {name!r} ({point.value}) is no class derived from "
            "dcase_asd.backbone.Backbone"
        )
    if missing := target.lacks(TO_EMBED):
        raise BackboneError(
            f"the plugin {name!r} ({point.value}) is not finished: it has no "
            f"{' and no '.join(missing)}"
        )
    return target


def find_point(
    name: str, group: str, what: str, kind: type[DcaseAsdError], others: Iterable[str] = ()
) -> EntryPoint:
    """The entry point of a name.

    Args:
        name: The plugin's name.
        group: Its group.
        what: What it is, for messages.
        kind: Of the error.
        others: Valid names beside those of the group.

    Raises:
        DcaseAsdError: Of this kind: no plugin or several have this name.
    """
    found: dict[str, EntryPoint] = {
        point.value: point for point in entry_points(group=group) if point.name == name
    }
    if not found:
        names = [*others, *(plugin.name for plugin in installed_plugins(group))]
        raise kind(f"no {what} is called {name!r}; {nearest_name(name, names)}")
    if len(found) > 1:
        raise kind(
            f"more than one {what} is called {name!r} ({', '.join(sorted(found))}); "
            "uninstall all but one"
        )
    (point,) = found.values()
    return point


def load_point(point: EntryPoint, what: str, kind: type[DcaseAsdError]) -> Any:
    """Import what an entry point names.

    Raises:
        DcaseAsdError: Of this kind: it cannot be imported.
    """
    try:
        return point.load()
    except Exception as error:  # a third party's module may fail in any way
        reason = " ".join(str(error).split()) or type(error).__name__
        raise kind(
            f"the {what} {point.name!r} ({point.value}) cannot be imported: "
            f"{type(error).__name__}: {reason}"
        ) from error


def load_backbone(name: str, checkpoint: str | Path | None = None, **options: Any) -> Backbone:
    """Make a plugin's backbone, ready to embed.

    Args:
        name: The plugin's name.
        checkpoint: A checkpoint as published, as saved by this toolkit or as fine-tuned with it; or
            the name of one that the plugin has published or knows where to find; None for the
            default.
        options: Keyword arguments of the plugin's `from_checkpoint`; of a fine-tuned checkpoint
            also ``embedding`` (see `finetuned.Finetuned`).

    Returns:
        The backbone in eval mode, on the CPU.

    Raises:
        BackboneError: As `load_class`; or the checkpoint is missing or does not fit; or the plugin
            has no such option.
    """
    kind = load_class(name)
    from dcase_asd.backbone import is_finetuned

    path = None
    if checkpoint is not None:
        path = locate_checkpoint(name, checkpoint) or kind.locate(Path(checkpoint))
    finetuned = path is not None and is_finetuned(path)
    valid = kind.option_names()
    names = [*(valid or []), *(["embedding"] if finetuned else [])]
    unknown = [] if valid is None else [option for option in options if option not in names]
    if unknown:
        raise BackboneError(
            "; ".join(
                f"the plugin {name!r} has no option {option!r} ({nearest_name(option, names)})"
                for option in unknown
            )
        )
    try:
        if finetuned:
            from dcase_asd.backbone.finetuned import Finetuned

            return Finetuned.from_checkpoint(path, kind, **options).eval()
        return kind.from_checkpoint(path, **options).eval()
    except (TypeError, ValueError) as error:
        raise BackboneError(f"the plugin {name!r} refuses its options: {error}") from error


PRETRAINED = "pretrained.safetensors"
"""Name of the checkpoint of a pre-training's run folder, which is there when it has ended."""

PRETRAINING_RECIPE = "pretrain.toml"
"""Name of the recipe of such a folder."""

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


RANDOM = "random_weights"
"""Option with which the plugins that have published weights draw some instead."""


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


def locate_checkpoint(plugin: str, checkpoint: str | Path) -> Path | None:
    """Where a checkpoint is that a user gave: a path, or a name that `dcase-asd weights` lists.

    Returns:
        The path; None where the plugin's own `locate` has to find it, as on a hub.

    Raises:
        BackboneError: There is no such plugin or checkpoint; or its published weights are not in
            the cache.
    """
    path, name = Path(checkpoint).expanduser(), str(checkpoint)
    if path.exists():
        return _pretrained(path) if (path / PRETRAINING_RECIPE).is_file() else path
    names = _published_names(plugin)
    if name in names:
        return find_checkpoint(plugin, name)
    others = [each.name for each in installed_plugins() if name in _published_names(each.name)]
    if others:
        raise BackboneError(f"{name}: published weights of {others[0]!r}; use --plugin {others[0]}")
    if not load_class(plugin).lacks(["locate"]):
        return None
    if "://" in name:
        raise BackboneError(f"{name}: an address; download the file and give its path")
    hint = f", or a published name ({nearest_name(path.name, names)})" if names else ""
    raise BackboneError(f"{name}: no such checkpoint; give the path of a file or folder{hint}")


def _pretrained(run: Path) -> Path:
    """The checkpoint of a pre-training's run folder."""
    if not (run / PRETRAINED).is_file():
        raise BackboneError(
            f"{run}: this pre-training has not ended; start its command again, or give one of its "
            "checkpoints/step_….safetensors, which --checkpoint-every keeps"
        )
    return run / PRETRAINED


def _published_names(plugin: str) -> list[str]:
    plugins = [each for each in installed_plugins() if each.name == plugin]
    return [checkpoint.name for each in plugins for checkpoint in named_checkpoints(each)]


def find_checkpoint(plugin: str, name: str = "") -> Path:
    """Path of weights in the cache, for a plugin's `from_checkpoint`.

    Raises:
        BackboneError: They are not there; the message says which command fetches or checks them,
            and which file to put where by hand.
    """
    checkpoint = choose_checkpoint(plugin, name)
    if checkpoint.is_there(plugin):
        return checkpoint.path(plugin)
    way = by_hand(plugin, checkpoint)
    fetch = command("weights", plugin, "--checkpoint", checkpoint.name)
    if all(file.url for file in checkpoint.files):
        way = f"{fetch} fetches them, or {way}"
    else:
        way = f"{way}; {fetch} then checks them"
    raise BackboneError(f"{checkpoint.name}: these weights are not here; {way}")


def by_hand(plugin: str, checkpoint: Checkpoint) -> str:
    """Which files a user without a network has to put where."""
    folder = checkpoint.folder(plugin)
    missing = [file for file in checkpoint.files if not (folder / file.name).is_file()]
    files = ", ".join(f"{file.name} ({file.url})" if file.url else file.name for file in missing)
    return f"put {files} into {folder}" + f" ({checkpoint.note})" * bool(checkpoint.note)
