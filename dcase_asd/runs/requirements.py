"""What systems need before hours of work begin: plugins, weights, clips, labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from dcase_asd.clips.manifest import manifest_path, read_manifest
from dcase_asd.editions.edition import load_edition
from dcase_asd.embeddings.findings import no_far_channel
from dcase_asd.embeddings.kept import read_kept
from dcase_asd.embeddings.rules import objections, uses_of
from dcase_asd.errors import DataError, DcaseAsdError, RecipeError, command, nearest_name
from dcase_asd.recipe.fusion import SEARCHES, FusedSystem
from dcase_asd.recipe.system import System
from dcase_asd.recipe.training import Training
from dcase_asd.registry import (
    RANDOM,
    find_checkpoint,
    installed_plugins,
    locate_checkpoint,
    named_checkpoints,
)
from dcase_asd.runs.recipes import Node
from dcase_asd.scores.detector import make_detector
from dcase_asd.training.data import read_training_set
from dcase_asd.training.named import parts_of


def editions_of(node: Node, clips: pd.DataFrame, editions: Iterable[str]) -> tuple[str, ...]:
    """Names of the editions that a system is run on.

    Args:
        node: The system.
        clips: The manifest.
        editions: Which are asked for; none means all that each of its systems takes clips of.
    """
    if names := tuple(load_edition(name).name for name in editions):
        return names
    present = set(clips["edition"])
    for each in node.walk():
        if isinstance(each.recipe, System):
            present &= set(clips[each.recipe.subset.mask(clips)]["edition"])
    return tuple(sorted(present))


def check_requirements(
    nodes: Sequence[Node], data: Path, runs: Path, editions: Iterable[str]
) -> None:
    """Refuse to begin what could not be finished.

    Raises:
        RecipeError: All that is missing (see `missing`).
    """
    problems = missing(nodes, data, runs, editions)
    if problems:
        raise RecipeError("; ".join(problems))


def missing(
    nodes: Sequence[Node],
    data: Path,
    runs: Path,
    editions: Iterable[str],
    *,
    packaged: bool = False,
) -> list[str]:
    """What systems lack, with what to do about each; each said once.

    Args:
        nodes: The systems.
        data: Data folder with a manifest.
        runs: Folder of the run folders.
        editions: Editions that are scored; none means all that the data folder holds.
        packaged: Whether a package is made of the scores.
    """
    systems = {each.name: each for node in nodes for each in node.walk()}
    clips = read_manifest(data)
    problems = [
        *missing_weights(systems.values(), runs),
        *_wrong_detectors(systems.values()),
        *wrong_parts(systems.values(), runs),
        *_missing_training_data(systems.values(), data, runs),
        *missing_clips(systems.values(), clips, data, editions, packaged),
        *(forbidden_training(systems.values(), data, runs, editions) if packaged else ()),
    ]
    return list(dict.fromkeys(problems))


def missing_weights(nodes: Iterable[Node], runs: Path) -> Iterator[str]:
    """What is wrong with the plugins and weights of systems that still need them."""
    plugins = {plugin.name: plugin for plugin in installed_plugins()}
    for node in nodes:
        system = node.recipe
        if isinstance(system, FusedSystem) or _is_finetuned(system, runs):
            continue
        plugin, checkpoint = system.embed.plugin, system.embed.checkpoint
        if plugin not in plugins:
            yield f"{node.path}: no plugin is called {plugin!r}; {nearest_name(plugin, plugins)}"
        elif checkpoint is not None:
            try:
                locate_checkpoint(plugin, checkpoint)
            except DcaseAsdError as error:
                yield f"{node.path}: {error}"
        elif RANDOM not in system.embed.options and named_checkpoints(plugins[plugin]):
            try:
                find_checkpoint(plugin)
            except DcaseAsdError as error:
                yield str(error)


def _wrong_detectors(nodes: Iterable[Node]) -> Iterator[str]:
    """What is wrong with how systems are to be scored."""
    for node in nodes:
        if not isinstance(node.recipe, FusedSystem) and node.recipe.score is not None:
            try:
                make_detector(node.recipe.score)
            except DcaseAsdError as error:
                yield f"{node.path}: score: {error}"


def wrong_parts(nodes: Iterable[Node], runs: Path) -> Iterator[str]:
    """What is wrong with third parties' losses and augmentations of trainings still to be made."""
    for node in nodes:
        system = node.recipe
        if isinstance(system, FusedSystem) or system.train is None or _is_finetuned(system, runs):
            continue
        try:
            parts_of(system.train, runs / node.name)
        except DcaseAsdError as error:
            yield f"{node.path}: {error}"


def _missing_training_data(nodes: Iterable[Node], data: Path, runs: Path) -> Iterator[str]:
    for node, system, train in _to_train(nodes, runs):
        from dcase_asd.training.dev_score import read_development_set

        for read in (read_training_set, read_development_set):
            try:
                read(data, train, system.embed, system.subset)
            except DcaseAsdError as error:
                yield f"{node.name}: {error}"


