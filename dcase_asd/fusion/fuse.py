"""Scores of several systems -> those of one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dcase_asd.editions.edition import Edition, load_edition
from dcase_asd.errors import ArtifactError, EditionError, ScoresError
from dcase_asd.files import find_below, fingerprint, only_writer, read_json, write_text
from dcase_asd.folders import check_runs
from dcase_asd.fusion.figures import (
    Figures,
    Fit,
    as_weights,
    compute_figures,
    fit_all,
    leave_one_machine_out,
)
from dcase_asd.fusion.label_free import chosen_note, is_chosen, label_free_runs
from dcase_asd.fusion.members import (
    Development,
    Floats,
    Members,
    content_hash,
    find_development,
    read_members,
)
from dcase_asd.fusion.result import FusionResult, Robustness, fusion_path, read_fusion, write_fusion
from dcase_asd.fusion.robustness import find_robustness
from dcase_asd.metrics.labels import read_ground_truth
from dcase_asd.progress import Progress, Silent
from dcase_asd.recipe.fusion import FusedSystem, Fusion, is_fused, member_runs, read_fused_system
from dcase_asd.recipe.system import recipe_path
from dcase_asd.recipe.toml import recipe_text
from dcase_asd.scores.standardize import SpreadError, standardized
from dcase_asd.scores.table import scored_editions, scores_path, write_scores

FREE = ("resamples",)
"""Settings that no score depends on, which may change without another run folder."""


def settled(fusion: Fusion, runs: Sequence[Path], run: Path) -> FusedSystem:
    """The recipe that a run folder keeps: its systems are run folders relative to its parent."""
    systems = tuple(Path(os.path.relpath(member, run.parent)).as_posix() for member in runs)
    always = tuple(
        system for system, kept in zip(systems, fusion.kept, strict=True) if kept and fusion.always
    )
    return FusedSystem(run.resolve().name, replace(fusion, systems=systems, always=always))


def check_folder(
    run: Path, system: FusedSystem, edition: str, ground_truth: Path | None, *, overwrite: bool
) -> bool:
    """See whether a fusion may be written to a folder.

    Returns:
        Whether the folder holds a fusion with other settings, which shall be replaced.

    Raises:
        ArtifactError: It holds such a fusion, and that is not to be replaced; or something else.
    """
    if not run.exists():
        return False
    if not run.is_dir():
        raise ArtifactError(f"{run}: a file; give another --run")
    if not is_fused(run):
        others = [path.name for path in find_below(run, "*")]
        if others:
            raise ArtifactError(
                f"{run}: holds something else than a fusion ({', '.join(others[:3])}); "
                "give another --run"
            )
        return False
    before, after = asdict(read_fused_system(run).fusion), asdict(system.fusion)
    settings = [
        f"{name} was {before[name]!r} and is {after[name]!r}"
        for name in before
        if before[name] != after[name] and name not in FREE
    ]
    stored = read_fusion(run, edition)
    labels = None if ground_truth is None else str(ground_truth.resolve())
    changes = list(settings)
    if stored is not None and stored.ground_truth != labels:
        changes.append(f"the ground truth was {stored.ground_truth!r} and is {labels!r}")
    if changes and not overwrite:
        raise ArtifactError(
            f"{run}: fused with other settings ({', '.join(changes)}); "
            "give another --run, or replace it with --overwrite"
        )
    return bool(settings)


def start_folder(run: Path, system: FusedSystem, edition: str, *, replaced: bool) -> None:
    """Write the recipe; scores that are made anew, or no longer belong to it, go first."""
    for name in scored_editions(run) if replaced else [edition]:
        scores = scores_path(run, name)
        # The marker goes first, so that nothing half removed is taken for finished.
        for path in (scores.with_suffix(".json"), fusion_path(run, name), scores):
            path.unlink(missing_ok=True)
    write_text(recipe_path(run), recipe_text(system))


STANDARDISATIONS = {"train": "train", "test": "test (transductive)"}
"""What a result calls the standardisation of the recipe."""


def make_result(
    members: Members,
    edition: Edition,
    fusion: Fusion,
    fit: Fit,
    figures: Figures | None,
    *,
    development: Development | None,
    robustness: Robustness | None,
    ground_truth: Path | None,
    made_of: str,
    notes: Sequence[str],
) -> FusionResult:
    """Put together what `fusion.result` keeps."""
    alone = figures.alone if figures else None
    return FusionResult(
        edition=edition.name,
        fingerprint=made_of,
        metric=edition.metric,
        method=fusion.method,
        searched=fit.searched,
        step=fusion.step if fusion.method == "grid" else None,
        seed=fusion.seed,
        standardisation=STANDARDISATIONS[fusion.standardize],
        labels=development.source if development else None,
        ground_truth=str(ground_truth.resolve()) if ground_truth else None,
        machines=development.machines if development else (),
        systems=tuple(members.names[number] for number in fit.systems),
        weights=as_weights(fit),
        selected_from=members.names if fusion.select else None,
        dev_score=figures.dev_score if figures else None,
        leave_one_machine_out=figures.leave_one_machine_out if figures else None,
        equal_weights=figures.equal_weights if figures else None,
        alone=tuple(alone[number] for number in fit.systems) if alone else None,
        alone_before=alone if fusion.select else None,
        bootstrap=figures.bootstrap if figures else None,
        robustness=robustness,
        notes=tuple(notes),
        select=fusion.select,
    )


def provenance(members: Members, fit: Fit) -> dict[str, Any]:
    """What fused scores are made of, as for any run's scores; systems of weight zero do not count.

    Returns:
        ``backbone``: names joined by +; ``parameters``: their sum, None if one is not known;
        ``sample_rate``: the common one in Hz, or None.
    """
    used = np.ones(len(fit.systems), dtype=bool) if fit.weights is None else fit.weights > 0
    made = [
        members.provenances[number] for number, take in zip(fit.systems, used, strict=True) if take
    ]
    backbones = [name for each in made for name in str(each["backbone"]).split("+")]
    rates = {each.get("sample_rate") for each in made}
    parameters = [each.get("parameters") for each in made]
    return {
        "backbone": "+".join(dict.fromkeys(backbones)),
        "parameters": None if None in parameters else sum(parameters),
        "sample_rate": rates.pop() if len(rates) == 1 else None,
    }


FORM = 2
"""Part of a fusion's fingerprint; to be raised when the same inputs are fused otherwise."""


