"""Updates of weights by the gradients of some batches, which processes share."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from dcase_asd.errors import TrainingError
from dcase_asd.recipe.pretraining import Pretraining
from dcase_asd.recipe.training import Training
from dcase_asd.training.faults import names_out_of_memory, not_finite


class Batch(Protocol):
    """What is asked of a batch: which of the training it is, and what it is made of."""

    @property
    def number(self) -> int:
        """Which, from 0."""

    @property
    def files(self) -> list[str]:
        """Recordings."""


AnyBatch = TypeVar("AnyBatch", bound=Batch)


@dataclass(frozen=True)
class Step:
    """What an update was like.

    Attributes:
        means: Over the batches of all processes of what each gave, its loss first.
        norm: Of the gradient before it was clipped.
        clips: Number of clips, of all processes.
        seconds: Time it took.
        waited: Seconds of it in which the network waited for clips.
    """

    means: list[float]
    norm: float
    clips: int
    seconds: float
    waited: float


class Updates:
    """AdamW, one update after another.

    Args:
        network: What is trained, on its device.
        groups: Of its parameters; ``share`` is what a group has of the learning rate (1).
        settings: The recipe.
        accelerator: Of `engine.make_accelerator`.
        device: Where to compute.
        advice: What is said where the memory does not suffice.
        betas: AdamW's.
        loss: What the loss is called in messages, where it is a third party's.
    """

    def __init__(
        self,
        network: nn.Module,
        groups: Sequence[dict[str, Any]],
        settings: Training | Pretraining,
        accelerator: Accelerator,
        device: torch.device,
        *,
        advice: str,
        betas: tuple[float, float] = (0.9, 0.999),
        loss: str = "",
    ) -> None:
        self.network, self.settings = network, settings
        self.accelerator, self.device = accelerator, device
        self.advice, self.loss = advice, loss
        optimizer = torch.optim.AdamW(
            groups,
            lr=settings.learning_rate,
            betas=betas,
            weight_decay=settings.weight_decay,
            fused=device.type == "cuda",
        )
        self.wrapped = accelerator.prepare_model(network)
        self.optimizer = accelerator.prepare_optimizer(optimizer)
        self.batches_of_update = settings.accumulation // accelerator.num_processes

    def numbers(self, first: int) -> list[int]:
        """Batches of this process from an update on, in order; all processes share each."""
        own, process = self.batches_of_update, self.accelerator.process_index
        return [
            update * self.settings.accumulation + process * own + index
            for update in range(first, self.settings.updates)
            for index in range(own)
        ]

    def make(
        self,
        batches: Iterator[AnyBatch],
        factor: float,
        forward: Callable[[AnyBatch], Sequence[Tensor]],
    ) -> Step:
        """Make one update.

        Args:
            batches: Those of `numbers`, at the first of this update.
            factor: Of the recipe's learning rate.
            forward: The loss of a batch, and what else is to be told of it.

        Raises:
            TrainingError: A loss is not finite, or the memory does not suffice.
        """
        started, waited = time.perf_counter(), 0.0
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.learning_rate * factor * group.get("share", 1.0)
        self.optimizer.zero_grad(set_to_none=True)
        rows, files = [], []
        for index in range(self.batches_of_update):
            before = time.perf_counter()
            batch = next(batches)
            waited += time.perf_counter() - before
            last = index == self.batches_of_update - 1
            with (
                nullcontext() if last else self.accelerator.no_sync(self.wrapped),
                names_out_of_memory(self.advice),
            ):
                given = forward(batch)
                self.accelerator.backward(given[0] / self.batches_of_update)
            rows.append(torch.stack([each.detach().float() for each in given]))
            files.append((batch.number, batch.files))
        values = torch.stack(rows).cpu()
        for value, (number, names) in zip(values[:, 0].tolist(), files, strict=True):
            if not math.isfinite(value):
                raise TrainingError(not_finite(value, number, names, self.loss))
        limit = self.settings.clip_norm or math.inf
        norm = self.accelerator.clip_grad_norm_(self.wrapped.parameters(), limit)
        self.optimizer.step()
        means = self.accelerator.reduce(values.mean(0).to(self.device), "mean").tolist()
        clips = self.settings.accumulation * self.settings.batch_size
        return Step(means, float(norm), clips, time.perf_counter() - started, waited)

    def state(self) -> dict[str, Any]:
        """All that later updates depend on, beside the recipe and the recordings."""
        scaler = self.accelerator.scaler
        return {
            "model": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": None if scaler is None else scaler.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to where `state` was taken."""
        self.network.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.accelerator.scaler is not None and state["scaler"] is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])


def warmed_cosine(
    update: int, warmup: int, updates: int, cycles: int = 1, final_share: float = 0.0
) -> float:
    """Linear warm-up, then cosine cycles down to `final_share`.

    Args:
        update: Which update, from 0.
        warmup: Updates of the warm-up; as long as the training or longer never ends.
        updates: Of the training.
        cycles: How many.
        final_share: At the end of each.

    Returns:
        Factor of the largest learning rate, in (0, 1].
    """
    if update < warmup:
        return (update + 1) / warmup
    length = (updates - warmup) / cycles
    position = ((update - warmup) % length) / length
    return final_share + (1 - final_share) * 0.5 * (1 + math.cos(math.pi * position))


def derived_seed(*parts: int) -> int:
    """A seed for torch's generators that stands for several numbers."""
    state = np.random.SeedSequence(parts).generate_state(1, np.uint64)
    return int(state[0] >> np.uint64(1))
