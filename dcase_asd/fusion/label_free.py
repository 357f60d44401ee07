"""Which systems labels have already chosen something of, and the same systems without that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from dcase_asd.embeddings.kept import checkpoints_folder, read_kept
from dcase_asd.errors import command, some
from dcase_asd.recipe.detector import Detector
from dcase_asd.recipe.fusion import is_fused, member_runs, read_fused_system
from dcase_asd.recipe.system import Embedding, read_system, recipe_path
from dcase_asd.scores.table import scores_path

LAST = "last"
"""Run folder below a run's: the same system with its last checkpoint, which no label chose."""


def is_chosen(run: Path) -> bool:
    """Whether development labels chose a run's checkpoints, or its systems or their weights.

    Raises:
        RecipeError: The run's recipe is wrong.
    """
    if not recipe_path(run).is_file():
        return False
    if is_fused(run):
        fusion = read_fused_system(run).fusion
        return fusion.uses_labels or any(map(is_chosen, member_runs(run, fusion)))
    train = read_system(run).train
    if train is None or train.ensemble == "last":
        return False
    checkpoints = -(-train.steps // train.eval_every) if train.eval_every else 1
    return checkpoints > train.keep


def label_free_runs(runs: Sequence[Path], edition: str) -> list[Path] | None:
    """The runs, those that labels chose with their `LAST`; None where one of these is missing."""
    found = [run / LAST if is_chosen(run) else run for run in runs]
    there = (scores_path(run, edition).with_suffix(".json").is_file() for run in found)
    return found if all(there) and not any(map(is_chosen, found)) else None


def chosen_note(
    runs: Sequence[Path], names: Sequence[str], edition: str, estimate: float | None
) -> str:
    """What to say beside a leave-one-machine-out estimate of runs that labels chose.

    Args:
        runs: Those that `is_chosen` tells.
        names: What they are called.
        edition: Which is fused.
        estimate: The same estimate of `label_free_runs`, in [0, 1]; None where these are missing.
    """
    what = (
        "the leave-one-machine-out estimate refits the weights alone: labels of the left-out "
        f"machine, too, chose checkpoints or weights of {some(names)}; "
    )
    if estimate is not None:
        return f"{what}with last checkpoints, which no label chose, it is {100 * estimate:.2f} %"
    single = [run for run in runs if not is_fused(run)]
    if not single:
        return f"{what}for an estimate without that, fuse the systems that they are made of"
    run, kept, system = single[0], read_kept(single[0]), read_system(single[0])
    file = kept.checkpoints[-1].file if kept and kept.checkpoints else "FILE"
    embed = command(
        "embed", "--plugin", system.embed.plugin, "--checkpoint", checkpoints_folder(run) / file,
        *_flags(system.embed), "--data", "data", "--edition", edition, "--run", run / LAST,
    )  # fmt: skip
    score = command("score", run / LAST, *_flags(system.score), "--edition", edition)
    return (
        f"{what}for an estimate with their last checkpoints, which no label chose, embed and score "
        f"each below its run, {embed} and {score}, then fuse again"
    )


def _flags(values: Embedding | Detector) -> list[str]:
    """What differs from the defaults, as it is typed; not what a checkpoint brings."""
    told = ((each.name, getattr(values, each.name), each.default) for each in fields(values))
    return [
        word
        for name, value, default in told
        if value != default and name not in {"plugin", "checkpoint", "options"}
        for word in (f"--{name.replace('_', '-')}", str(value))
    ]
