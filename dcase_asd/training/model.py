"""What is trained: a backbone with its head and the classifier on top."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import cast

import torch
from torch import Tensor, nn

from dcase_asd.backbone import Backbone
from dcase_asd.backbone.finetuned import Finetuned, HeadSizes, no_class_token
from dcase_asd.errors import BackboneError, TrainingError, nearest_name
from dcase_asd.recipe.training import Training
from dcase_asd.training.augment import Mixup
from dcase_asd.training.losses import AdaCos, ArcFace, CenterLoss
from dcase_asd.training.named import parts_of
from dcase_asd.training.theirs import TheirLoss


def choose_parameters(backbone: Backbone, settings: Training) -> None:
    """Freeze what the recipe says, or put LoRA's matrices beside the linear layers in place.

    Raises:
        TrainingError: A pattern or a layer's name fits nothing, or nothing is left to train.
    """
    if settings.tune == "lora":
        _add_lora(backbone, settings)
    names = [name for name, _ in backbone.named_parameters()]
    for pattern in settings.freeze:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise TrainingError(
                f"freeze: no parameter of {backbone.name!r} fits {pattern!r}; "
                f"{nearest_name(pattern, names[:12])}, …"
            )
    for name, parameter in backbone.named_parameters():
        if any(fnmatchcase(name, pattern) for pattern in settings.freeze):
            parameter.requires_grad_(False)


PROJECTIONS = {
    each: (f"{each}_proj", f"linear_{each}", word)
    for each, word in (("q", "query"), ("k", "key"), ("v", "value"))
}
"""What networks call the projections of attention to queries, keys and values."""
FUSED = "qkv"
"""The layer that makes all three at once, as of EAT and FISHER."""


def _add_lora(backbone: Backbone, settings: Training) -> None:
    from peft import LoraConfig, inject_adapter_in_model
    from peft.tuners.lora import Linear

    linear = [name for name, layer in backbone.named_modules() if isinstance(layer, nn.Linear)]
    if not linear:
        raise TrainingError(f"the backbone {backbone.name!r} has no linear layer for LoRA")
    targets = [
        name
        for target in settings.lora_targets
        for name in _linear_layers(backbone.name, linear, target, settings.lora_targets)
    ]
    config = LoraConfig(
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha,  # type: ignore[arg-type] # a fraction is as good
        lora_dropout=settings.lora_dropout,
        target_modules=list(dict.fromkeys(targets)) or linear,
    )
    inject_adapter_in_model(config, backbone)

    class Readable(Linear):
        """Gives the changed weights to networks that multiply with them by themselves (WavLM)."""

        @property
        def weight(self) -> Tensor:
            changes = [self.get_delta_weight(adapter) for adapter in self.active_adapters]
            return sum(changes, cast("Tensor", self.get_base_layer().weight))

    for layer in backbone.modules():
        if type(layer) is Linear:
            layer.__class__ = Readable


def _linear_layers(
    backbone: str, linear: Sequence[str], target: str, targets: Sequence[str]
) -> list[str]:
    """The layers that a target of the recipe stands for.

    Raises:
        TrainingError: There is none.
    """
    ends = {name: name.rpartition(".")[2] for name in linear}
    found = [name for name in linear if name == target or name.endswith(f".{target}")]
    found = found or [name for name in linear if ends[name] in PROJECTIONS.get(target, ())]
    fused = [name for name in linear if ends[name] == FUSED] if target in PROJECTIONS else []
    if not found and fused and not set(PROJECTIONS) <= set(targets):
        raise TrainingError(
            f"lora_targets: {backbone!r} makes q, k and v in one layer, which {target!r} alone "
            f"cannot name; give all three, or {FUSED}"
        )
    if not found and not fused:
        raise TrainingError(
            f"lora_targets: no linear layer of {backbone!r} is called {target!r}; "
            f"{nearest_name(target, ends.values())}"
        )
    return found or fused


def merged_state(module: nn.Module) -> dict[str, Tensor]:
    """A module's state as if LoRA's changes stood in the weights; the module stays as it is."""
    changes = {
        f"{name}.weight": layer.get_delta_weight(adapter)
        for name, layer in module.named_modules()
        if hasattr(layer, "get_delta_weight")
        for adapter in layer.active_adapters
    }
    state = {}
    for name, value in module.state_dict().items():
        if ".lora_" in name:
            continue
        plain = name.replace(".base_layer.", ".")
        state[plain] = value + changes[plain].to(value.dtype) if plain in changes else value
    return state


def make_loss(settings: Training, counts: Sequence[int]) -> ArcFace | AdaCos | TheirLoss:
    """The loss of the classes, with random weights.

    Args:
        settings: The recipe.
        counts: Sub-centers of each class.

    Raises:
        TrainingError: A third party's loss cannot be used.
    """
    if settings.loss == "arcface":
        return ArcFace(settings.embedding, counts, settings.scale, settings.margin)
    if settings.loss == "adacos":
        return AdaCos(settings.embedding, counts)
    (part,) = (each for each in parts_of(settings) if each.kind == "loss")
    return TheirLoss(part, settings.embedding, counts)


class TrainingModel(nn.Module):
    """Backbone, head and classifier; only spectrograms go in, so that all of it is differentiable.

    Args:
        backbone: With its weights to start from.
        counts: Sub-centers of each class.
        settings: The recipe; head and classifier are initialised by its seed.

    Raises:
        BackboneError: The backbone cannot be fine-tuned.
        TrainingError: What the recipe freezes or adapts is not there, or as `make_loss`.
    """

    def __init__(self, backbone: Backbone, counts: Sequence[int], settings: Training) -> None:
        super().__init__()
        pooling = backbone.pooling if settings.pooling == "auto" else settings.pooling
        if pooling == "cls" and not backbone.has_cls:
            raise BackboneError(no_class_token(backbone, "--pooling attention or mean"))
        sizes = HeadSizes(
            pooling, settings.embedding, settings.bottleneck, settings.seconds, settings.head
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            self.model = Finetuned(backbone, sizes, settings.representation)
            choose_parameters(backbone, settings)
            self.classifier = make_loss(settings, counts)
            self.center_weight = settings.center_weight
            self.centers = (
                CenterLoss(settings.embedding, len(counts)) if self.center_weight else None
            )

    def forward(
        self,
        spectrogram: Tensor,
        lengths: Tensor,
        samples: int,
        targets: Tensor,
        mixup: Mixup | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Loss and predictions of a batch.

        Args:
            spectrogram: (b, t, f).
            lengths: Samples of each clip before padding, (b,).
            samples: Samples of the padded batch.
            targets: Classes, (b,).
            mixup: How the clips were mixed, where they were.

        Returns:
            Loss of each clip (b,), and the class whose nearest sub-center is nearest, (b,).
        """
        pooled = self.model.pooled(spectrogram, lengths, samples)
        with torch.autocast(pooled.device.type, enabled=False):
            embeddings = self.model.head.dense(pooled)
        loss, cosines = self._loss(embeddings, targets)
        if mixup is not None:
            other, _ = self._loss(embeddings, targets[mixup.partner])
            loss = mixup.lambda_ * loss + (1 - mixup.lambda_) * other
        return loss, cosines.argmax(1)

    def _loss(self, embeddings: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        loss, cosines = self.classifier(embeddings, targets)
        if self.centers is not None:
            loss = loss + self.center_weight * self.centers(embeddings, targets)
        return loss, cosines

    def parameter_groups(self, settings: Training) -> list[dict[str, object]]:
        """What the optimiser trains: the backbone, and the head at its own rate."""
        head = [*self.model.head.parameters(), *self.classifier.parameters()]
        head += [] if self.centers is None else self.centers.parameters()
        groups = [(list(self.model.backbone.parameters()), 1.0), (head, settings.head_multiplier)]
        trained = [
            ([each for each in parameters if each.requires_grad], factor)
            for parameters, factor in groups
        ]
        # States to resume from say share.
        return [{"params": each, "share": factor} for each, factor in trained if each]

    def checkpoint_state(self) -> dict[str, Tensor]:
        """Tensors of a checkpoint, LoRA merged: backbone, head and classifier."""
        state = {
            f"backbone.{name}": value for name, value in merged_state(self.model.backbone).items()
        }
        state |= {f"head.{name}": value for name, value in self.model.head.state_dict().items()}
        classifier = self.classifier.state_dict()
        return state | {f"classifier.{name}": value for name, value in classifier.items()}
