"""Which backbones are installed, from entry-point metadata; nothing is imported to list them."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dcase_asd.errors import BackboneError, DcaseAsdError, nearest_name

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


def installed_plugins() -> list[Plugin]:
    """The installed plugins by name, read from metadata only."""
    plugins = {
        Plugin(
            name=point.name,
            package=point.dist.name if point.dist else "unknown",
            version=point.dist.version if point.dist else "unknown",
            target=point.value,
        )
        for point in entry_points(group=GROUP)
    }
    return sorted(plugins, key=lambda plugin: (plugin.name, plugin.package))


def import_problem(name: str) -> str | None:
    """Why a plugin cannot be used, or None when it imports and is a backbone."""
    try:
        load_class(name)
    except DcaseAsdError as error:
        return str(error)
    return None


def load_class(name: str) -> type[Backbone]:
    """Import a plugin's class.

    Raises:
        BackboneError: No plugin or several have this name, it does not import, or it is no
            backbone or an unfinished one.
    """
    found: dict[str, EntryPoint] = {
        point.value: point for point in entry_points(group=GROUP) if point.name == name
    }
    if not found:
        names = [plugin.name for plugin in installed_plugins()]
        raise BackboneError(f"no backbone plugin is called {name!r}; {nearest_name(name, names)}")
    if len(found) > 1:
        raise BackboneError(
            f"several plugins are called {name!r} ({', '.join(sorted(found))}); "
            "uninstall all but one"
        )
    (point,) = found.values()
    try:
        target = point.load()
    except Exception as error:  # a third party's module may fail in any way
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BackboneError(
            f"the plugin {name!r} ({point.value}) cannot be imported: "
            f"{type(error).__name__}: {reason}"
        ) from error
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


def load_backbone(name: str, checkpoint: Path | None = None, **options: Any) -> Backbone:
    """Make a plugin's backbone, ready to embed.

    Args:
        name: The plugin's name.
        checkpoint: A checkpoint as published, as saved by this toolkit or as fine-tuned with it,
            or the name of one that the plugin knows where to find; None for the default.
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

    finetuned = checkpoint is not None and is_finetuned(checkpoint)
    parameters = inspect.signature(kind.from_checkpoint).parameters
    open_ended = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    valid = [parameter for parameter in parameters if parameter not in ("path", "options")]
    valid += ["embedding"] if finetuned else []
    unknown = [] if open_ended else [option for option in options if option not in valid]
    if unknown:
        raise BackboneError(
            "; ".join(
                f"the plugin {name!r} has no option {option!r} ({nearest_name(option, valid)})"
                for option in unknown
            )
        )
    if checkpoint is not None and not checkpoint.exists():
        checkpoint = kind.locate(checkpoint)
    try:
        if finetuned:
            from dcase_asd.finetuned import Finetuned

            return Finetuned.from_checkpoint(checkpoint, kind, **options).eval()
        return kind.from_checkpoint(checkpoint, **options).eval()
    except (TypeError, ValueError) as error:
        raise BackboneError(f"the plugin {name!r} refuses its options: {error}") from error
