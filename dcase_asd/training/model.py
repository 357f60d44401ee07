"""What is trained: a backbone with its head and the classifier on top."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

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


def _add_lora(backbone: Backbone, settings: Training) -> None:
    from peft import LoraConfig, inject_adapter_in_model

    linear = [name for name, layer in backbone.named_modules() if isinstance(layer, nn.Linear)]
    for target in settings.lora_targets:
        if not any(name == target or name.endswith(f".{target}") for name in linear):
            ends = {name.rpartition(".")[2] for name in linear}
            raise TrainingError(
                f"lora_targets: no linear layer of {backbone.name!r} is called {target!r}; "
                f"{nearest_name(target, ends)}"
            )
    if not linear:
        raise TrainingError(f"the backbone {backbone.name!r} has no linear layer for LoRA")
    config = LoraConfig(
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha,  # type: ignore[arg-type] # a fraction is as good
        lora_dropout=settings.lora_dropout,
        target_modules=list(settings.lora_targets) or linear,
    )
    inject_adapter_in_model(config, backbone)


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
