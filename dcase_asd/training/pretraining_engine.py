"""One update of a pre-training after another, on one process or several."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.nn.functional import pad

from dcase_asd.backbone.family import FamilyBackbone
from dcase_asd.backbone.vision_transformer import PATCH
from dcase_asd.recipe.pretraining import Pretraining
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
from dcase_asd.training.updates import Updates, derived_seed, warmed_cosine

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
            torch.manual_seed(derived_seed(settings.seed, 0))  # of the decoder's weights
            self.model = MaskedPrediction(backbone.network.encoder, settings).to(device).train()
        learnt = [each for each in self.model.parameters() if each.requires_grad]
        self.updates = Updates(
            self.model,
            [
                {"params": [each for each in learnt if each.ndim > 1]},
                {"params": [each for each in learnt if each.ndim <= 1], "weight_decay": 0.0},
            ],
            settings,
            accelerator,
            device,
            advice=smaller_batch(settings),
            betas=(settings.beta1, settings.beta2),
        )
        self.numbers, self.state, self.restore = (
            self.updates.numbers, self.updates.state, self.updates.restore,
        )  # fmt: skip

    def update(self, number: int, batches: Iterator[PretrainingBatch]) -> PretrainingReport:
        """Make one update.

        Args:
            number: Which, from 0.
            batches: Those of `numbers`, at the first of this update.

        Raises:
            TrainingError: The loss is not finite, or the memory does not suffice.
        """
        settings = self.settings
        vectors: list[Tensor] = []
        skipped: list[str] = []

        def forward(batch: PretrainingBatch) -> list[Tensor]:
            losses = self._forward(batch)
            vectors.append(losses.teacher_cls)
            skipped.extend(batch.skipped)
            of_patch = (losses.total, losses.regression, losses.cls)
            return [
                *(each / losses.patches for each in of_patch),
                losses.target_deviation, losses.predicted_deviation,
            ]  # fmt: skip

        factor = warmed_cosine(number, settings.warmup, settings.updates)
        step = self.updates.make(batches, factor, forward)
        decay = teacher_decay(number + 1, settings)
        self.model.follow(decay)
        told = ("loss", "regression", "cls", "target_var", "pred_var")
        report = dict(zip(told, step.means, strict=True)) | {
            "effective_rank": effective_rank(torch.cat(vectors)[:RANKED].cpu()),
            "teacher_decay": decay,
            "learning_rate": settings.learning_rate * factor,
            "grad_norm": step.norm,
            "clips_per_second": step.clips / step.seconds,
            "waited": step.waited / step.seconds,
            "skipped": float(len(skipped)),
        }
        return PretrainingReport(report, step.means[0], report["clips_per_second"], skipped)

    def _forward(self, batch: PretrainingBatch) -> Losses:
        """The losses of a batch, whose clips may have different rates and so numbers of bands."""
        settings = self.settings
        images, clones = images_and_clones(batch, self.backbone, settings, self.device)
        rows, columns = images.shape[1] // PATCH, images.shape[2] // PATCH
        generator = torch.Generator(self.device)
        generator.manual_seed(derived_seed(settings.seed, _MASKS, batch.number))
        count = int(clones.sum())
        masked = draw_masks(count, rows, columns, settings, generator)
        hidden = rows * columns - visible_patches(rows * columns, settings)
        noise = torch.randn(
            count, hidden, self.backbone.network.encoder.positions.shape[-1],
            generator=generator, device=self.device,
        )  # fmt: skip
        losses: Losses = self.updates.wrapped(images, clones, masked, MASK_DEVIATION * noise)
        return losses


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
