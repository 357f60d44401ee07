"""One update of a pre-training after another, on one process or several."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor
from torch.nn.functional import pad

from dcase_asd.backbone.family import FamilyBackbone
from dcase_asd.backbone.vision_transformer import PATCH
from dcase_asd.errors import TrainingError
from dcase_asd.recipe.pretraining import Pretraining
from dcase_asd.training.engine import batch_numbers
from dcase_asd.training.faults import names_out_of_memory, not_finite
from dcase_asd.training.pretraining_batches import PretrainingBatch
from dcase_asd.training.pretraining_objective import (
    MASK_DEVIATION,
    Losses,
    MaskedPrediction,
    draw_masks,
    effective_rank,
    teacher_decay,
    visible_patches,
)

RANKED = 512
"""Vectors at most whose effective rank is computed, which takes some milliseconds."""

_MASKS = 6
"""Told to the random generators; the numbers before are those of batches."""


@dataclass(frozen=True)
class PretrainingReport:
    """What an update was like.

    Attributes:
        values: Loss of a patch, its parts, spread of targets and predictions, effective rank of the
            teacher's [CLS], its decay, the learning rate, the norm of the gradient, speed.
        loss: Of a patch.
        clips_per_second: Of all processes.
        skipped: Why recordings of this process's batches could not be used.
    """

    values: dict[str, float]
    loss: float
    clips_per_second: float
    skipped: list[str]


class PretrainingEngine:
    """Trains a student and lets its teacher follow; each batch's randomness is its number's.

    Args:
        backbone: Whose network is the student, and whose front end is used.
        settings: The recipe, with nothing left to the plugin.
        accelerator: Of `engine.make_accelerator`.
        device: Where to compute.
    """

    def __init__(
        self,
        backbone: FamilyBackbone,
        settings: Pretraining,
        accelerator: Accelerator,
        device: torch.device,
    ) -> None:
        self.backbone, self.settings = backbone, settings
        self.accelerator, self.device = accelerator, device
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_seed(settings.seed, 0))  # of the decoder's weights
            self.model = MaskedPrediction(backbone.network.encoder, settings).to(device).train()
        learnt = [each for each in self.model.parameters() if each.requires_grad]
        groups: list[dict[str, Any]] = [
            {"params": [each for each in learnt if each.ndim > 1]},
            {"params": [each for each in learnt if each.ndim <= 1], "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(
            groups,
            lr=settings.learning_rate,
            betas=(settings.beta1, settings.beta2),
            weight_decay=settings.weight_decay,
            fused=device.type == "cuda",
        )
        self.wrapped = accelerator.prepare_model(self.model)
        self.optimizer = accelerator.prepare_optimizer(optimizer)
        self.batches_of_update = settings.accumulation // accelerator.num_processes

    def numbers(self, first: int) -> list[int]:
        """Batches of this process from an update on, in order."""
        return batch_numbers(self.settings, self.accelerator, first)

    def update(self, number: int, batches: Iterator[PretrainingBatch]) -> PretrainingReport:
        """Make one update.

        Args:
            number: Which, from 0.
            batches: Those of `numbers`, at the first of this update.

        Raises:
            TrainingError: The loss is not finite, or the memory does not suffice.
        """
        settings, started, waited = self.settings, time.perf_counter(), 0.0
        rate = learning_rate(number, settings)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        rows, vectors, files, skipped = [], [], [], []
        for index in range(self.batches_of_update):
            before = time.perf_counter()
            batch = next(batches)
            waited += time.perf_counter() - before
            last = index == self.batches_of_update - 1
            with (
                nullcontext() if last else self.accelerator.no_sync(self.wrapped),
                names_out_of_memory(smaller_batch(settings)),
            ):
                losses = self._forward(batch)
                loss = losses.total / losses.patches
                self.accelerator.backward(loss / self.batches_of_update)
            rows.append(
                torch.stack([
                    loss.detach(), losses.regression / losses.patches, losses.cls / losses.patches,
                    losses.target_deviation, losses.predicted_deviation,
                ])
            )  # fmt: skip
            vectors.append(losses.teacher_cls)
            files.append((batch.number, batch.files))
            skipped += batch.skipped
        values = torch.stack(rows).double().cpu()
        for value, (which, names) in zip(values[:, 0].tolist(), files, strict=True):
            if not math.isfinite(value):
                raise TrainingError(not_finite(value, which, names))
        limit = settings.clip_norm or math.inf
        norm = self.accelerator.clip_grad_norm_(self.wrapped.parameters(), limit)
        self.optimizer.step()
        decay = teacher_decay(number + 1, settings)
        self.model.follow(decay)
        means = self.accelerator.reduce(values.mean(0).float().to(self.device), "mean").tolist()
        seconds = time.perf_counter() - started
        clips = settings.accumulation * settings.batch_size
        told = ("loss", "regression", "cls", "target_var", "pred_var")
        report = dict(zip(told, means, strict=True)) | {
            "effective_rank": effective_rank(torch.cat(vectors)[:RANKED].cpu()),
            "teacher_decay": decay,
            "learning_rate": rate,
            "grad_norm": float(norm),
            "clips_per_second": clips / seconds,
            "waited": waited / seconds,
            "skipped": float(len(skipped)),
        }
        return PretrainingReport(report, means[0], clips / seconds, skipped)

    def _forward(self, batch: PretrainingBatch) -> Losses:
        """The losses of a batch, whose clips may have different rates and so numbers of bands."""
        settings = self.settings
        images, clones = images_and_clones(batch, self.backbone, settings, self.device)
        rows, columns = images.shape[1] // PATCH, images.shape[2] // PATCH
        generator = torch.Generator(self.device)
        generator.manual_seed(_seed(settings.seed, _MASKS, batch.number))
        count = int(clones.sum())
        masked = draw_masks(count, rows, columns, settings, generator)
        hidden = rows * columns - visible_patches(rows * columns, settings)
        noise = torch.randn(
            count, hidden, self.backbone.network.encoder.positions.shape[-1],
            generator=generator, device=self.device,
        )  # fmt: skip
        losses: Losses = self.wrapped(images, clones, masked, MASK_DEVIATION * noise)
        return losses

    def state(self) -> dict[str, Any]:
        """All that later updates depend on, beside the recipe and the recordings."""
        scaler = self.accelerator.scaler
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": None if scaler is None else scaler.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to where `state` was taken."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.accelerator.scaler is not None and state["scaler"] is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])


def images_and_clones(
    batch: PretrainingBatch, backbone: FamilyBackbone, settings: Pretraining, device: torch.device
) -> tuple[Tensor, Tensor]:
    """What the network sees of a batch.

    A frame is 10 ms at every rate, so that bands of clips of all rates go into one tensor.

    Returns:
        Images, (b, frames, bins), the frames a multiple of 16; and how many masks each gets, as
        many as its clip's bands leave of `max_images`, one at least, (b,).
    """
    longest = float((batch.lengths / batch.rates).max())
    parts, clones = [], []
    for rate in sorted(set(batch.rates.tolist())):
        own = batch.rates == rate
        samples = math.ceil(longest * rate)
        waveforms = batch.waveforms[own][:, :samples]
        waveforms = pad(waveforms, (0, samples - waveforms.shape[1])).to(device)
        part = backbone.images(waveforms, batch.lengths[own].to(device), rate).detach()
        bands = len(part) // len(waveforms)
        parts.append(part)
        clones += [max(1, settings.max_images // bands)] * len(part)
    frames = min(part.shape[1] for part in parts) // PATCH * PATCH
    images = torch.cat([part[:, :frames] for part in parts])
    return images, torch.tensor(clones, device=device)


def learning_rate(update: int, settings: Pretraining) -> float:
    """Linear warm-up, then half a cosine down to 0.

    Args:
        update: Which, from 0.
        settings: The recipe.
    """
    if update < settings.warmup:
        return settings.learning_rate * (update + 1) / settings.warmup
    way = (update - settings.warmup) / (settings.updates - settings.warmup)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * way))


def smaller_batch(settings: Pretraining) -> str:
    """What is said where the memory does not suffice."""
    size, begin = settings.batch_size, "the memory does not suffice for"
    if size % 2 == 0:
        return (
            f"{begin} batches of {size} clips; the same effective batch in smaller parts: "
            f"--batch-size {size // 2} --accumulation {2 * settings.accumulation}"
        )
    return (
        f"{begin} batches of {size} clips with {settings.max_images} masks each; fewer masks: "
        f"--max-images {max(1, settings.max_images // 2)}"
    )


def _seed(*parts: int) -> int:
    state = np.random.SeedSequence(parts).generate_state(1, np.uint64)
    return int(state[0] >> np.uint64(1))