def forbidden_training(
    nodes: Iterable[Node], data: Path, runs: Path, editions: Iterable[str]
) -> Iterator[str]:
    """What systems still to be fine-tuned may not be trained with if they are to be submitted."""
    rules = [load_edition(name) for name in editions]
    for node, system, train in _to_train(nodes, runs):
        try:
            chosen = read_training_set(data, train, subset=system.subset)
        except DcaseAsdError:
            continue  # told by `_missing_training_data`
        known = train.dev_edition and train.ensemble != "last"
        dev = load_edition(train.dev_edition).name if known else ""
        uses = uses_of(chosen.clips["edition"], chosen.noise["edition"], dev)
        found = [each for edition in rules for each in objections(uses, edition, str(node.path))]
        yield from (str(each) for each in found if each.level == "error")


def _to_train(nodes: Iterable[Node], runs: Path) -> Iterator[tuple[Node, System, Training]]:
    """Systems still to be fine-tuned; of those that read the same recordings the first."""
    looked_at: set[object] = set()
    for node in nodes:
        system = node.recipe
        if isinstance(system, FusedSystem) or system.train is None or _is_finetuned(system, runs):
            continue
        train = system.train
        about = (
            train.editions, train.noise_editions, train.noise_probability > 0, train.dev_edition,
            train.ensemble, system.embed.far, system.subset,
        )  # fmt: skip
        if about not in looked_at:
            looked_at.add(about)
            # Clusters of what is run first cannot be made yet.
            yield node, system, train.without_pseudo_labels() if node.members else train


def missing_clips(
    nodes: Iterable[Node], clips: pd.DataFrame, data: Path, editions: Iterable[str], packaged: bool
) -> Iterator[str]:
    """Which editions, labels and evaluation clips systems lack in the manifest."""
    present = sorted(clips["edition"].unique())
    names = [load_edition(name).name for name in editions]
    nodes = list(nodes)
    systems = [(node, node.recipe) for node in nodes if isinstance(node.recipe, System)]
    yield from _missing_subsets(systems, clips, data, names, packaged=packaged)
    blind = clips[(clips["stage"] == "eval") & (clips["split"] == "test")]
    if systems:
        clips = clips[np.any([system.subset.mask(clips) for _, system in systems], axis=0)]
    names = names or sorted(clips["edition"].unique())
    fitted = [
        node.name
        for node in nodes
        if isinstance(node.recipe, FusedSystem) and node.recipe.fusion.method in SEARCHES
    ]
    where = manifest_path(data)
    for name in names:
        tests = clips[(clips["edition"] == name) & (clips["split"] == "test")]
        if name not in present:
            yield f"{where}: no clip of edition {name}; {nearest_name(name, present)}"
            continue
        conditions = set(tests.loc[tests["stage"] == "dev", "condition"])
        known = {"normal", "anomaly"} <= conditions
        if fitted and not known:
            yield (
                f"{where}: no dev test set of {name} with normal and anomalous clips, to which "
                f"the weights of {', '.join(fitted)} are fitted; download its dev data, or set "
                'method = "mean"'
            )
        machines = clips[(clips["edition"] == name) & (clips["role"] == "machine")]
        machines = machines[machines["split"].isin(["train", "test"])]
        for node, recipe in systems:
            if told := no_far_channel(machines, recipe.embed, flag="--set embed.far=none"):
                yield f"{node.path}: {name}: {told}"
        if packaged and not (blind["edition"] == name).any():
            yield (
                f"{where}: no evaluation clip of {name}, of which a package is made; put its "
                "eval_data into the data folder"
            )


def _missing_subsets(
    systems: Iterable[tuple[Node, System]],
    clips: pd.DataFrame,
    data: Path,
    editions: Sequence[str],
    *,
    packaged: bool,
) -> Iterator[str]:
    """What is wrong with the clips that systems are to take of editions, or of all."""
    where = manifest_path(data)
    taken = clips[(clips["role"] == "machine") & clips["split"].isin(["train", "test"])]
    for subset, node in {system.subset: node for node, system in systems}.items():
        if packaged and subset.narrows:
            alone = command("run", node.path, *subset.flags())
            yield (
                f"{node.path}: takes {subset} alone, and a package needs every machine; run the "
                f"system by itself, {alone}, or leave --machine, --section and [data] out"
            )
        if problems := subset.unknown(clips):
            yield f"{where}: {'; '.join(problems)}"
            continue
        try:
            for name in editions:
                subset.of_edition(taken[taken["edition"] == name], name, where, known=clips)
            if not editions:
                subset.select(taken, where)
        except DataError as error:
            yield str(error)


def _is_finetuned(system: System, runs: Path) -> bool:
    kept = read_kept(runs / system.name)
    return kept is not None and kept.finished
