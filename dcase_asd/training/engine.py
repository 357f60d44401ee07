"""One optimiser update after another, on one process or several."""

from __future__ import annotations

import gc
import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.state import AcceleratorState
from accelerate.utils import gather_object
from torch import Tensor, nn
from torch.utils import deterministic

from dcase_asd.errors import TrainingError
from dcase_asd.recipe.pretraining import Pretraining
from dcase_asd.recipe.training import Training
from dcase_asd.training.augment import draw_mixup, mask_spectrogram, mix_at_snr
from dcase_asd.training.batches import TrainingBatch
from dcase_asd.training.model import TrainingModel


def learning_rate_factor(update: int, settings: Training) -> float:
    """Linear warm-up, then cosine cycles down to `final_share`, or constant.

    Args:
        update: Which update, from 0.
        settings: The recipe; a warm-up as long as the training or longer never ends.

    Returns:
        Factor of the largest learning rate, in (0, 1].
    """
    if update < settings.warmup:
        return (update + 1) / settings.warmup
    if settings.schedule == "constant":
        return 1.0
    length = (settings.updates - settings.warmup) / settings.cycles
    position = ((update - settings.warmup) % length) / length
    return settings.final_share + (1 - settings.final_share) * 0.5 * (
        1 + math.cos(math.pi * position)
    )


FILES_TOLD = 4
"""Files of a batch that an error message names; the others are counted."""

CPU_OUT_OF_MEMORY = "DefaultCPUAllocator"
"""Who torch says cannot allocate where there is no GPU; that error has no class of its own."""

GLOO = "gloo/transport"
"""Where errors come from of the library that connects processes without a GPU: it has no class."""

_DROPOUT, _AUGMENTATION = 2, 3
"""Told to the random generators; the numbers before are those of `batches`."""


BUFFERS = "buffers"
"""Of a state that was saved between the means of batch-norm statistics, those of each process."""


@dataclass(frozen=True)
class UpdateReport:
    """What an update was like.

    Attributes:
        loss: Mean over its clips.
        accuracy: Share of its clips whose class is nearest (mixup: of the unmixed label).
        learning_rate: Of the backbone.
        clips: Number of clips, of all processes.
        seconds: Time it took.
        waited: Seconds of it in which the network waited for clips.
    """

    loss: float
    accuracy: float
    learning_rate: float
    clips: int
    seconds: float
    waited: float


def make_accelerator(settings: Training | Pretraining, device: str) -> Accelerator:
    """Join the other processes, if there are any, and choose the precision.

    Args:
        settings: The recipe.
        device: ``cpu``, ``cuda``, ``cuda:1``, …, or ``auto``.

    Raises:
        TrainingError: The batches of an update cannot be shared out evenly, or the processor cannot
            compute with the precision.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        # A process may fine-tune one system after another, each on another device.
        AcceleratorState._reset_state(reset_partial_state=True)  # noqa: SLF001 - no public name
    else:
        # Its functions keep the group that there is when it is imported, which is how
        # DistributedDataParallel would do it: `leave_processes` could never end that group.
        from torch.distributed.nn import functional  # noqa: F401
    on_gpu = torch.cuda.is_available() and device != "cpu"
    precision = settings.precision
    if precision == "auto":
        precision = "bf16" if on_gpu and torch.cuda.is_bf16_supported() else "fp32"
    if precision == "fp16" and not on_gpu:  # accelerate would train in fp32 and say nothing
        raise TrainingError("precision: fp16 needs a GPU; on a CPU choose bf16 or fp32")
    # Each process keeps its own batch-norm statistics; they are averaged where they are used.
    ddp = DistributedDataParallelKwargs(broadcast_buffers=False, find_unused_parameters=True)
    accelerator = Accelerator(
        device_placement=False,
        mixed_precision="no" if precision == "fp32" else precision,
        cpu=not on_gpu,
        kwargs_handlers=[ddp],
    )
    if settings.accumulation % accelerator.num_processes:
        raise TrainingError(
            f"accumulation: {settings.accumulation} batches cannot be shared out evenly to "
            f"{accelerator.num_processes} processes; choose a multiple, with a smaller batch_size "
            "for the same effective batch"
        )
    return accelerator


@contextmanager
def names_lost_processes(processes: int) -> Iterator[None]:
    """Tell in one line that another process of the training has ended.

    Args:
        processes: How many there are.

    Raises:
        TrainingError: One of them cannot be reached.
    """
    try:
        yield
    except RuntimeError as error:
        of_others = isinstance(error, torch.distributed.DistError) or GLOO in str(error)
        if processes == 1 or not of_others:
            raise
        raise TrainingError(
            f"another of the {processes} processes has ended, whose own message says why; the same "
            "command goes on where it was"
        ) from error


def leave_processes() -> None:
    """Part from the other processes, which lets the threads that talk to them end.

    Such a thread may still hold tensors of its last message. Once the interpreter is ending, none
    can be released any more: Python ends the thread within a destructor, and C++ then aborts the
    process ("terminate called without an active exception").
    """
    gc.collect()  # wrapped models know the group, which ends with the last who does
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def batch_numbers(
    settings: Training | Pretraining, accelerator: Accelerator, first: int
) -> list[int]:
    """Batches of one process from an update on, in order: all processes share each update's."""
    own = settings.accumulation // accelerator.num_processes
    return [
        update * settings.accumulation + accelerator.process_index * own + index
        for update in range(first, settings.updates)
        for index in range(own)
    ]


