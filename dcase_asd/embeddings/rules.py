"""Whose recordings a run was trained with, and whether an edition's rules allow that."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dcase_asd.clips.name import DOMAINS
from dcase_asd.editions.edition import Edition, load_edition
from dcase_asd.embeddings.kept import checkpoint_metadata, checkpoints_folder, read_kept
from dcase_asd.errors import command, some
from dcase_asd.files import read_json
from dcase_asd.recipe.fusion import is_fused, member_runs, read_fused_system
from dcase_asd.recipe.imported import is_imported
from dcase_asd.recipe.system import read_system, recipe_path
from dcase_asd.registry import RANDOM, installed_plugins, named_checkpoints

_Kind = Literal["forbidden", "unsure", "external"]
Uses = Mapping[str, tuple[str, ...]]
"""``train``, ``noise``, ``dev``: editions whose train clips were trained on, whose noise was mixed
in, whose labels chose checkpoints."""

WORDS = {
    "train": "train clips of",
    "noise": "noise clips of",
    "dev": "checkpoints chosen by labels of",
}


@dataclass(frozen=True)
class Objection:
    """What an edition's rules have against a training: a sentence, and what to do about it.

    An ``error`` is not allowed; of a ``warning`` that is not certain.
    """

    level: Literal["error", "warning"]
    what: str
    way_out: str

    def __str__(self) -> str:
        return f"{self.what}; {self.way_out}"


def uses_of(train: Iterable[str], noise: Iterable[str], dev: str) -> Uses:
    """Put together whose recordings a training uses.

    Args:
        train: Editions of train clips.
        noise: Editions of noise clips.
        dev: Edition whose labels choose checkpoints; empty where none does.
    """
    names = {"train": {*train}, "noise": {*noise}, "dev": {dev} - {""}}
    return {use: tuple(sorted(editions)) for use, editions in names.items()}


def together(*several: Uses | None) -> Uses:
    """All that several uses name; those that are not known count as none."""
    return {
        use: tuple(sorted({name for each in several if each for name in each.get(use, ())}))
        for use in WORDS
    }


def uses_of_checkpoint(path: str | Path | None) -> Uses:
    """Whose recordings a checkpoint was fine-tuned with; nothing where it was not fine-tuned."""
    about = {} if path is None else checkpoint_metadata(Path(path).expanduser())
    if "editions" in about:
        return {use: tuple(names) for use, names in json.loads(about["editions"]).items()}
    if "classes" not in about:
        return {}
    # Earlier versions wrote down the recipe and the classes, which end in their edition or domain.
    parts = [label.split("/") for label in json.loads(about["classes"])]
    train = [each[-2] if each[-1] in DOMAINS else each[-1] for each in parts]
    return _uses_of_recipe(tomllib.loads(about["recipe"]), train)


def uses_of_run(run: str | Path) -> Uses | None:
    """Whose recordings the network of a single system was fine-tuned with; None: not known.

    Raises:
        RecipeError: Its recipe is wrong.
    """
    if not recipe_path(run).is_file() or is_imported(run):
        return None
    system = read_system(run)
    if system.train is None:
        return uses_of_checkpoint(system.embed.checkpoint)
    kept = read_kept(run)
    files = () if kept is None else (*kept.scored, *(each.file for each in kept.checkpoints))
    for file in files:
        if found := uses_of_checkpoint(checkpoints_folder(run) / file):
            return found
    train = system.train
    return _uses_of_recipe(vars(train), train.editions) if train.editions else None


def published_weights(run: str | Path, edition: str) -> tuple[str, ...]:
    """Weights of others that a run's scores of an edition start from, as far as that is known.

    Raises:
        RecipeError: A recipe is wrong.
    """
    plugins = {plugin.name: plugin for plugin in installed_plugins()}
    found = set()
    for single in single_runs(run, edition):
        if not recipe_path(single).is_file() or is_imported(single):
            continue
        embed = read_system(single).embed
        known = named_checkpoints(plugins[embed.plugin]) if embed.plugin in plugins else ()
        if embed.checkpoint is not None and not uses_of_checkpoint(embed.checkpoint):
            found.add(Path(embed.checkpoint).name)
        elif embed.checkpoint is None and known and RANDOM not in embed.options:
            found.add(known[0].name)
    return tuple(sorted(found))


def run_objections(run: str | Path, edition: Edition) -> list[Objection]:
    """What the rules of an edition have against the systems that a run's scores are made of.

    Raises:
        RecipeError: A recipe is wrong.
    """
    alike: dict[str, list[Path]] = {}
    for single in single_runs(run, edition.name) if edition.training.editions else ():
        alike.setdefault(json.dumps(uses_of_run(single)), []).append(single)
    found = []
    for uses, runs in alike.items():
        who = some(map(str, runs))
        if uses == "null":
            what = (
                f"what {who} was trained with is not known: its scores were imported, or its "
                "recipe or its checkpoints are gone"
            )
            way_out = f"see for yourself that {edition.name} allows it, or put them back"
            found.append(Objection("warning", what, way_out))
        else:
            found += objections(json.loads(uses), edition, who, runs[0])
    return found


def objections(uses: Uses, edition: Edition, who: str, run: Path | None = None) -> list[Objection]:
    """What the rules of an edition have against a training.

    Args:
        uses: Whose recordings it uses.
        edition: Whose scores are to be submitted; of one's own, anything is allowed.
        who: What is trained, for the message.
        run: Run folder where it was trained already.
    """
    rules = edition.training
    sorted_out: dict[_Kind, dict[str, list[str]]] = {}
    for use, names in uses.items():
        for name in names:
            if rules.editions and name not in rules.editions:
                kind = _kind(load_edition(name), edition)
                sorted_out.setdefault(kind, {}).setdefault(use, []).append(name)
    source = f"({edition.name}'s rule: {rules.source})"
    found = []
    for kind, listed in sorted_out.items():
        used = "; ".join(f"{WORDS[use]} {', '.join(names)}" for use, names in listed.items())
        way_out = _way_out(listed, edition, run)
        if kind == "forbidden":
            what = f"{who} uses what {edition.name} does not allow: {used} {source}"
            found.append(Objection("error", what, way_out))
        elif kind == "unsure":
            what = f"{who} uses what {edition.name} may not allow: {used} {source}"
            found.append(Objection("warning", what, f"read the rules of that year, or {way_out}"))
        else:
            what = f"{who} uses what is external data to {edition.name}: {used}"
            named = "name them in the form's external_datasets where the rules allow them"
            found.append(Objection("warning", what, f"{named}, or {way_out}"))
    return found


def _kind(other: Edition, edition: Edition) -> _Kind:
    if not other.official:
        return "external"
    # What was published after the deadline cannot have been allowed.
    return "forbidden" if edition.training.certain or other.name > edition.name else "unsure"


def _way_out(listed: Mapping[str, list[str]], edition: Edition, run: Path | None) -> str:
    allowed = " ".join(f"--editions {name}" for name in edition.training.editions)
    flags = {
        "train": allowed,
        "noise": "--noise-probability 0",
        "dev": f"--dev-edition {edition.name}",
    }
    given = " ".join(flags[use] for use in listed)
    if run is None:
        return f"fine-tune with {given}, or change [train] of the recipe alike"
    start = read_system(run).embed.checkpoint
    if start is not None and uses_of_checkpoint(start):
        return f"start another run from other weights than {start}"
    train = read_system(run).train
    if (
        train is not None
        and train.pseudo_run
        and any((uses_of_run(train.pseudo_run) or {}).values())
    ):
        return f"cluster the embeddings of another run than {train.pseudo_run}"
    again = command(
        "finetune", "--recipe", recipe_path(run), "--data", "data",
        "--run", f"{run}_{edition.name}", *given.split(),
    )  # fmt: skip
    return f"fine-tune another run: {again}"


def _uses_of_recipe(train: Mapping[str, Any], editions: Iterable[str]) -> Uses:
    """By the values of a `Training`; what these leave open is not known."""
    noise = train["noise_editions"] if train["noise_probability"] > 0 else ()
    dev = "" if train["ensemble"] == "last" else train["dev_edition"]
    names = (
        [load_edition(name).name for name in each if name] for each in (editions, noise, [dev])
    )
    trained, mixed, chosen = names
    return uses_of(trained, mixed, "".join(chosen))


def single_runs(run: str | Path, edition: str) -> list[Path]:
    """Run folders of the single systems that a run's scores of an edition are made of.

    Systems that a fusion did not select or gave no weight are left out.

    Raises:
        RecipeError: A recipe is wrong.
    """
    run = Path(run)
    if not (run.is_dir() and is_fused(run)):
        return [run]
    fusion = read_fused_system(run).fusion
    runs = dict(zip(fusion.names, member_runs(run, fusion), strict=True))
    found = read_json(run / "fusion" / f"{edition}.json") or {}
    names = found.get("systems", fusion.names)
    weights = found.get("weights") or [1.0] * len(names)
    used = [runs[name] for name, weight in zip(names, weights, strict=True) if weight > 0]
    return list(dict.fromkeys(single for member in used for single in single_runs(member, edition)))


def subsystem_count(run: str | Path, edition: str) -> int | None:
    """How many networks a run's scores of an edition are made of; None where one is gone.

    Of a fine-tuned system each checkpoint that is scored counts.

    Raises:
        RecipeError: A recipe is wrong.
    """
    singles = single_runs(run, edition)
    if not all(single.is_dir() for single in singles):
        return None
    kept = [read_kept(single) for single in singles]
    return sum(max(1, len(each.scored)) if each is not None else 1 for each in kept)
