"""The run folder of a fusion: its recipe, and what must not be overwritten."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from dcase_asd.artifacts.atomic import write_text
from dcase_asd.artifacts.fusion import fusion_path, read_fusion
from dcase_asd.artifacts.scores import scored_editions, scores_path
from dcase_asd.challenge.litter import find_below
from dcase_asd.errors import ArtifactError
from dcase_asd.fused_system import FusedSystem, Fusion, is_fused, read_fused_system
from dcase_asd.recipe import recipe_text
from dcase_asd.system import recipe_path

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