@dataclass(frozen=True)
class Fused:
    """What `fuse` did.

    Attributes:
        path: Where the scores are.
        train: How many train clips are scored.
        test: How many test clips.
        changed: Whether they were made anew.
        result: The weights and what they are worth.
    """

    path: Path
    train: int
    test: int
    changed: bool
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
    """Make one system of several: their standardised scores, weighted.

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
        EditionError: The edition forbids the standardisation.
        ScoresError: Scores are missing, not finite, without spread, or of different clips.
        GroundTruthError: Labels that are needed are missing.
        ArtifactError: The run folder holds something else, or another process writes it.
    """
    run, progress = Path(run), progress or Silent()
    ground_truth = None if ground_truth is None else Path(ground_truth)
    rules = load_edition(edition)
    runs = _check(runs, run, rules, fusion)
    system = settled(fusion, runs, run)
    truth = None if ground_truth is None else read_ground_truth(ground_truth, rules)
    made_of = fingerprint(
        FORM,
        rules.name,
        [content_hash(member, rules.name) for member in runs],
        [content_hash(member, rules.name) for member in label_free_runs(runs, rules.name) or ()],
        asdict(system.fusion),
        None if truth is None else truth.to_csv(),
    )
    replaced = check_folder(run, system, rules.name, ground_truth, overwrite=overwrite)
    finished = _finished(run, rules.name, made_of)
    if finished is not None:
        for note in finished.result.notes:
            progress.note(note)
        return finished
    members = read_members(runs, system.fusion.names, rules.name)
    scores = _standardise(members, system.fusion)
    development, why_not = find_development(members, rules, system.fusion, truth, ground_truth)
    robustness, no_table = find_robustness(members, system.fusion)
    with only_writer(run):
        fits = fit_all(scores, system.fusion, development, robustness, progress)
        figures = None
        notes = [*members.notes, *(development.notes if development else ()), *why_not, *no_table]
        if development is not None:
            figures = compute_figures(
                scores, members.names, fits, system.fusion, development, progress
            )
            figures = _with_chosen(
                figures, members, rules, system.fusion, truth, ground_truth, progress
            )
            notes += figures.notes
        result = make_result(
            members, rules, system.fusion, fits[0], figures,
            development=development, robustness=robustness, ground_truth=ground_truth,
            made_of=made_of, notes=notes,
        )  # fmt: skip
        result = replace(result, notes=(*result.caveats(), *result.notes))
        for note in result.notes:
            progress.note(note)
        start_folder(run, system, rules.name, replaced=replaced)
        write_fusion(run, result)
        table = members.clips.assign(score=fits[0].fuse(scores))
        counts = {split: int(members.of_split(split).sum()) for split in ("train", "test")}
        made = provenance(members, fits[0]) | {"fingerprint": made_of, **counts}
        if caveats := result.caveats():
            made["caveats"] = caveats
        write_scores(run, rules.name, table, made)
    return Fused(scores_path(run, rules.name), **counts, changed=True, result=result)


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
    if fusion.standardize == "test" and not edition.transductive:
        raise EditionError(
            f"{edition.name} forbids what is transductive, such as to standardise by the "
            "statistics of test clips; standardise by train"
        )
    return members


