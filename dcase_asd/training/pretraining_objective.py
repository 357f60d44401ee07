"""What pre-training minimizes: a student that sees a fifth of the patches predicts a teacher.

EAT's objective (Chen et al., IJCAI 2024; data2vec 2.0, Baevski et al., ICML 2023), applied to one
image a clip (EAT) or to each of its sub-bands (FISHER). Nothing here knows which.
"""

from __future__ import annotations

import copy
import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, instance_norm, layer_norm, mse_loss

from dcase_asd.backbone.vision_transformer import PATCH, Block, VisionTransformer
from dcase_asd.recipe.pretraining import DECODER_GROUPS, Pretraining

MASK_DEVIATION = 0.01
"""Standard deviation of the noise that stands for masked patches in the decoder."""
VARIANCE_FLOOR = 1e-6
"""Added to a variance before its root, as the published figures have it."""


class Losses(NamedTuple):
    """What one batch gives.

    Attributes:
        total: `regression` and the weighted `cls`; its gradient is descended.
        regression: Squared errors of the predicted patches over sqrt(d), summed.
        cls: The same of [CLS] against the mean of a target, summed, times `patches`.
        patches: Patches that are predicted, of all images and clones.
        target_deviation: Standard deviation of the targets over patches, mean over values; 0 is a
            collapse.
        predicted_deviation: The same of the predictions.
        teacher_cls: [CLS] of the teacher, one for each image, (b, d).
    """

    total: Tensor
    regression: Tensor
    cls: Tensor
    patches: int
    target_deviation: Tensor
    predicted_deviation: Tensor
    teacher_cls: Tensor


class Decoder(nn.Module):
    """Convolutions over the grid of patches, each normalized over channels, that add up.

    Args:
        dimension: Of a token.
        width: Channels, a multiple of 16.
        kernel: Side of a kernel, odd.
        layers: Convolutions.
    """

    def __init__(self, dimension: int, width: int, kernel: int, layers: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv2d(
                width if layer else dimension, width, kernel, padding=kernel // 2,
                groups=DECODER_GROUPS,
            )
            for layer in range(layers)
        )  # fmt: skip
        self.proj = nn.Linear(width, dimension)

    def forward(self, tokens: Tensor, columns: int) -> Tensor:
        """Tokens of a grid with so many columns, which run fastest, (b, n, d) -> (b, n, d)."""
        # Channels last in memory, in which the layer norm runs over neighbors.
        x = tokens.view(len(tokens), -1, columns, tokens.shape[2]).permute(0, 3, 1, 2)
        for convolution in self.convolutions:
            y = convolution(x).permute(0, 2, 3, 1)
            y = gelu(layer_norm(y, y.shape[-1:])).permute(0, 3, 1, 2)
            x = y + x if x.shape == y.shape else y
        predicted: Tensor = self.proj(x.permute(0, 2, 3, 1).flatten(1, 2))
        return predicted


