"""An edition's clips -> their embeddings, as a run folder keeps them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from dcase_asd.clips.cache import content_hashes
from dcase_asd.clips.manifest import clips_of_edition, manifest_path
from dcase_asd.clips.prepare import up_to_date_manifest
from dcase_asd.editions.edition import load_edition
from dcase_asd.embeddings.findings import no_far_channel
from dcase_asd.embeddings.kept import (
    embedding_folders,
    heard_otherwise,
    keep_recipe,
    scored_checkpoints,
)
from dcase_asd.embeddings.machines import REPRESENTATION, embed_machines, load, machines_of
from dcase_asd.embeddings.rules import run_objections
from dcase_asd.embeddings.store import (
    is_complete,
    planned_markers,
    planned_subset,
    write_plan,
)
from dcase_asd.errors import ArtifactError, AudioError, DataError, command
from dcase_asd.files import only_writer
from dcase_asd.progress import Progress, Silent
from dcase_asd.recipe.subset import EVERYTHING, Names, Subset
from dcase_asd.recipe.system import (
    Embedding,
    System,
    read_system,
    recipe_path,
    with_subset,
)


@dataclass(frozen=True)
class Embedded:
    """What `embed` did: machines embedded now, machines that were complete, clips of both."""

    made: int
    kept: int
    clips: int


def embed(
    data: str | Path,
    run: str | Path,
    edition: str,
    system: System,
    device: str = "auto",
    progress: Progress | None = None,
    *,
    machines: Names | None = None,
    sections: Names | None = None,
    exclude_editions: Names | None = None,
) -> Embedded:
    """Embed the train and test clips of an edition.

    A machine whose embeddings are complete and whose clips have not changed is not done again, so
    a run that was stopped goes on where it was. Where recordings are new, changed or gone since
    `prepare`, the manifest is brought up to date first.

    Args:
        data: Data folder with a manifest.
        run: Run folder to write to.
        edition: Which edition.
        system: What to embed with.
        device: ``cpu``, ``cuda``, ``cuda:1``, ``mps``; ``auto`` takes a GPU where there is one.
        progress: Where to tell how far it is.
        machines: Machine types to embed; by default those of `system`, else all. A run that is
            not fine-tuned may be given more of them later.
        sections: Sections to embed; likewise.
        exclude_editions: Editions that are not to be embedded; likewise.

    Raises:
        DataError: There is no manifest or no such clip, or the edition is one to be left out.
        BackboneError: The plugin or checkpoint cannot be used, or an embedding is not finite.
        AudioError: Clips cannot be read or embedded; all others are embedded first.
        ArtifactError: The run folder was made otherwise, is being written by another process, or
            its fine-tuning is not finished; or more of the edition is embedded than is asked for.
    """
    data, run, progress = Path(data), Path(run), progress or Silent()
    rules = load_edition(edition)
    name = rules.name
    asked = with_subset(system, machines, sections, exclude_editions)
    if system.train is None:  # else the recipe says what was trained on
        system = asked
    manifest = up_to_date_manifest(data, progress, name)
    whole = clips_of_edition(manifest, name, data)
    whole = whole[(whole["role"] == "machine") & whole["split"].isin(["train", "test"])]
    if whole.empty:
        raise DataError(f"{data}: no train or test clip of {name}; there is nothing to embed")
    clips = asked.subset.of_edition(whole, name, manifest_path(data), known=manifest)
    subset = Subset(asked.subset.machines, asked.subset.sections)
    subset = subset if subset.leaves_out(whole) else EVERYTHING
    if objection := no_far_channel(clips, system.embed):
        raise AudioError(f"{data}: {name}: {objection}")
    made = complete = 0
    with only_writer(run):
        parts = _parts(run, system)
        _refuse_less(run, parts[0][0], name, subset)
        given = any(names is not None for names in (machines, sections))
        _tell_subset(asked.subset, clips, name, progress, given=given)
        if _is_represented_anew(run, system):
            load(parts[0][1], "cpu")  # what the backbone lacks is refused before a recipe says it
        keep_recipe(run, system)
        for each in run_objections(run, rules):
            progress.note(f"{each.what}: its scores are for analysis, not for a submission")
        if told := heard_otherwise(parts[0][1]):
            progress.note(told)
        keys = content_hashes(data, list(clips["path"]), progress)
        for folder, recipe in parts:
            found = machines_of(folder, name, clips, keys, recipe)
            write_plan(folder, name, [(each.stage, each.name) for each in found], data, subset)
            waiting = [each for each in found if not is_complete(each.marker, each.fingerprint)]
            if waiting:
                embed_machines(data, waiting, recipe, device, progress)
            made += len(waiting)
            complete += len(found) - len(waiting)
    return Embedded(made, complete, len(clips))


def _refuse_less(run: Path, part: Path, edition: str, subset: Subset) -> None:
    """Refuse to make less of what is embedded, of which the scores would be lost."""
    markers = planned_markers(part, edition) or []
    before = planned_subset(part, edition)
    if any(marker.exists() for marker in markers) and not before.within(subset):
        which = f"which is no part of {subset}; ask for it, too,"
        if subset.within(before):
            part_of_it = command("score", run, "--edition", edition, *subset.flags())
            which = f"more than {subset}; score that part alone with {part_of_it},"
        raise ArtifactError(
            f"{run}: {before} of {edition} is embedded, {which} or embed into another --run "
            "(--runs of `run`)"
        )


def _tell_subset(
    subset: Subset, clips: pd.DataFrame, edition: str, progress: Progress, *, given: bool
) -> None:
    """Say what alone is embedded, and what the edition lacks of it."""
    if subset.narrows:
        why = "" if given else ", as the recipe says; --machine '' and --section '' take all"
        progress.note(f"embedded of {edition}: {subset} alone{why}")
    if lacking := sorted(set(subset.machines) - set(clips["machine"])):
        progress.note(f"{edition} has no clip of {', '.join(lacking)}")


def _parts(run: Path, system: System) -> list[tuple[Path, Embedding]]:
    """What to embed with, and where to: one part, or one for each checkpoint that is scored."""
    if system.train is None:
        return [(run, system.embed)]
    # A fine-tuned checkpoint holds the options of the backbone that it was made from, and gives the
    # dense layer's output unless told otherwise.
    representation = system.train.representation
    options = {} if representation == "dense" else {REPRESENTATION: representation}
    return [
        (folder, replace(system.embed, checkpoint=str(path), options=options))
        for folder, path in zip(embedding_folders(run), scored_checkpoints(run), strict=True)
    ]


def _is_represented_anew(run: Path, system: System) -> bool:
    """Whether a fine-tuned run is to give another representation than its recipe says."""
    if system.train is None or not recipe_path(run).is_file():
        return False
    before = read_system(run).train
    return before is not None and before.representation != system.train.representation
