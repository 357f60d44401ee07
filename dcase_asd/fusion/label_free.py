"""Which systems labels have already chosen something of, and the same systems without that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path

from dcase_asd.embeddings.kept import checkpoints_folder, read_kept
from dcase_asd.errors import command, some
from dcase_asd.fusion.figures import leave_one_machine_out
from dcase_asd.fusion.members import Members
from dcase_asd.fusion.result import FusionResult
from dcase_asd.fusion.robustness import find_robustness
from dcase_asd.fusion.search import fit_all
from dcase_asd.progress import Progress
from dcase_asd.recipe.detector import Detector
from dcase_asd.recipe.fusion import Fusion, is_fused, member_runs, read_fused_system
from dcase_asd.recipe.imported import is_imported
from dcase_asd.recipe.setting import as_typed
from dcase_asd.recipe.system import Embedding, read_system, recipe_path
from dcase_asd.scores.table import scores_path

LAST = "last"
"""Run folder below a run's: the same system with its last checkpoint, which no label chose."""


def is_chosen(run: Path) -> bool:
    """Whether development labels chose a run's checkpoints, or its systems or their weights.

    Raises:
        RecipeError: The run's recipe is wrong.
    """
    if not recipe_path(run).is_file() or is_imported(run):
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


def tell_chosen(
    result: FusionResult,
    members: Members,
    fusion: Fusion,
    read: Callable[[Sequence[Path]], Members],
    progress: Progress,
) -> FusionResult:
    """Say beside an estimate for left-out machine types what their labels have chosen before.

    Args:
        result: What was found out.
        members: The systems.
        fusion: As the user asked for it.
        read: Reads other runs as the members were read: `label_free_runs`, for the same estimate.
        progress: Where to tell how far it is.
    """
    left_out, runs = result.leave_one_machine_out, members.runs
    chosen = [number for number, run in enumerate(runs) if is_chosen(run)]
    if left_out is None or not chosen:
        return result
    names, estimate = tuple(members.names[number] for number in chosen), None
    others = label_free_runs(runs, result.edition)
    if others is not None:
        last = read(others)
        assert last.objective is not None  # noqa: S101 - of the same clips
        _, *without = fit_all(last, fusion, find_robustness(last, fusion), progress)
        estimate = leave_one_machine_out(last, without, last.objective).score
    note = _note([runs[number] for number in chosen], names, result.edition, estimate)
    left_out = replace(left_out, chosen=names, last_checkpoints=estimate)
    return replace(result, leave_one_machine_out=left_out, notes=(*result.notes, note))


def _note(runs: Sequence[Path], names: Sequence[str], edition: str, estimate: float | None) -> str:
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
    score = command(
        "score", run / LAST, *_flags(system.score or Detector()), "--edition", edition
    )  # fmt: skip
    return (
        f"{what}for an estimate with their last checkpoints, which no label chose, embed and score "
        f"each below its run, {embed} and {score}, then fuse again"
    )


def _flags(values: Embedding | Detector) -> list[str]:
    """What differs from the defaults, as it is typed; not what a checkpoint brings."""
    brought = {"plugin", "checkpoint", "options"} if isinstance(values, Embedding) else set()
    return [
        word
        for each, value in ((each, getattr(values, each.name)) for each in fields(values))
        if each.name not in brought and value not in (each.default, {})
        for word in as_typed(each, value)
    ]
