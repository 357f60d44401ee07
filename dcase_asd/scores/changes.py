"""What is not as it was: recordings that were embedded, and scores that others replace."""

from __future__ import annotations

from pathlib import Path

from dcase_asd.clips.cache import content_hashes, read_cache
from dcase_asd.clips.manifest import read_manifest
from dcase_asd.clips.prepare import Changes, is_as_prepared, survey
from dcase_asd.embeddings.store import MachineEmbeddings, planned_data, planned_subset
from dcase_asd.errors import DcaseAsdError, command, some
from dcase_asd.progress import Progress
from dcase_asd.recipe.subset import Subset
from dcase_asd.scores.table import Sections, read_scores, sections_of


def tell_changes(
    run: Path, edition: str, part: Path, machines: list[MachineEmbeddings], progress: Progress
) -> None:
    """Say which recordings are new, changed or gone since they were embedded."""
    data = planned_data(part, edition)
    if data is None or any("content" not in machine.provenance for machine in machines):
        return  # embedded before that was written down
    try:
        if is_as_prepared(data, edition):
            clips, files = read_manifest(data), read_cache(data)
        else:
            found, files = survey(data, progress)
            clips = found.clips
    except DcaseAsdError:
        progress.note(
            f"{run}: there are no recordings in {data} now, so that it is not known whether those "
            "that were embedded changed"
        )
        return
    clips = clips[(clips["edition"] == edition) & (clips["role"] == "machine")]
    clips = clips[clips["split"].isin(["train", "test"])]
    subset = planned_subset(part, edition)
    clips = clips[subset.mask(clips)]
    hashes = content_hashes(data, list(clips["path"]), progress, files)
    columns = ("stage", "machine", "split", "path")
    now = {
        (stage, machine, split, path.rpartition("/")[2]): hashes[path]
        for stage, machine, split, path in zip(*(clips[each] for each in columns), strict=True)
    }
    then = {
        (machine.stage, machine.machine, split, file): content
        for machine in machines
        for split, file, content in zip(
            machine.clips["split"],
            machine.clips["file"],
            machine.provenance["content"],
            strict=True,
        )
    }
    changes = Changes(
        new=[clip[-1] for clip in now if clip not in then],
        changed=[clip[-1] for clip in now if then.get(clip, now[clip]) != now[clip]],
        gone=[clip[-1] for clip in then if clip not in now],
    )
    if str(changes):
        again = command("embed", "--data", data, "--edition", edition, "--run", run,
                        *subset.flags())  # fmt: skip
        progress.note(f"{run}: since it was embedded, {changes}; scored as it was, embed it again "
                      f"with {again}")  # fmt: skip


def tell_lost(
    run: Path, edition: str, subset: Subset, wanted: Sections, progress: Progress
) -> None:
    """Say what alone is scored, and which scores of before are not among those any more."""
    if not subset:
        return
    progress.note(f"{run}: scored of {edition}: {subset} alone")
    try:
        before = sections_of(read_scores(run, edition))
    except DcaseAsdError:  # none, or none that is of any use
        return
    if lost := [f"{machine} {section}" for machine, section in before - wanted]:
        again = command("score", run, "--edition", edition)
        progress.note(f"{run}: scores of {some(lost)} are left out now; {again} scores all again")