def _finished(run: Path, edition: str, made_of: str) -> Fused | None:
    """The stored fusion, if it was made of the same and finished."""
    path = scores_path(run, edition)
    marker, result = read_json(path.with_suffix(".json")), read_fusion(run, edition)
    if marker is None or result is None or not (path.is_file() and recipe_path(run).is_file()):
        return None
    if {marker.get("fingerprint"), result.fingerprint} != {made_of}:
        return None
    return Fused(path, marker["train"], marker["test"], changed=False, result=result)


def _with_chosen(
    figures: Figures,
    members: Members,
    edition: Edition,
    fusion: Fusion,
    truth: pd.DataFrame | None,
    ground_truth: Path | None,
    progress: Progress,
) -> Figures:
    """Say of an estimate on left-out machines what their labels have chosen before."""
    left_out, runs = figures.leave_one_machine_out, members.runs
    chosen = [number for number, run in enumerate(runs) if is_chosen(run)]
    if left_out is None or not chosen:
        return figures
    names, estimate = tuple(members.names[number] for number in chosen), None
    others = label_free_runs(runs, edition.name)
    if others is not None:
        last = read_members(others, members.names, edition.name)
        scores = _standardise(last, fusion)
        development, _ = find_development(last, edition, fusion, truth, ground_truth)
        assert development is not None  # noqa: S101 - of the same clips
        _, *without = fit_all(
            scores, fusion, development, find_robustness(last, fusion)[0], progress
        )
        estimate = leave_one_machine_out(scores, last.names, without, development).score
    note = chosen_note([runs[number] for number in chosen], names, edition.name, estimate)
    left_out = replace(left_out, chosen=names, last_checkpoints=estimate)
    return replace(figures, leave_one_machine_out=left_out, notes=(*figures.notes, note))


def _standardise(members: Members, fusion: Fusion) -> Floats:
    reference = members.of_split(fusion.standardize)
    try:
        return standardized(members.scores, members.groups, reference)
    except SpreadError as error:
        clips = int((reference & (members.groups == error.group)).sum())
        which = "leave-one-out train" if fusion.standardize == "train" else "test"
        what = f"{clips} {which} score(s) are equal" if clips else f"no {which} score is there"
        raise ScoresError(
            f"{members.runs[error.system]}: {members.where(error.group)}: {what}, so that scores "
            "cannot be standardised; look at the embeddings, or leave this system out"
        ) from error