class Engine:
    """Trains a model, one update at a time; what is random depends on the recipe and the batch.

    Args:
        network: What is trained; it is moved to the device.
        settings: The recipe.
        accelerator: Of `make_accelerator`.
        device: Where to compute.
        sample_rate: Of the batches, in Hz.
    """

    def __init__(
        self,
        network: TrainingModel,
        settings: Training,
        accelerator: Accelerator,
        device: torch.device,
        sample_rate: int,
    ) -> None:
        self.settings, self.accelerator = settings, accelerator
        self.device, self.sample_rate = device, sample_rate
        self.network = network.to(device)
        optimizer = torch.optim.AdamW(
            network.parameter_groups(settings),
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
            fused=device.type == "cuda",
        )
        self.wrapped = accelerator.prepare_model(network)
        self.optimizer = accelerator.prepare_optimizer(optimizer)
        self.batches_of_update = settings.accumulation // accelerator.num_processes

    def numbers(self, first: int) -> list[int]:
        """Batches of this process from an update on, in order."""
        return batch_numbers(self.settings, self.accelerator, first)

    def update(self, number: int, batches: Iterator[TrainingBatch]) -> UpdateReport:
        """Make one update.

        Args:
            number: Which, from 0.
            batches: Those of `numbers`, at the first of this update.

        Raises:
            TrainingError: The loss is not finite, or the memory does not suffice.
        """
        started, waited = time.perf_counter(), 0.0
        factor = learning_rate_factor(number, self.settings)
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.learning_rate * factor * group["share"]
        self.optimizer.zero_grad(set_to_none=True)
        losses, hits, files = [], [], []
        for index in range(self.batches_of_update):
            before = time.perf_counter()
            batch = next(batches)
            waited += time.perf_counter() - before
            last = index == self.batches_of_update - 1
            with nullcontext() if last else self.accelerator.no_sync(self.wrapped):
                loss, hit = self._backward(batch)
            losses.append(loss)
            hits.append(hit)
            files.append((batch.number, batch.files))
        values = torch.stack([torch.stack(losses), torch.stack(hits)]).cpu()
        self._check_finite(values[0], files)
        if self.settings.clip_norm > 0:
            self.accelerator.clip_grad_norm_(self.wrapped.parameters(), self.settings.clip_norm)
        self.optimizer.step()
        loss_value, accuracy = self._over_processes(values.mean(1))
        return UpdateReport(
            loss=loss_value,
            accuracy=accuracy,
            learning_rate=self.settings.learning_rate * factor,
            clips=self.settings.accumulation * self.settings.batch_size,
            seconds=time.perf_counter() - started,
            waited=waited,
        )

    def _backward(self, batch: TrainingBatch) -> tuple[Tensor, Tensor]:
        """Gradients of one batch; returns its mean loss and the share of clips that were right."""
        with names_out_of_memory(_smaller_batch(self.settings)):
            loss, hit = self._forward(batch)
            self.accelerator.backward(loss / self.batches_of_update)
        return loss.detach().float(), hit.float()

    def _forward(self, batch: TrainingBatch) -> tuple[Tensor, Tensor]:
        settings = self.settings
        # Dropout knows only the global generator; `training` restores that at the end.
        torch.manual_seed(_seed(settings.seed, _DROPOUT, batch.number))
        generator = torch.Generator()
        generator.manual_seed(_seed(settings.seed, _AUGMENTATION, batch.number))
        waveforms, lengths, targets, noise, snr = batch.on(self.device)
        mixup = None
        waveforms = mix_at_snr(waveforms, lengths, noise, snr)
        if settings.mixup > 0:
            mixup = draw_mixup(len(waveforms), settings.mixup, generator, self.device)
            waveforms = mixup.mix(waveforms)
            lengths = torch.maximum(lengths, lengths[mixup.partner])
        backbone = self.network.model.backbone
        spectrogram = backbone.spectrogram(waveforms, lengths, self.sample_rate).detach()
        inside = backbone.frame_mask(lengths, spectrogram.shape[1], self.sample_rate)
        spectrogram = mask_spectrogram(
            spectrogram, settings.time_mask, settings.frequency_mask, generator, inside
        )
        loss, predicted = self.wrapped(spectrogram, lengths, waveforms.shape[1], targets, mixup)
        return loss.mean(), (predicted == targets).float().mean()

    def _check_finite(self, losses: Tensor, files: list[tuple[int, list[str]]]) -> None:
        for loss, (number, names) in zip(losses.tolist(), files, strict=True):
            if not np.isfinite(loss):
                raise TrainingError(not_finite(loss, number, names))

    def _over_processes(self, values: Tensor) -> list[float]:
        reduced = self.accelerator.reduce(values.to(self.device), "mean")
        return [float(value) for value in reduced]

    def share_buffers(self) -> None:
        """Give all processes the mean of their batch-norm statistics."""
        if self.accelerator.num_processes > 1:
            for buffer in self.network.buffers():
                if buffer.is_floating_point():
                    buffer.copy_(self.accelerator.reduce(buffer, "mean"))

    def any_process(self, said: bool) -> bool:
        """Whether any of the processes says so."""
        if self.accelerator.num_processes == 1:
            return said
        value = torch.tensor([float(said)], device=self.device)
        return bool(self.accelerator.reduce(value, "sum").item())

    def buffers_of_all(self) -> list[dict[str, Tensor]]:
        """Batch-norm statistics of each process, in their order."""
        own = {name: buffer.cpu() for name, buffer in self.network.named_buffers()}
        return list(gather_object([own]))

    def state(self) -> dict[str, Any]:
        """All that later updates depend on, beside the recipe and the data."""
        scaler = self.accelerator.scaler
        return {
            "model": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": None if scaler is None else scaler.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to where `state` was taken."""
        self.network.load_state_dict(state["model"])
        rank, buffers = self.accelerator.process_index, state.get(BUFFERS, [])
        if rank < len(buffers):
            self.network.load_state_dict(buffers[rank], strict=False)
        self.optimizer.load_state_dict(state["optimizer"])
        if self.accelerator.scaler is not None and state["scaler"] is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])


