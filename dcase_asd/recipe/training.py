"""How a backbone is fine-tuned: `[train]` of a recipe.

The defaults are the report's (sections 2.1 to 2.4). No torch here: recipes are read without it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

from dcase_asd.errors import nearest_name
from dcase_asd.recipe.setting import out_of_range, refuse, setting

LOSSES = ("arcface", "adacos")
"""The toolkit's own, whose parameters are fields here."""


@dataclass(frozen=True)
class Training:
    """How a backbone is fine-tuned; each field says in its metadata what it means."""

    seed: int = setting(0, "Seed of all random draws.", most=2**63 - 1, group="What is trained on")
    editions: tuple[str, ...] = setting((), "Editions to train on; default: all on disk.")
    dev_edition: str = setting(
        "", "Edition whose development set chooses checkpoints; default: the newest with labels."
    )
    with_domain: bool = setting(
        False, "Make two classes of one whose clips are of the source and of the target domain."
    )
    pseudo: Literal["none", "kmeans", "ward"] = setting(
        "none", "Classes of machines without attributes: none, or clusters of embeddings."
    )
    pseudo_run: str = setting(
        "",
        "Run folder whose embeddings are clustered; for `run` also a system's recipe, "
        "beside this one, which it runs first.",
    )
    pseudo_share: float = setting(
        0.008, "Clusters for each source clip, at least one; target clips are one.", above=0, most=1
    )
    pseudo_clusters: int = setting(0, "Number of source clusters in place of `pseudo_share`.")
    pseudo_threshold: float = setting(
        0.0, "Merging distance at which ward stops, in place of a number of clusters."
    )
    steps: int = setting(
        30_000, "Length of training, in `step_unit`.", least=1, group="Optimization"
    )
    step_unit: Literal["batch", "update"] = setting(
        "batch", "What a step is: a batch, or an optimizer update of `accumulation` batches."
    )
    # Two clips at least, for the normalization over a batch.
    batch_size: int = setting(32, "Clips in a batch.", least=2)
    accumulation: int = setting(
        8, "Batches whose gradients make one update, over all processes.", least=1
    )
    warmup: int = setting(360, "Updates of linear warm-up.")
    learning_rate: float = setting(5e-5, "Largest learning rate of AdamW.", above=0, most=1)
    head_multiplier: float = setting(1.0, "The head's learning rate relative to the backbone's.")
    weight_decay: float = setting(1e-2, "AdamW weight decay.", most=1)
    schedule: Literal["cosine", "constant"] = setting("cosine", "Learning rate after warm-up.")
    cycles: int = setting(1, "Cosine cycles; more than 1 restarts at the largest rate.", least=1)
    final_share: float = setting(
        0.01, "Learning rate at a cosine's end, relative to the largest.", most=1
    )
    clip_norm: float = setting(0.0, "Largest norm of an update's gradient; 0: any.")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = setting(
        "auto", "Precision of the network; auto: bf16 on a GPU that has it."
    )
    deterministic: bool = setting(
        True, "Use deterministic kernels, so that a resumed run equals an undisturbed one."
    )
    # One frame of the front ends at least.
    seconds: float = setting(
        10.0, "Length of training crops and of windows when embedding.",
        least=0.025, most=600, unit="seconds", group="Clips",
    )  # fmt: skip
    sample_rate: int = setting(
        16_000, "Rate in Hz for backbones that take clips at any rate.",
        least=1000, most=384_000, unit="Hz",
    )  # fmt: skip
    balanced: bool = setting(False, "Draw classes, then clips, instead of clips.")
    noise_probability: float = setting(
        0.5, "How often a clip is mixed with noise.", most=1, group="Augmentation"
    )
    noise_snrs: tuple[float, ...] = setting(
        (5.0, 10.0, 15.0, 20.0), "Noise levels, SNR in dB.", least=-100, most=100, unit="dB"
    )
    noise_editions: tuple[str, ...] = setting(
        ("dcase2025",), "Editions whose noise clips are mixed in; none: of every edition on disk."
    )
    time_mask: int = setting(80, "Largest width of the masked time span, in frames.")
    frequency_mask: int = setting(80, "Largest width of the masked frequency band, in bins.")
    mixup: float = setting(0.0, "Alpha of mixup's Beta distribution; 0: no mixup.")
    augmentations: tuple[str, ...] = setting(
        (), "Third parties' augmentations, in their order (see `dcase-asd plugins`)."
    )
    augmentation_options: dict[str, Any] = setting(
        {}, "Their options, each as augmentation.name=value."
    )
    mixup_probability: float = setting(1.0, "How often mixup mixes a clip with another.", most=1)
    pooling: Literal["auto", "attention", "mean", "cls"] = setting(
        "auto", "From tokens to one vector; auto: what the backbone names.", group="Head and loss"
    )
    bottleneck: int = setting(128, "Units of the pooling's attention.", least=1)
    embedding: int = setting(768, "Length of the dense layer's output.", least=1)
    head: Literal["dense", "aggregate"] = setting(
        "dense",
        "From the pooled vector to the embedding: one dense layer; aggregate: layer normalization "
        "and two dense layers with GELU between, for several layers of the backbone side by side.",
    )
    representation: Literal["dense", "pooled", "cls"] = setting(
        "dense", "What is scored: dense layer, what goes into it, or the backbone's class token."
    )
    loss: str = setting(
        "arcface", "Loss of the classes: arcface, adacos or a third party's (`dcase-asd plugins`)."
    )
    loss_options: dict[str, Any] = setting({}, "Options of that, each as name=value.")
    scale: float = setting(30.0, "Scale of ArcFace's logits.", above=0, most=1000)
    margin: float = setting(
        0.2, "ArcFace's angular margin of the target class, in radians.",
        most=math.pi / 2, unit="radians",
    )  # fmt: skip
    center_weight: float = setting(
        0.0, "Weight of the center loss beside the other loss; 0: none.", most=1000
    )
    sub_centers: int = setting(16, "Sub-centers of a class that gets several.", least=1)
    sub_centered: Literal["rule", "all", "none"] = setting(
        "rule", "Classes that get several sub-centers; rule: those of the edition's rule."
    )
    tune: Literal["full", "lora"] = setting(
        "full", "What of the backbone is trained.", group="What is trained"
    )
    lora_rank: int = setting(64, "Rank of LoRA's matrices.", least=1)
    lora_alpha: float = setting(64.0, "LoRA's scale, divided by the rank.", above=0)
    lora_dropout: float = setting(0.0, "Dropout before LoRA's matrices.", most=1)
    lora_targets: tuple[str, ...] = setting(
        (),
        "Linear layers by end of name, or q, k, v: the projections of attention, whatever they are "
        "called; default: all.",
    )
    freeze: tuple[str, ...] = setting((), "Backbone parameters that stay, as patterns with *.")
    eval_every: int = setting(
        1000, "Steps between checkpoints that are evaluated; 0: at the end.", group="Checkpoints"
    )
    save_every: int = setting(1000, "Steps between states to resume from; 0: at checkpoints.")
    ensemble: Literal["best", "last", "weights"] = setting(
        "best", "Checkpoints that are scored: best or last ones, or the mean of the best weights."
    )
    keep: int = setting(3, "Number of checkpoints that are scored, or averaged.", least=1)

    def __post_init__(self) -> None:
        problems = out_of_range(self)
        if self.noise_probability > 0 and not self.noise_snrs:
            problems.append("noise_snrs is empty; give levels or set noise_probability to 0")
        problems += [*self._pseudo_problems(), *self._option_problems()]
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
        refuse(problems)

    def _pseudo_problems(self) -> list[str]:
        if self.pseudo == "none":
            given = ("pseudo_run", "pseudo_clusters", "pseudo_threshold")
            return [
                f"{name} is given, but pseudo is none; set it to kmeans or ward"
                for name in given
                if getattr(self, name)
            ]
        problems = []
        if not self.pseudo_run:
            problems.append("pseudo needs pseudo_run, a run folder with embeddings to cluster")
        if self.pseudo_threshold and self.pseudo == "kmeans":
            problems.append("pseudo_threshold belongs to ward; kmeans takes pseudo_clusters")
        if self.pseudo_threshold and self.pseudo_clusters:
            problems.append("pseudo_threshold and pseudo_clusters exclude each other")
        return problems

    def _option_problems(self) -> list[str]:
        problems = []
        if self.loss in LOSSES and self.loss_options:
            problems.append(
                f"loss_options are of a third party's loss, and loss is {self.loss}: set scale, "
                "margin and sub_centers instead, or choose another loss"
            )
        for name, options in self.augmentation_options.items():
            if name not in self.augmentations:
                hint = nearest_name(name, self.augmentations)
                problems.append(f"augmentation_options: {name!r} is none of augmentations; {hint}")
            elif not isinstance(options, dict):
                problems.append(f"augmentation_options: give {name}.name=value, not {options!r}")
        repeated = {name for name in self.augmentations if self.augmentations.count(name) > 1}
        return problems + [f"augmentations has {name!r} twice" for name in sorted(repeated)]

    @property
    def pseudo_recipe(self) -> str:
        """The recipe that makes the embeddings to cluster; empty where a run folder holds them."""
        return self.pseudo_run if self.pseudo_run.endswith(".toml") else ""

    def without_pseudo_labels(self) -> Training:
        """As if attributes alone made classes."""
        return replace(self, pseudo="none", pseudo_run="", pseudo_clusters=0, pseudo_threshold=0.0)

    @property
    def updates(self) -> int:
        """Optimiser updates of the whole training."""
        return self.in_updates(self.steps)

    def in_updates(self, steps: int) -> int:
        """Updates that a number of steps makes."""
        return steps // self.accumulation if self.step_unit == "batch" else steps
