"""What a system costs before it is run: GPU hours by counting operations, and disk.

A pass backward costs two passes forward, so that training on a clip takes three; evaluating and
embedding take one::

    hours = (3 x trained + evaluated + embedded seconds of audio) x operations of a second / speed

The operations of a forward pass and the parameters are those that plugins state of their published
weights (`registry`); head and classifier, some per cent of them, are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dcase_asd.recipe.system import System
from dcase_asd.recipe.training import Training
from dcase_asd.registry import Checkpoint, installed_plugins, named_checkpoints

FORWARD_SECONDS = 10.0
"""Length of the clip that `Checkpoint.gflop` is of."""
TRAINING_PASSES = 3
"""Forward passes that a training step costs: its own, and two of the pass backward."""
BYTES = 4
"""Of a value in float32, as checkpoints and embeddings are written."""
STATE_COPIES = 3
"""Copies of the weights in the state to resume from: the model, and AdamW's two moments."""
GIGA = 1e9
TERA = 1e12
SECONDS_IN_HOUR = 3600.0


@dataclass(frozen=True)
class Audio:
    """Clips and their total length in seconds."""

    clips: int
    seconds: float


@dataclass(frozen=True)
class Cost:
    """What a system takes.

    Attributes:
        training_hours: Of one GPU, for fine-tuning and evaluating checkpoints; None: not known.
        embedding_hours: Of one GPU, for embedding with all scored checkpoints.
        disk: Bytes of checkpoints and embeddings that stay.
        state: Bytes more while it is fine-tuned.
    """

    training_hours: float | None
    embedding_hours: float | None
    disk: float | None
    state: float | None


def cost_of(system: System, dev: Audio, scored: Audio, tflops: float) -> Cost:
    """Estimate what a system takes.

    Args:
        system: Its recipe.
        dev: Clips of the development set that checkpoints are compared on.
        scored: Clips that are embedded.
        tflops: Sustained speed, in 10^12 operations per second.
    """
    network = _network(system)
    if network is None or not (network.gflop and network.parameters):
        return Cost(None, None, None, None)
    settings = system.train
    per_second = network.gflop * GIGA / FORWARD_SECONDS
    members = 1 if settings is None or settings.ensemble == "weights" else settings.keep
    dimension = 0 if settings is None else settings.embedding
    kept = 0 if settings is None else settings.keep + 1  # the last one stays, too
    weights = network.parameters * BYTES
    work = 0.0 if settings is None else _training_work(settings, dev)
    to_hours = per_second / (tflops * TERA) / SECONDS_IN_HOUR
    return Cost(
        training_hours=work * to_hours,
        embedding_hours=members * scored.seconds * to_hours,
        disk=kept * weights + members * scored.clips * dimension * BYTES,
        state=0.0 if settings is None else STATE_COPIES * weights,
    )


def trained_clips(settings: Training) -> int:
    """Clips that the network sees while it is fine-tuned, each time that it sees them."""
    return settings.updates * settings.accumulation * settings.batch_size


def _training_work(settings: Training, dev: Audio) -> float:
    """Seconds of audio in forward passes."""
    every = settings.in_updates(settings.eval_every)
    evaluations = -(-settings.updates // every) if every else 1
    trained = trained_clips(settings) * settings.seconds
    return TRAINING_PASSES * trained + evaluations * dev.seconds


def _network(system: System) -> Checkpoint | None:
    """The published network that a system starts from; None where it is no such one."""
    embedding = system.embed
    if "architecture" in embedding.options:
        return None
    plugins = {plugin.name: plugin for plugin in installed_plugins()}
    plugin = plugins.get(embedding.plugin)
    known = () if plugin is None else named_checkpoints(plugin)
    if embedding.checkpoint is None:
        return known[0] if known else None
    parts = Path(embedding.checkpoint).parts
    for checkpoint in known:
        files = {file.name for file in checkpoint.files} if len(checkpoint.files) == 1 else set()
        if {checkpoint.name, *files} & set(parts):
            return checkpoint
    return None
