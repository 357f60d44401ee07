"""Angular-margin losses with a number of sub-centers for each class, and the center loss beside."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional

SMALLEST_SINE_SQUARED = 1e-12
"""Keeps the square root's gradient finite where an embedding lies on a center."""
SMALLEST_SCALE = 1.0
"""Of AdaCos: with very few classes its formula may give a negative scale."""


class SubCenters(nn.Module):
    """Unit vectors of all classes in one matrix, each class with as many as it needs.

    Args:
        dimension: Length of an embedding.
        counts: Sub-centers of each class, each at least 1.
    """

    owner: Tensor

    def __init__(self, dimension: int, counts: Sequence[int]) -> None:
        super().__init__()
        self.classes = len(counts)
        self.weight = nn.Parameter(torch.empty(sum(counts), dimension))
        nn.init.xavier_uniform_(self.weight)
        owner = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
        self.register_buffer("owner", owner, persistent=False)

    def cosines(self, embeddings: Tensor) -> Tensor:
        """Cosine of every embedding (b, d) to every sub-center, (b, sum of counts)."""
        return functional.linear(
            functional.normalize(embeddings.float()), functional.normalize(self.weight.float())
        )

    def nearest(self, cosines: Tensor) -> Tensor:
        """Largest cosine within each class, (b, sum of counts) -> (b, classes)."""
        owner = self.owner.expand(len(cosines), -1)
        start = cosines.new_full((len(cosines), self.classes), -torch.inf)
        return start.scatter_reduce(1, owner, cosines, "amax")


class ArcFace(SubCenters):
    """Sub-center ArcFace (Deng et al. 2019, 2020; report, equation 1).

    An embedding belongs to the nearest sub-center of each class; the margin is added to the angle
    of the target class only. A class with one sub-center is that of plain ArcFace.

    Args:
        dimension: Length of an embedding.
        counts: Sub-centers of each class.
        scale: s of the formula.
        margin: m of the formula, in radians.
    """

    def __init__(
        self, dimension: int, counts: Sequence[int], scale: float = 30.0, margin: float = 0.2
    ) -> None:
        super().__init__(dimension, counts)
        self.scale, self.margin = scale, margin

    def forward(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Loss of each clip (b,), and the cosine to each class without margin (b, classes)."""
        with torch.autocast(embeddings.device.type, enabled=False):
            cosines = self.nearest(self.cosines(embeddings))
            target = cosines.gather(1, labels[:, None])
            logits = cosines.scatter(1, labels[:, None], add_margin(target, self.margin))
            return functional.cross_entropy(self.scale * logits, labels, reduction="none"), cosines


def add_margin(cosine: Tensor, margin: float) -> Tensor:
    """cos(θ + m) for cos θ, without the arc cosine, whose gradient is infinite at ±1.

    Beyond θ = π - m, where cos(θ + m) would rise again, it goes on as a line of slope 1, so that a
    larger angle is never rewarded.

    Args:
        cosine: cos θ, in [-1, 1] but for rounding.
        margin: m in radians, in [0, π].
    """
    sine = (1.0 - cosine.square()).clamp(min=SMALLEST_SINE_SQUARED).sqrt()
    shifted = cosine * math.cos(margin) - sine * math.sin(margin)
    edge = math.cos(math.pi - margin)
    return torch.where(cosine > edge, shifted, cosine - edge - 1.0)


class AdaCos(SubCenters):
    """Sub-cluster AdaCos: no margin, a scale that follows the batch.

    The probability of a class is the sum over its sub-clusters of a softmax over all of them. With
    one sub-cluster for each class this is dynamically scaled AdaCos (Zhang et al. 2019); with
    several, Wilkinghoff's sub-cluster AdaCos (2021).

    Args:
        dimension: Length of an embedding.
        counts: Sub-clusters of each class; at least three in all.
    """

    scale: Tensor

    def __init__(self, dimension: int, counts: Sequence[int]) -> None:
        super().__init__(dimension, counts)
        first = math.sqrt(2.0) * math.log(max(sum(counts) - 1, 2))
        self.register_buffer("scale", torch.tensor(first))

    def forward(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Loss of each clip (b,), and the nearest cosine to each class (b, classes)."""
        with torch.autocast(embeddings.device.type, enabled=False):
            cosines = self.cosines(embeddings)
            nearest = self.nearest(cosines.detach())
            own = self.owner == labels[:, None]
            if self.training:
                self._follow(cosines.detach(), nearest.gather(1, labels[:, None]), own)
            logits = self.scale.clone() * cosines  # mixup sets the scale anew before the gradient
            of_class = logits.masked_fill(~own, -torch.inf).logsumexp(1)
            return logits.logsumexp(1) - of_class, nearest

    def _follow(self, cosines: Tensor, target: Tensor, own: Tensor) -> None:
        """Set the scale from the other classes' logits and the median angle (equations 8 and 9)."""
        others = (self.scale * cosines).masked_fill(own, -torch.inf)
        average = others.logsumexp((0, 1)) - math.log(len(cosines))
        angle = target.clamp(-1.0, 1.0).acos().median().clamp(max=math.pi / 4)
        scale = average / angle.cos()
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(scale)
            scale = scale / dist.get_world_size()
        self.scale.copy_(scale.clamp(min=SMALLEST_SCALE))


class CenterLoss(nn.Module):
    """Half the squared distance of an embedding to its class's center (Wen et al. 2016, eq. 2).

    Embeddings and centers are unit vectors, as the scores are cosine distances: the loss is
    1 - cos. The centers are trained with the other weights instead of by the paper's update, so
    that several processes and a resumed run agree on them.

    Args:
        dimension: Length of an embedding.
        classes: Number of classes.
    """

    def __init__(self, dimension: int, classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(classes, dimension))
        nn.init.xavier_uniform_(self.weight)

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Loss of each clip, (b, d) and (b,) -> (b,)."""
        with torch.autocast(embeddings.device.type, enabled=False):
            unit = functional.normalize(embeddings.float())
            centers = functional.normalize(self.weight.float())[labels]
            return (unit - centers).square().sum(1) / 2