def not_finite(loss: float, number: int, names: list[str]) -> str:
    """What is said of a batch whose loss is not finite."""
    more = f" and {len(names) - FILES_TOLD} more" if len(names) > FILES_TOLD else ""
    return (
        f"the loss of batch {number} is {loss}: a lower learning_rate or precision fp32 may help, "
        f"or one of its files is broken: {', '.join(names[:FILES_TOLD])}{more}"
    )


@contextmanager
def training(network: nn.Module, settings: Training | Pretraining) -> Iterator[None]:
    """Train inside; afterwards the model is in eval mode and torch's global state as before."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # else cuBLAS is not deterministic
    before = torch.are_deterministic_algorithms_enabled()
    only_warn = torch.is_deterministic_algorithms_warn_only_enabled()
    filled = deterministic.fill_uninitialized_memory  # type: ignore[attr-defined] # torch sets it late
    try:
        with torch.random.fork_rng():
            torch.use_deterministic_algorithms(settings.deterministic, warn_only=True)
            # Filling memory that is written before it is read takes a tenth of an update.
            deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined] # as above
            network.train()
            yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=only_warn)
        deterministic.fill_uninitialized_memory = filled  # type: ignore[attr-defined] # as above
        network.eval()


@contextmanager
def names_out_of_memory(advice: str) -> Iterator[None]:
    """Tell in one line, which is given, that the memory does not suffice.

    Raises:
        TrainingError: It does not.
    """
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, torch.OutOfMemoryError) and CPU_OUT_OF_MEMORY not in str(error):
            raise
        raise TrainingError(advice) from error


def _smaller_batch(settings: Training) -> str:
    size = settings.batch_size
    if size % 2 or size < 4:  # noqa: PLR2004 - no smaller batch has two clips
        return f"the memory does not suffice for batches of {size} clips; use a larger GPU"
    changes = {"batch_size": size // 2, "accumulation": 2 * settings.accumulation}
    if settings.step_unit == "batch":
        doubled = ("steps", "eval_every", "save_every")
        changes |= {name: 2 * getattr(settings, name) for name in doubled}
    flags = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in changes.items())
    return (
        f"the memory does not suffice for batches of {size} clips; the same effective batch in "
        f"smaller parts: {flags}"
    )


def _seed(seed: int, purpose: int, number: int) -> int:
    state = np.random.SeedSequence([seed, purpose, number]).generate_state(1, np.uint64)
    return int(state[0] >> np.uint64(1))
