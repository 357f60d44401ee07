"""Clips -> embeddings of an edition, machine by machine, reading ahead while computing."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dcase_asd.audio import Mapped
from dcase_asd.clips.cache import content_hashes
from dcase_asd.clips.manifest import clips_of_edition, manifest_path
from dcase_asd.clips.pack import packed_recordings
from dcase_asd.clips.prepare import up_to_date_manifest
from dcase_asd.editions.edition import load_edition
from dcase_asd.embeddings.findings import Findings, no_far_channel
from dcase_asd.embeddings.kept import (
    embedding_folders,
    heard_otherwise,
    keep_recipe,
    scored_checkpoints,
)
from dcase_asd.embeddings.reading import Batch, Recording, read_batches
from dcase_asd.embeddings.rules import run_objections
from dcase_asd.embeddings.store import (
    finish,
    is_complete,
    machine_marker,
    planned_markers,
    planned_subset,
    write_plan,
    writing_vectors,
)
from dcase_asd.errors import ArtifactError, AudioError, BackboneError, DataError, command
from dcase_asd.files import fingerprint, only_writer
from dcase_asd.progress import Advance, Progress, Silent
from dcase_asd.recipe.subset import EVERYTHING, Names, Subset
from dcase_asd.recipe.system import (
    ADDED,
    Embedding,
    System,
    read_system,
    recipe_path,
    with_subset,
)
from dcase_asd.registry import installed_plugins, load_backbone, locate_checkpoint

if TYPE_CHECKING:
    from dcase_asd.backbone import Backbone


READERS = 4
"""Threads that read and resample audio while the backbone computes."""
REPRESENTATION = "embedding"
"""Option of a fine-tuned checkpoint (see `registry.load_backbone`)."""
PROBLEMS_TOLD = 3
"""Clips that an error message names; the others are counted."""


@dataclass(frozen=True)
class Embedded:
    """What `embed` did: machines embedded now, machines that were complete, clips of both."""

    made: int
    kept: int
    clips: int


@dataclass(frozen=True)
class _Machine:
    stage: str
    name: str
    clips: pd.DataFrame
    marker: Path
    fingerprint: str
    content: list[str]


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
            _load(parts[0][1], "cpu")  # what the backbone lacks is refused before a recipe says it
        keep_recipe(run, system)
        for each in run_objections(run, rules):
            progress.note(f"{each.what}: its scores are for analysis, not for a submission")
        if told := heard_otherwise(parts[0][1]):
            progress.note(told)
        keys = content_hashes(data, list(clips["path"]), progress)
        for folder, recipe in parts:
            found = _machines(folder, name, clips, keys, recipe)
            write_plan(folder, name, [(each.stage, each.name) for each in found], data, subset)
            waiting = [each for each in found if not is_complete(each.marker, each.fingerprint)]
            if waiting:
                _embed_machines(data, waiting, recipe, device, progress)
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


def _machines(
    run: Path, edition: str, clips: pd.DataFrame, keys: dict[str, str], recipe: Embedding
) -> list[_Machine]:
    """The work, with a fingerprint of all that a machine's embeddings depend on."""
    backbone = _backbone_fingerprint(recipe)
    machines = []
    for (stage, machine), rows in clips.groupby(["stage", "machine"], sort=True):
        # Equal lengths together, so that a batch is padded as little as can be; one section's
        # train clips together, so that they are one slice of the array.
        order = ["section", "split", "sample_rate", "frames", "path"]
        rows = rows.sort_values(order, kind="stable", ignore_index=True)  # noqa: PLW2901
        paths = list(rows["path"])
        content = [keys[path] for path in paths]
        made_of = fingerprint(backbone, paths, content)
        marker = machine_marker(run, edition, str(stage), str(machine))
        machines.append(_Machine(str(stage), str(machine), rows, marker, made_of, content))
    return machines


def _backbone_fingerprint(recipe: Embedding) -> str:
    versions = [plugin.version for plugin in installed_plugins() if plugin.name == recipe.plugin]
    # What came later is left out where it is not used, so that earlier embeddings stay valid.
    settings = asdict(recipe) | {"batch_size": None, "checkpoint": None}
    settings = {name: settings[name] for name in settings if name not in ADDED} | recipe.added()
    weights: list[str] = []
    if recipe.checkpoint is not None:
        path = locate_checkpoint(recipe.plugin, recipe.checkpoint)
        if path is None:  # a name that the plugin knows where to find
            return fingerprint(versions, settings, [recipe.checkpoint])
        files = [path] if path.is_file() else sorted(path.rglob("*"))
        for file in (each for each in files if each.is_file()):
            with file.open("rb") as content:
                weights.append(hashlib.file_digest(content, "blake2b").hexdigest())
    return fingerprint(versions, settings, weights)


