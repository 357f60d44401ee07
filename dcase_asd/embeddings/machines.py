"""A machine's clips -> its embeddings, reading ahead while computing."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dcase_asd.audio import Mapped
from dcase_asd.clips.pack import packed_recordings
from dcase_asd.embeddings.findings import Findings
from dcase_asd.embeddings.reading import Batch, Recording, read_batches
from dcase_asd.embeddings.store import finish, machine_marker, writing_vectors
from dcase_asd.errors import AudioError, BackboneError
from dcase_asd.files import fingerprint
from dcase_asd.progress import Advance, Progress
from dcase_asd.recipe.system import ADDED, Embedding
from dcase_asd.registry import installed_plugins, load_backbone, locate_checkpoint

if TYPE_CHECKING:
    from dcase_asd.backbone import Backbone

REPRESENTATION = "embedding"
"""Option of a fine-tuned checkpoint (see `registry.load_backbone`)."""
READERS = 4
"""Threads that read and resample audio while the backbone computes."""
PROBLEMS_TOLD = 3
"""Clips that an error message names; the others are counted."""


@dataclass(frozen=True)
class Machine:
    """A machine's clips of one part of a run.

    Attributes:
        stage: ``dev`` or ``eval``.
        name: Its type.
        clips: Rows of the manifest, in the order of the embeddings.
        marker: What is written once they are complete.
        fingerprint: Of all that they depend on.
        content: Hashes of the clips' audio.
    """

    stage: str
    name: str
    clips: pd.DataFrame
    marker: Path
    fingerprint: str
    content: list[str]


def machines_of(
    run: Path, edition: str, clips: pd.DataFrame, keys: dict[str, str], recipe: Embedding
) -> list[Machine]:
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
        machines.append(Machine(str(stage), str(machine), rows, marker, made_of, content))
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


def embed_machines(
    data: Path, machines: list[Machine], recipe: Embedding, device: str, progress: Progress
) -> None:
    """Embed machines and mark each that is complete.

    Raises:
        BackboneError: The backbone cannot be used, or an embedding is not finite.
        AudioError: Clips cannot be read or embedded; all other machines are embedded first.
    """
    backbone = load(recipe, device)
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
    machine: Machine,
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


def load(recipe: Embedding, device: str) -> Backbone:
    """The backbone of a recipe on a device.

    Raises:
        BackboneError: There is no such plugin, checkpoint or device.
    """
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
