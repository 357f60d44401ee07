"""Losses and augmentations of third parties by their names, and which package gave a run its own.

No torch here: names are listed and looked up without it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dcase_asd.embeddings.kept import checkpoints_folder
from dcase_asd.errors import TrainingError
from dcase_asd.files import read_json, write_json
from dcase_asd.progress import Progress
from dcase_asd.recipe.options import option_problems, option_types, usage
from dcase_asd.recipe.training import LOSSES, Training
from dcase_asd.registry import find_point, installed_with_options, load_point, plugin_of

GROUPS = {"loss": "dcase_asd.losses", "augmentation": "dcase_asd.augmentations"}
"""Kind -> entry-point group."""
OURS = {"loss": LOSSES, "augmentation": ()}
"""Kind -> names of the toolkit's own."""
BATCHES = ("waveforms", "spectrogram")
"""What an augmentation may change: the name of its first argument."""
GIVEN = {
    "loss": ("dimension", "counts"),
    "augmentation": (*BATCHES, "generator", "lengths", "inside", "sample_rate"),
}
"""Kind -> arguments that the training gives; all others are options."""


@dataclass(frozen=True)
class Part:
    """A third party's loss or augmentation that a training uses.

    Attributes:
        kind: ``loss`` or ``augmentation``.
        name: Of its entry point.
        package: That brings it.
        version: Of the package.
        make: The class of the loss or the function that makes one; the augmentation's function.
        options: Keyword arguments from the recipe.
    """

    kind: str
    name: str
    package: str
    version: str
    make: Callable[..., Any]
    options: dict[str, Any]

    def __str__(self) -> str:
        return f"the {self.kind} {self.name!r} of {self.package} {self.version}"

    def record(self) -> dict[str, str]:
        """What a run keeps of it."""
        return {name: str(getattr(self, name)) for name in RECORDED}


RECORDED = ("kind", "name", "package", "version")


def parts_of(settings: Training, run: Path | None = None) -> list[Part]:
    """Import third parties' parts of a training and check their options.

    Args:
        settings: The recipe.
        run: Run folder, whose record names the package of what is not installed any more.

    Raises:
        TrainingError: All that cannot be used, with the reasons.
    """
    wanted = [("augmentation", name, settings.augmentation_options.get(name, {}))
              for name in settings.augmentations]  # fmt: skip
    if settings.loss not in LOSSES:
        wanted.append(("loss", settings.loss, settings.loss_options))
    parts, problems = [], []
    for kind, name, options in wanted:
        try:
            part = find_part(kind, name, options)
        except TrainingError as error:
            begun = _begun_with(kind, name, run)
            problems.append(
                f"{begun} ({error}); install it again to go on" if begun else str(error)
            )
        else:
            parts.append(part)
    if problems:
        raise TrainingError("; ".join(problems))
    return parts


def find_part(kind: str, name: str, options: dict[str, Any] | None = None) -> Part:
    """A third party's part by its name, imported.

    Args:
        kind: ``loss`` or ``augmentation``.
        name: Of its entry point.
        options: Keyword arguments.

    Raises:
        TrainingError: There is none, it cannot be imported, is of another form, or does not take
            the options.
    """
    point = find_point(name, GROUPS[kind], kind, TrainingError, OURS[kind])
    made, plugin = load_point(point, kind, TrainingError), plugin_of(point)
    part = Part(kind, name, plugin.package, plugin.version, made, options or {})
    if not callable(made):
        raise TrainingError(f"{part} ({point.value}) is no class and no function")
    try:
        arguments = list(inspect.signature(made).parameters)
        types = option_types(made, GIVEN[kind])
    except (TypeError, ValueError, NameError) as error:
        raise TrainingError(
            f"{part} ({point.value}): its arguments are not known: {error}"
        ) from error
    if problem := _lacks(kind, arguments):
        raise TrainingError(f"{part} ({point.value}) {problem}")
    if problems := option_problems(part.options, types):
        raise TrainingError(f"{part} refuses its options: {'; '.join(problems)}")
    return part


def _lacks(kind: str, arguments: list[str]) -> str:
    """What the arguments of a part lack; empty where nothing."""
    if kind == "loss":
        missing = [name for name in GIVEN[kind] if name not in arguments]
        return f"takes no argument {' and no '.join(missing)}" if missing else ""
    if not arguments or arguments[0] not in BATCHES:
        return f"must take {' or '.join(BATCHES)} as its first argument"
    return "" if "generator" in arguments else "takes no argument generator"


def installed_parts(kind: str, *, check: bool = False) -> list[dict[str, str]]:
    """The losses or augmentations of the toolkit, then those that third parties have installed.

    Args:
        kind: ``loss`` or ``augmentation``.
        check: Import what third parties have installed, and say what fails in `state`.
    """

    def shown(name: str) -> str:
        made = find_part(kind, name).make
        return usage(made, option_types(made, GIVEN[kind]))

    return installed_with_options(dict.fromkeys(OURS[kind], ""), GROUPS[kind], shown, check=check)


def record_of(run: Path, parts: list[Part], progress: Progress) -> list[dict[str, str]]:
    """Which packages a training's parts are of, those of before first; another version is told."""
    before, now = read_record(run), [part.record() for part in parts]
    for each in now:
        others = [kept["version"] for kept in before if _same(kept, each)]
        if others and each not in before:
            progress.note(
                f"the {each['kind']} {each['name']!r} is that of {each['package']} "
                f"{each['version']} now; this run was begun with {', '.join(others)}"
            )
    return [*before, *(each for each in now if each not in before)]


def write_record(run: Path, record: list[dict[str, str]]) -> None:
    """Keep what `record_of` gave, where it names anything."""
    if record:
        write_json(_record(run), {"plugins": record})


def read_record(run: Path) -> list[dict[str, str]]:
    """Which packages the losses and augmentations of a run are of; none of the toolkit's own."""
    return list((read_json(_record(run)) or {}).get("plugins", []))


def _record(run: Path) -> Path:
    return checkpoints_folder(run) / "plugins.json"


def _same(one: dict[str, str], other: dict[str, str]) -> bool:
    return (one["kind"], one["name"]) == (other["kind"], other["name"])


def _begun_with(kind: str, name: str, run: Path | None) -> str:
    """Which package brought what cannot be used any more, where a run tells."""
    wanted = {"kind": kind, "name": name}
    kept = [] if run is None else [each for each in read_record(run) if _same(each, wanted)]
    packages = dict.fromkeys(f"{each['package']} {each['version']}" for each in kept)
    return f"{run}: begun with the {kind} {name!r} of {', '.join(packages)}" if packages else ""