def _embed_machines(
    data: Path, machines: list[_Machine], recipe: Embedding, device: str, progress: Progress
) -> None:
    backbone = _load(recipe, device)
    provenance = {
        "backbone": recipe.plugin,
        "parameters": sum(parameter.numel() for parameter in backbone.parameters()),
        "sample_rate": backbone.sample_rate,
        "dimension": backbone.dimension,
        **recipe.added(),
    }
    if REPRESENTATION in recipe.options:
        provenance["representation"] = recipe.options[REPRESENTATION]
    problems: list[AudioError] = []
    hashes = {
        path: content
        for each in machines
        for path, content in zip(each.clips["path"], each.content, strict=True)
    }
    packed = packed_recordings(data, hashes, progress)
    with (
        progress.bar("Embedding", sum(len(each.clips) for each in machines), "clips") as advance,
        ThreadPoolExecutor(READERS) as readers,
    ):
        for machine in machines:
            with suppress(_IncompleteError):
                found = _embed_machine(
                    data, machine, backbone, recipe, readers, advance, problems, packed=packed
                )
                names = machine.clips["path"].str.rpartition("/")[2]
                where = f"{machine.stage} {machine.name}"
                notes = found.notes(where, len(names), machine.marker.name, recipe)
                for note in [*notes, *found.told(where, recipe)]:
                    progress.note(note)
                marked = provenance | {
                    "dimension": int(np.prod(found.shape)),
                    "fingerprint": machine.fingerprint,
                    "content": machine.content,
                    "notes": notes,
                    **found.provenance(),
                }
                finish(machine.marker, machine.clips.assign(file=names), marked)
    if problems:
        told = "; ".join(str(problem) for problem in problems[:PROBLEMS_TOLD])
        more = len(problems) - PROBLEMS_TOLD
        raise AudioError(
            f"{told}{f'; and {more} more' if more > 0 else ''}. The other machines are embedded; "
            "mend or remove these files and run this command again"
        )


class _IncompleteError(Exception):
    """Clips of a machine could not be embedded, so that its array must not be kept."""


def _embed_machine(
    data: Path,
    machine: _Machine,
    backbone: Backbone,
    recipe: Embedding,
    readers: Executor,
    advance: Advance,
    problems: list[AudioError],
    *,
    packed: Mapping[str, Mapped],
) -> Findings:
    """Embed a machine."""
    columns = machine.clips[["path", "frames", "sample_rate"]].itertuples(index=False)
    recordings = (
        Recording(data / path, frames, rate, packed.get(path)) for path, frames, rate in columns
    )
    batches = read_batches(
        recordings, recipe.batch_size, readers, recipe.channel, backbone.sample_rate,
        both=recipe.far != "none",
    )  # fmt: skip
    machine.marker.unlink(missing_ok=True)  # what it stood for is not what is asked for now
    before = len(problems)
    found = Findings()

    def arrays() -> Iterator[NDArray[np.float32]]:
        for batch in batches:
            problems.extend(batch.problems)
            found.constant |= batch.constant
            if batch.paths:
                yield from _embed_batch(batch, backbone, recipe, found, problems)
            advance(len(batch.paths) + len(batch.problems))

    parts = arrays()
    if (first := next(parts, None)) is None:
        raise _IncompleteError
    found.shape = first.shape[1:]
    with writing_vectors(machine.marker, len(machine.clips), found.shape) as file:
        for rows in chain([first], parts):
            if rows.shape[1:] != found.shape:
                raise BackboneError(
                    f"{machine.stage} {machine.name}: its clips give embeddings of other shapes, "
                    f"{found.shape} and {rows.shape[1:]}; give --bands mean, or an option of the "
                    "plugin that brings all clips to one rate"
                )
            file.write(rows.tobytes())
        if len(problems) > before:
            raise _IncompleteError
    return found


def _embed_batch(
    batch: Batch, backbone: Backbone, recipe: Embedding, found: Findings, problems: list[AudioError]
) -> Iterator[NDArray[np.float32]]:
    """The embeddings of a batch; nothing where a clip of it cannot be embedded."""
    import torch

    from dcase_asd.embeddings.represent import represent

    device = next((each.device for each in backbone.buffers()), torch.device("cpu"))
    device = next((each.device for each in backbone.parameters()), device)
    waveforms = torch.from_numpy(batch.waveforms).to(device)
    lengths = torch.from_numpy(batch.lengths).to(device)
    with torch.inference_mode():
        try:
            done = represent(backbone, recipe, waveforms, lengths, batch.sample_rate)
        except AudioError:
            # One clip that is too short spoils its batch: find out which.
            for path, waveform, length in zip(batch.paths, waveforms, lengths, strict=True):
                alone = waveform[None, : int(length)], length[None]
                try:
                    represent(backbone, recipe, *alone, batch.sample_rate)
                except AudioError as error:
                    problems.append(AudioError(f"{path}: {error}"))
            return
    rows = np.ascontiguousarray(done.vectors.cpu().numpy(), dtype="<f4")
    finite = np.isfinite(rows).reshape(len(rows), -1).all(axis=1)
    if not finite.all():
        raise BackboneError(_not_finite(backbone, recipe, batch.paths[int(np.argmin(finite))]))
    if done.cleaned is not None:
        found.add_cleaned(batch.paths, done.cleaned)
    yield rows


def _not_finite(backbone: Backbone, recipe: Embedding, clip: Path) -> str:
    from dcase_asd.backbone import broken_weight

    weight = broken_weight(backbone)
    return f"{recipe.checkpoint or recipe.plugin}: the embedding of {clip} is not finite" + (
        f", as the weight {weight} is not; give another --checkpoint"
        if weight
        else " though the weights are; leave this clip out, or use another plugin or checkpoint"
    )


def _load(recipe: Embedding, device: str) -> Backbone:
    import torch

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    backbone = load_backbone(recipe.plugin, recipe.checkpoint, **recipe.options)
    try:
        return backbone.to(torch.device(device))
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise BackboneError(f"cannot compute on the device {device!r} ({reason}); "
                            "try --device cpu") from error  # fmt: skip
