"""Scores of several systems -> those of one.

Followed from run folders to a result: `members` reads, checks and standardizes their scores,
`robustness` tells how far these have moved, `search` selects systems and finds their weights,
`figures` tells what these are worth, `label_free` what labels had chosen before, `result` keeps it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from dcase_asd.editions.edition import Edition, load_edition
from dcase_asd.errors import ArtifactError, EditionError
from dcase_asd.files import find_below, fingerprint, only_writer, read_json, write_text
from dcase_asd.folders import check_runs
from dcase_asd.fusion.figures import compute_result
from dcase_asd.fusion.label_free import label_free_runs, tell_chosen
from dcase_asd.fusion.members import Members, content_hash, read_members
from dcase_asd.fusion.result import FusionResult, fusion_path, read_fusion, write_fusion
from dcase_asd.fusion.robustness import find_robustness
from dcase_asd.fusion.search import Fit, fit_all
from dcase_asd.metrics.labels import read_ground_truth
from dcase_asd.progress import Progress, Silent
from dcase_asd.recipe.fusion import FusedSystem, Fusion, is_fused, member_runs, read_fused_system
from dcase_asd.recipe.system import recipe_path
from dcase_asd.recipe.toml import recipe_text
from dcase_asd.scores.table import scored_editions, scores_path, write_scores

VERSION = 2
"""Part of a fusion's fingerprint; to be raised when the same inputs are fused otherwise."""

FREE = ("resamples",)
"""Settings that no score depends on, which may change without another run folder."""


@dataclass(frozen=True)
class Fused:
    """What `fuse` did.

    Attributes:
        path: Where the scores are.
        train: How many train clips are scored.
        test: How many test clips.
        changed: Whether they were made anew.
        fusion: How, as the run folder's recipe has it.
        result: The weights and what they are worth.
    """

    path: Path
    train: int
    test: int
    changed: bool
    fusion: Fusion
    result: FusionResult


