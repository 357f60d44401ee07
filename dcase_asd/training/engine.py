"""One optimiser update after another, on one process or several."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

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
from dcase_asd.training.named import parts_of
from dcase_asd.training.theirs import TheirAugmentation, TheirLoss
from dcase_asd.training.updates import Updates, derived_seed, warmed_cosine


def learning_rate_factor(update: int, settings: Training) -> float:
    """Linear warm-up, then cosine cycles down to `final_share`, or constant.

    Args:
        update: Which update, from 0.
        settings: The recipe; a warm-up as long as the training or longer never ends.

    Returns:
        Factor of the largest learning rate, in (0, 1].
    """
    if settings.schedule == "constant" and update >= settings.warmup:
        return 1.0
    return warmed_cosine(
        update, settings.warmup, settings.updates, settings.cycles, settings.final_share
    )


_DROPOUT, _AUGMENTATION, _THEIRS = 2, 3, 4
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
    # Fine-tuning may leave weights out, as of blocks above the layer that is taken.
    ddp = DistributedDataParallelKwargs(
        broadcast_buffers=False, find_unused_parameters=isinstance(settings, Training)
    )
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


def leave_processes() -> None:
    """Part from the other processes, which lets the threads that talk to them end.

    Such a thread may still hold tensors of its last message. Once the interpreter is ending, none
    can be released any more: Python ends the thread within a destructor, and C++ then aborts the
    process ("terminate called without an active exception").
    """
    gc.collect()  # wrapped models know the group, which ends with the last who does
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


class Engine:
    """Trains a model, one update at a time; what is random depends on the recipe and the batch.

    Args:
        network: What is trained; it is moved to the device.
        settings: The recipe.
        accelerator: Of `make_accelerator`.
        device: Where to compute.
        sample_rate: Of the batches, in Hz.

    Raises:
        TrainingError: A third party's augmentation cannot be used.
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
        parts = parts_of(settings)
        self.augmentations = [TheirAugmentation(of) for of in parts if of.kind == "augmentation"]
        self.network = network.to(device)
        loss = network.classifier
        self.updates = Updates(
            network,
            network.parameter_groups(settings),
            settings,
            accelerator,
            device,
            advice=_smaller_batch(settings),
            loss=str(loss.part) if isinstance(loss, TheirLoss) else "",
        )
        self.numbers = self.updates.numbers

    def update(self, number: int, batches: Iterator[TrainingBatch]) -> UpdateReport:
        """Make one update.

        Args:
            number: Which, from 0.
            batches: Those of `numbers`, at the first of this update.

        Raises:
            TrainingError: The loss is not finite, or the memory does not suffice.
        """
        factor = learning_rate_factor(number, self.settings)
        step = self.updates.make(batches, factor, self._forward)
        loss, accuracy = step.means
        return UpdateReport(
            loss=loss,
            accuracy=accuracy,
            learning_rate=self.settings.learning_rate * factor,
            clips=step.clips,
            seconds=step.seconds,
            waited=step.waited,
        )

    def _forward(self, batch: TrainingBatch) -> tuple[Tensor, Tensor]:
        """The mean loss of a batch, and the share of its clips that were right."""
        settings = self.settings
        # Dropout knows only the global generator; `training` restores that at the end.
        torch.manual_seed(derived_seed(settings.seed, _DROPOUT, batch.number))
        generator = torch.Generator()
        generator.manual_seed(derived_seed(settings.seed, _AUGMENTATION, batch.number))
        waveforms, lengths, targets, noise, snr = batch.on(self.device)
        mixup = None
        waveforms = mix_at_snr(waveforms, lengths, noise, snr)
        theirs = torch.Generator()  # so that all that is drawn without them stays as it is
        theirs.manual_seed(derived_seed(settings.seed, _THEIRS, batch.number))
        inside = torch.arange(waveforms.shape[1], device=self.device) < lengths[:, None]
        waveforms = self._augment("waveforms", waveforms, theirs, lengths, inside)
        if settings.mixup > 0:
            mixup = draw_mixup(
                len(waveforms), settings.mixup, generator, self.device, settings.mixup_probability
            )
            waveforms, lengths = mixup.mix(waveforms), mixup.lengths(lengths)
        backbone = self.network.model.backbone
        spectrogram = backbone.spectrogram(waveforms, lengths, self.sample_rate).detach()
        inside = backbone.frame_mask(lengths, spectrogram.shape[1], self.sample_rate)
        spectrogram = self._augment("spectrogram", spectrogram, theirs, lengths, inside)
        spectrogram = mask_spectrogram(
            spectrogram, settings.time_mask, settings.frequency_mask, generator, inside
        )
        loss, predicted = self.updates.wrapped(
            spectrogram, lengths, waveforms.shape[1], targets, mixup
        )
        return loss.mean(), (predicted == targets).float().mean()

    def _augment(
        self, of: str, batch: Tensor, generator: torch.Generator, lengths: Tensor, inside: Tensor
    ) -> Tensor:
        """Third parties' augmentations of waveforms or of a spectrogram, in the recipe's order."""
        for each in self.augmentations:
            if each.of == of:
                batch = each(
                    batch, generator=generator, lengths=lengths, inside=inside,
                    sample_rate=self.sample_rate,
                )  # fmt: skip
        return batch

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
        return self.updates.state()

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to where `state` was taken."""
        self.updates.restore(state)
        rank, buffers = self.accelerator.process_index, state.get(BUFFERS, [])
        if rank < len(buffers):
            self.network.load_state_dict(buffers[rank], strict=False)


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