class MaskedPrediction(nn.Module):
    """Student, decoder and teacher.

    Args:
        student: What is pre-trained, its weights filled.
        settings: The recipe, nothing in it left to the plugin (see `pretrain.resolved`).
    """

    def __init__(self, student: VisionTransformer, settings: Pretraining) -> None:
        super().__init__()
        self.settings, self.student = settings, student
        self.decoder = Decoder(
            student.positions.shape[-1],
            settings.decoder_width,
            settings.decoder_kernel,
            settings.decoder_layers,
        )
        # Never in eval mode, in which a measurement of each process chooses how products are
        # rounded: a resumed run would differ. There is no dropout.
        self.teacher = copy.deepcopy(student).requires_grad_(False)

    def forward(self, images: Tensor, clones: Tensor, masked: Tensor, noise: Tensor) -> Losses:
        """Compute the losses of a batch.

        Args:
            images: Normalized spectrograms, (b, frames, bins).
            clones: How many masks each image has, (b,).
            masked: Which patches the student does not see, (c, n), c the sum of `clones`; the same
                number in each row.
            noise: What the decoder sees in their place, (c, masked patches of a row, d).
        """
        settings, columns = self.settings, images.shape[2] // PATCH
        targets, teacher_cls = self.targets(images)
        patches = self.student.embed_patches(images)
        # Stable, so that patches keep their order; visible ones (False) come first.
        order = masked.to(torch.uint8).argsort(dim=1, stable=True)
        visible = masked.shape[1] - noise.shape[1]
        copies = torch.repeat_interleave(clones, output_size=len(masked))
        seen = patches[copies[:, None], order[:, :visible]]
        x = self.student.with_cls(seen)
        for block in self.student.blocks:
            x = block(x)
        whole = torch.cat([x[:, 1:], noise.to(x.dtype)], 1)
        whole = whole.gather(1, order.argsort(1)[..., None].expand(-1, -1, whole.shape[2]))
        predicted, wanted = self.decoder(whole, columns).float(), targets[copies]
        counted = masked if settings.predict == "masked" else torch.ones_like(masked)
        predicted, wanted = predicted[counted], wanted[counted]
        root, number = math.sqrt(wanted.shape[-1]), len(wanted)
        regression = mse_loss(predicted, wanted, reduction="sum") / root
        means = targets.mean(1)[copies]
        cls = mse_loss(x[:, 0].float(), means, reduction="sum") / root * number
        return Losses(
            total=regression + settings.cls_weight * cls,
            regression=regression.detach(),
            cls=cls.detach(),
            patches=number,
            target_deviation=_deviation(wanted),
            predicted_deviation=_deviation(predicted.detach()),
            teacher_cls=teacher_cls,
        )

    @torch.no_grad()
    def targets(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """What is to be predicted of images that the teacher sees whole.

        Returns:
            The mean of what the feed-forward layers give before their residuals, each normalized
            over patches, then normalized over values, (b, n, d); the teacher's [CLS], (b, d).
        """
        x = self.teacher.with_cls(self.teacher.embed_patches(images))
        depth = len(self.teacher.blocks)
        averaged = self.settings.target_layers or depth
        mean = torch.zeros((), device=x.device)
        for number, block in enumerate(self.teacher.blocks):
            x, fed_forward = _block_with_target(block, x)
            if number >= depth - averaged:
                layer = fed_forward[:, 1:].float().transpose(1, 2)
                mean = mean + instance_norm(layer).transpose(1, 2) / min(averaged, depth)
        return layer_norm(mean, mean.shape[-1:]), x[:, 0].float()

    @torch.no_grad()
    def follow(self, decay: float) -> None:
        """Move the teacher's weights towards the student's: decay * own + (1 - decay) * student."""
        for own, new in zip(self.teacher.parameters(), self.student.parameters(), strict=True):
            own.lerp_(new, 1 - decay)


def _block_with_target(block: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """As `Block.forward`, with what the feed-forward layer gives before the residual."""
    assert isinstance(block, Block)  # noqa: S101 - for the type checker
    x = block.norm1(x + block.attn(x, None, False))
    fed_forward: Tensor = block.mlp(x)
    return block.norm2(x + fed_forward), fed_forward


@torch.no_grad()
def _deviation(values: Tensor) -> Tensor:
    return (values.float().var(0) + VARIANCE_FLOOR).sqrt().mean()


def teacher_decay(update: int, settings: Pretraining) -> float:
    """The teacher's decay after an update (from 1): from the first to the last, linearly."""
    way = min(update / max(settings.decay_updates, 1), 1.0)
    return settings.decay_start + (settings.decay_end - settings.decay_start) * way


def visible_patches(patches: int, settings: Pretraining) -> int:
    """How many of an image's patches the student sees."""
    return int(patches * (1 - settings.mask_share))


def draw_masks(
    number: int, rows: int, columns: int, settings: Pretraining, generator: torch.Generator
) -> Tensor:
    """Inverse block masks: some blocks are left visible, all else is masked.

    Blocks around random centers, cut off at the edges, are opened, a few more than are wanted;
    random ones of the open patches are then masked again, or others opened, so that each mask
    leaves the same number (data2vec 2.0, section 3.3).

    Args:
        number: How many masks.
        rows: Patches in time.
        columns: Patches in frequency.
        settings: The recipe.
        generator: Random numbers; masks are made on its device.

    Returns:
        True for masked patches, (number, rows * columns).
    """
    device, patches, side = generator.device, rows * columns, settings.mask_block
    open_share = 1 - settings.mask_share + settings.mask_adjust
    centers = max(1, int(patches * open_share / side**2))
    drawn = torch.randint(patches, (number, centers, 1), generator=generator, device=device)
    away = torch.arange(side, device=device) - side // 2
    row = (drawn // columns + away.repeat_interleave(side)).clamp(0, rows - 1)
    column = (drawn % columns + away.repeat(side)).clamp(0, columns - 1)
    opened = torch.zeros(number, patches, device=device)
    opened.scatter_(1, (row * columns + column).flatten(1), 2.0)
    opened += torch.rand(number, patches, generator=generator, device=device)
    visible = opened.topk(visible_patches(patches, settings), dim=1).indices
    return torch.ones(number, patches, dtype=torch.bool, device=device).scatter_(1, visible, False)


def effective_rank(vectors: Tensor) -> float:
    """How many dimensions vectors spread over: exp of the entropy of their singular values.

    Args:
        vectors: (n, d); their mean is subtracted first.

    Returns:
        From 1 (a line) to min(n - 1, d); 0 where all vectors are equal. Roy & Vetterli, "The
        effective rank", EUSIPCO 2007.
    """
    singular = torch.linalg.svdvals(vectors.double() - vectors.double().mean(0))
    if not float(singular.sum()):
        return 0.0
    shares = singular / singular.sum()
    return float(torch.exp(-torch.xlogy(shares, shares).sum()))
