"""Every number of fine-tuning; the defaults are the report's (sections 2.1 to 2.4).

No torch here: recipes are read without it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal


def _setting(default: Any, text: str) -> Any:
    """A field with its default and the text that the command line shows."""
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class Training:
    """How a backbone is fine-tuned; each field says in its metadata what it means."""

    seed: int = _setting(0, "Of everything random.")
    editions: tuple[str, ...] = _setting((), "Editions to train on; default: all on disk.")
    dev_edition: str = _setting(
        "", "Edition whose development set chooses checkpoints; default: the newest with labels."
    )
    with_domain: bool = _setting(
        False, "Make two classes of one whose clips are of the source and of the target domain."
    )
    steps: int = _setting(30_000, "Length of training, in `step_unit`.")
    step_unit: Literal["batch", "update"] = _setting(
        "batch", "What a step is: a batch, or an optimiser update of `accumulation` batches."
    )
    batch_size: int = _setting(32, "Clips in a batch.")
    accumulation: int = _setting(8, "Batches whose gradients make one update, over all processes.")
    warmup: int = _setting(360, "Updates of linear warm-up.")
    learning_rate: float = _setting(5e-5, "Largest learning rate of AdamW.")
    head_multiplier: float = _setting(1.0, "The head's learning rate relative to the backbone's.")
    weight_decay: float = _setting(1e-2, "Of AdamW.")
    schedule: Literal["cosine", "constant"] = _setting("cosine", "Learning rate after warm-up.")
    cycles: int = _setting(1, "Cosine cycles; more than 1 restarts at the largest rate.")
    final_share: float = _setting(0.01, "Learning rate at a cosine's end, relative to the largest.")
    clip_norm: float = _setting(0.0, "Largest norm of an update's gradient; 0: any.")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = _setting(
        "auto", "Of the network; auto: bf16 on a GPU that has it."
    )
    deterministic: bool = _setting(
        True, "Use deterministic kernels, so that a resumed run equals an undisturbed one."
    )
    seconds: float = _setting(10.0, "Length of training crops and of windows when embedding.")
    sample_rate: int = _setting(16_000, "Rate in Hz for backbones that take clips at any rate.")
    balanced: bool = _setting(False, "Draw classes, then clips, instead of clips.")
    noise_probability: float = _setting(0.5, "How often a clip is mixed with noise.")
    noise_snrs: tuple[float, ...] = _setting((5.0, 10.0, 15.0, 20.0), "Noise levels, SNR in dB.")
    noise_editions: tuple[str, ...] = _setting(
        ("dcase2025",), "Editions whose noise clips are mixed in; none: of every edition on disk."
    )
    time_mask: int = _setting(80, "Largest width of the masked time span, in frames.")
    frequency_mask: int = _setting(80, "Largest width of the masked frequency band, in bins.")
    mixup: float = _setting(0.0, "Alpha of mixup's Beta distribution; 0: no mixup.")
    pooling: Literal["auto", "attention", "mean", "cls"] = _setting(
        "auto", "From tokens to one vector; auto: what the backbone names."
    )
    bottleneck: int = _setting(128, "Units of the pooling's attention.")
    embedding: int = _setting(768, "Length of the dense layer's output.")
    representation: Literal["dense", "pooled", "cls"] = _setting(
        "dense", "What is scored: dense layer, what goes into it, or the backbone's class token."
    )
    loss: Literal["arcface", "adacos"] = _setting("arcface", "arcface or adacos, with sub-centers.")
    scale: float = _setting(30.0, "Of ArcFace's logits.")
    margin: float = _setting(0.2, "ArcFace's angular margin of the target class, in radians.")
    sub_centers: int = _setting(16, "Sub-centers of a class that gets several.")
    sub_centered: Literal["rule", "all", "none"] = _setting(
        "rule", "Classes that get several sub-centers; rule: those of the edition's rule."
    )
    tune: Literal["full", "lora"] = _setting("full", "What of the backbone is trained.")
    lora_rank: int = _setting(64, "Rank of LoRA's matrices.")
    lora_alpha: float = _setting(64.0, "LoRA's scale, divided by the rank.")
    lora_dropout: float = _setting(0.0, "Dropout before LoRA's matrices.")
    lora_targets: tuple[str, ...] = _setting((), "Linear layers by end of name; default: all.")
    freeze: tuple[str, ...] = _setting((), "Backbone parameters that stay, as patterns with *.")
    eval_every: int = _setting(1000, "Steps between checkpoints that are evaluated; 0: at the end.")
    save_every: int = _setting(1000, "Steps between states to resume from; 0: at checkpoints.")
    ensemble: Literal["best", "last", "weights"] = _setting(
        "best", "Checkpoints that are scored: best or last ones, or the mean of the best weights."
    )
    keep: int = _setting(3, "How many checkpoints that is.")

    def __post_init__(self) -> None:
        problems = [
            f"{name} must be {wanted}, not {value}"
            for name, given in vars(self).items()
            for value in (given if isinstance(given, tuple) else (given,))
            if isinstance(value, int | float) and (wanted := _wanted(name, value))
        ]
        if self.noise_probability > 0 and not self.noise_snrs:
            problems.append("noise_snrs is empty; give levels or set noise_probability to 0")
        if self.step_unit == "batch":
            problems += [
                f"{name} must be a multiple of accumulation ({self.accumulation}), "
                f"not {getattr(self, name)}"
                for name in ("steps", "eval_every", "save_every")
                if self.accumulation >= 1 and getattr(self, name) % self.accumulation
            ]
        if not problems and 1 < self.cycles > self.updates - self.warmup:
            problems = [
                f"cycles must be at most the {max(self.updates - self.warmup, 1)} update(s) after "
                f"the warm-up, not {self.cycles}"
            ]
        if problems:
            raise ValueError("; ".join(problems))

    @property
    def updates(self) -> int:
        """Optimiser updates of the whole training."""
        return self.in_updates(self.steps)

    def in_updates(self, steps: int) -> int:
        """Updates that a number of steps makes."""
        return steps // self.accumulation if self.step_unit == "batch" else steps


def _wanted(name: str, value: float) -> str:
    """The range of a setting that a value lies beyond; empty where it lies within."""
    least, most = _LEAST.get(name, 0), _MOST.get(name, math.inf)
    if name in _POSITIVE and not value > 0:
        return "larger than 0"
    if not value >= least:
        return f"at least {least:g}"
    if not value <= most:
        return f"at most {most:.4g}{_UNITS.get(name, '')}"
    return "" if math.isfinite(value) else "a finite number"


_LEAST: dict[str, float] = {
    "steps": 1, "batch_size": 2, "accumulation": 1, "cycles": 1, "seconds": 0.025,
    "sample_rate": 1000, "noise_snrs": -100, "bottleneck": 1, "embedding": 1, "sub_centers": 1,
    "lora_rank": 1, "keep": 1,
}  # fmt: skip
"""Smallest value of each number, else 0; a batch has two clips at least, for its normalisation, and
a clip one frame of the front ends."""
_POSITIVE = ("learning_rate", "scale", "lora_alpha")
_MOST: dict[str, float] = {
    "seed": 2**63 - 1, "learning_rate": 1, "weight_decay": 1, "final_share": 1, "seconds": 600,
    "sample_rate": 384_000, "noise_probability": 1, "noise_snrs": 100, "scale": 1000,
    "margin": math.pi / 2, "lora_dropout": 1,
}  # fmt: skip
"""Largest value of each number, else any; beyond, a value is of another unit or learns nothing."""
_UNITS = {
    "margin": " radians", "seconds": " seconds", "sample_rate": " Hz", "noise_snrs": " dB"
}  # fmt: skip