def fuse(
    runs: Sequence[str | Path],
    run: str | Path,
    edition: str,
    fusion: Fusion,
    ground_truth: str | Path | None = None,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Fused:
    """Make one system of several: their standardized scores, weighted.

    Weights are fitted to the labelled clips of the development set alone and applied to all clips
    alike: dev and eval, test and train (leave-one-out scores, for thresholds). Train clips that
    not every system has a leave-one-out score of are left out and said.

    Args:
        runs: Run folders with scores of the edition, in the order of `fusion.systems`; they may
            be fusions.
        run: Run folder to write to; it can be scored again, evaluated, fused and submitted.
        edition: Which edition.
        fusion: How to fuse.
        ground_truth: Labels to fit to in place of those in the names of the development set.
        overwrite: Whether a fusion with other settings may be replaced, with all its editions.
        progress: Where to tell how far it is.

    Returns:
        Where the scores are, and the result. A fusion that was made of the same scores in the same
        way is left as it is.

    Raises:
        DataError: A system is no folder, or is named twice.
        EditionError: The edition forbids the standardization.
        ScoresError: Scores are missing, not finite, without spread, or of different clips.
        GroundTruthError: Labels that are needed are missing.
        ArtifactError: The run folder holds something else, or another process writes it.
    """
    run, progress = Path(run), progress or Silent()
    ground_truth = None if ground_truth is None else Path(ground_truth)
    rules = load_edition(edition)
    runs = _check(runs, run, rules, fusion)
    system = _settled(fusion, runs, run)
    fusion = system.fusion
    truth = None if ground_truth is None else read_ground_truth(ground_truth, rules)
    labels = None if ground_truth is None else str(ground_truth.resolve())
    made_of = fingerprint(
        VERSION,
        rules.name,
        [content_hash(member, rules.name) for member in runs],
        [content_hash(member, rules.name) for member in label_free_runs(runs, rules.name) or ()],
        # Fusions that were made before there was this setting stay as they are.
        {name: value for name, value in asdict(fusion).items() if value or name != "analysis"},
        None if truth is None else truth.to_csv(),
    )
    stored = read_fusion(run, rules.name)
    replaced = _check_folder(run, system, stored, labels, overwrite=overwrite)
    if finished := _finished(run, fusion, stored, made_of):
        for note in finished.result.notes:
            progress.note(note)
        return finished
    read = partial(
        read_members, fusion=fusion, edition=rules, truth=truth, ground_truth=ground_truth
    )
    members = read(runs)
    robustness = find_robustness(members, fusion)
    with only_writer(run):
        fits = fit_all(members, fusion, robustness, progress)
        result = compute_result(
            members, fits, robustness, fusion,
            edition=rules, made_of=made_of, ground_truth=labels, progress=progress,
        )  # fmt: skip
        result = tell_chosen(result, members, fusion, read, progress)
        for note in result.notes:
            progress.note(note)
        table = members.clips.assign(score=fits[0].fuse(members))
        counts = {split: int(members.of_split(split).sum()) for split in ("train", "test")}
        made = _provenance(members, fits[0]) | {"fingerprint": made_of, **counts}
        if members.caveats:
            made["caveats"] = members.caveats
        if members.analysis:
            made["analysis"] = True
        if members.subset:
            made["subset"] = members.subset.given()
        _start_folder(run, system, rules.name, replaced=replaced)
        write_fusion(run, result)
        write_scores(run, rules.name, table, made)
    return Fused(scores_path(run, rules.name), **counts, changed=True, fusion=fusion, result=result)


def fuse_again(run: str | Path, edition: str, progress: Progress | None = None) -> Fused:
    """Apply a run folder's fusion to an edition, as its recipe says, after its systems changed.

    Raises:
        DcaseAsdError: As `fuse`.
    """
    fusion = read_fused_system(run).fusion
    stored = read_fusion(run, load_edition(edition).name)
    labels = stored.ground_truth if stored is not None else None
    ground_truth = None if labels is None else Path(labels)
    return fuse(member_runs(run, fusion), run, edition, fusion, ground_truth, progress=progress)


def _check(runs: Sequence[str | Path], run: Path, edition: Edition, fusion: Fusion) -> list[Path]:
    if len(runs) != len(fusion.systems):
        raise ValueError(f"{len(runs)} run folders for {len(fusion.systems)} systems")
    members = check_runs(runs)
    if run.resolve() in {member.resolve() for member in members}:
        raise ArtifactError(f"{run}: cannot be fused into itself; give another --run")
    if fusion.standardize == "test" and not (edition.transductive or fusion.analysis):
        raise EditionError(
            f"{edition.name} forbids what is transductive, such as to standardize by the "
            "statistics of test clips; standardize by train, or look at what it would give with "
            "--standardize test --analysis, which cannot be submitted"
        )
    return members


def _settled(fusion: Fusion, runs: Sequence[Path], run: Path) -> FusedSystem:
    """The recipe that a run folder keeps: its systems are run folders relative to its parent."""
    systems = tuple(Path(os.path.relpath(member, run.parent)).as_posix() for member in runs)
    always = tuple(
        system for system, kept in zip(systems, fusion.kept, strict=True) if kept and fusion.always
    )
    return FusedSystem(run.resolve().name, replace(fusion, systems=systems, always=always))


def _check_folder(
    run: Path,
    system: FusedSystem,
    stored: FusionResult | None,
    ground_truth: str | None,
    *,
    overwrite: bool,
) -> bool:
    """Whether a folder holds a fusion with other settings, which shall be replaced.

    Raises:
        ArtifactError: It holds such a fusion, and that is not to be replaced; or something else.
    """
    if not run.exists():
        return False
    if not run.is_dir():
        raise ArtifactError(f"{run}: a file; give another --run")
    if not is_fused(run):
        if others := [path.name for path in find_below(run, "*")]:
            raise ArtifactError(
                f"{run}: holds something else than a fusion ({', '.join(others[:3])}); "
                "give another --run"
            )
        return False
    before, after = asdict(read_fused_system(run).fusion), asdict(system.fusion)
    changes = [
        f"{name} was {before[name]!r} and is {after[name]!r}"
        for name in before
        if before[name] != after[name] and name not in FREE
    ]
    other_settings = bool(changes)
    if stored is not None and stored.ground_truth != ground_truth:
        changes.append(f"the ground truth was {stored.ground_truth!r} and is {ground_truth!r}")
    if changes and not overwrite:
        raise ArtifactError(
            f"{run}: fused with other settings ({', '.join(changes)}); "
            "give another --run, or replace it with --overwrite"
        )
    return other_settings


def _finished(run: Path, fusion: Fusion, stored: FusionResult | None, made_of: str) -> Fused | None:
    """The stored fusion, if it was made of the same and finished."""
    if stored is None or stored.fingerprint != made_of:
        return None
    path = scores_path(run, stored.edition)
    marker = read_json(path.with_suffix(".json")) or {}
    whole = path.is_file() and recipe_path(run).is_file()
    if not whole or marker.get("fingerprint") != made_of:
        return None
    return Fused(path, marker["train"], marker["test"], changed=False, fusion=fusion, result=stored)


def _start_folder(run: Path, system: FusedSystem, edition: str, *, replaced: bool) -> None:
    """Write the recipe; scores that are made anew, or no longer belong to it, go first."""
    for name in scored_editions(run) if replaced else [edition]:
        scores = scores_path(run, name)
        # The marker goes first, so that nothing half removed is taken for finished.
        for path in (scores.with_suffix(".json"), fusion_path(run, name), scores):
            path.unlink(missing_ok=True)
    write_text(recipe_path(run), recipe_text(system))


def _provenance(members: Members, fit: Fit) -> dict[str, Any]:
    """What fused scores are made of, as for any run's scores; systems of weight zero do not count.

    Returns:
        ``backbone``: names joined by +; ``parameters``: their sum, None if one is not known;
        ``sample_rate``: the common one in Hz, or None.
    """
    weights = fit.weights or (1.0,) * len(fit.systems)
    made = [
        members.provenances[number]
        for number, weight in zip(fit.systems, weights, strict=True)
        if weight > 0
    ]
    backbones = [name for each in made for name in str(each["backbone"]).split("+")]
    rates = {each.get("sample_rate") for each in made}
    parameters = [each.get("parameters") for each in made]
    return {
        "backbone": "+".join(dict.fromkeys(backbones)),
        "parameters": None if None in parameters else sum(parameters),
        "sample_rate": rates.pop() if len(rates) == 1 else None,
    }
