"""Which parameters of a backbone are trained: all, all but frozen ones, or LoRA's."""

from __future__ import annotations

from fnmatch import fnmatchcase

from torch import Tensor, nn

from dcase_asd.backbone import Backbone
from dcase_asd.errors import TrainingError, nearest_name
from dcase_asd.training.settings import Training


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
