"""How a backbone is pre-trained on recordings without labels: the values of `pretrain`.

The defaults are those that EAT was published with; what FISHER's authors published beside the
network is the plugin's (`0` takes it). No torch here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from dcase_asd.recipe.setting import out_of_range, refuse, setting

DECODER_GROUPS = 16
"""Groups of each of the decoder's convolutions, as published."""


@dataclass(frozen=True)
class Pretraining:
    """How a backbone is pre-trained; each field says in its metadata what it means."""

    plugin: str = setting(
        "fisher", "Backbone plugin: fisher, eat.", group="What is pre-trained, on what"
    )
    size: str = setting(
        "", "Size of the network: tiny, mini, small (eat: base, large, too); default: that of "
        "--checkpoint, else tiny.",
    )  # fmt: skip
    architecture: dict[str, Any] = setting(
        {}, "Value of the network's architecture, as name=value, such as depth=6."
    )
    checkpoint: str | None = setting(
        None, "Weights to go on from: a file, a folder, or a name that `dcase-asd weights` lists."
    )
    seed: int = setting(0, "Seed of all random draws.", most=2**63 - 1)
    channel: int = setting(0, "Channel of recordings with several, from 0.")
    seconds: float = setting(
        10.0, "Length of crops; shorter recordings are zero-padded.",
        least=0.2, most=600, unit="seconds",
    )  # fmt: skip
    sample_rate: int = setting(
        0, "Rate in Hz that recordings are resampled to, where the backbone takes any; 0: each "
        "at its own.", most=384_000, unit="Hz",
    )  # fmt: skip
    updates: int = setting(400_000, "Optimizer updates.", least=1, group="Optimization")
    batch_size: int = setting(12, "Clips in a batch.", least=1)
    accumulation: int = setting(
        4, "Batches whose gradients make one update, over all processes.", least=1
    )
    warmup: int = setting(53_333, "Updates of linear warm-up; a cosine down to 0 follows.")
    learning_rate: float = setting(5e-4, "Largest learning rate of AdamW.", above=0, most=1)
    beta1: float = setting(0.9, "AdamW's decay of the mean of gradients.", most=0.9999)
    beta2: float = setting(0.95, "AdamW's decay of the mean of their squares.", most=0.99999)
    weight_decay: float = setting(0.05, "AdamW weight decay, not of vectors.", most=1)
    clip_norm: float = setting(4.0, "Largest norm of an update's gradient; 0: any.")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = setting(
        "auto", "Precision of the network; auto: bf16 on a GPU that has it."
    )
    deterministic: bool = setting(
        True, "Use deterministic kernels, so that a resumed run equals an undisturbed one."
    )
    decay_start: float = setting(
        0.9998, "The teacher's decay at first.", most=1, group="Teacher and student"
    )
    decay_end: float = setting(0.99999, "The teacher's decay at last.", most=1)
    decay_updates: int = setting(100_000, "Updates over which the decay grows linearly.")
    target_layers: int = setting(0, "Last layers whose mean is the target; 0: all.")
    max_images: int = setting(
        0, "Masks of a clip, times its bands, at most; 0: the plugin's (fisher 64, eat 16)."
    )
    # Neither nothing nor everything may be masked.
    mask_share: float = setting(
        0.8, "Share of the patches that the student does not see.", above=0, most=0.99
    )
    mask_adjust: float = setting(
        0.07, "Share of patches that blocks open beyond those wanted, as blocks overlap.", most=1
    )
    mask_block: int = setting(5, "Side of a visible block, in patches.", least=1, most=64)
    predict: Literal["masked", "all"] = setting("masked", "Patches that are predicted.")
    cls_weight: float = setting(1.0, "Weight of the loss of [CLS].")
    decoder_layers: int = setting(0, "The decoder's convolutions; 0: the plugin's.")
    decoder_width: int = setting(
        0, "The decoder's channels, a multiple of 16; 0: the plugin's (fisher 384, eat 768)."
    )
    decoder_kernel: int = setting(0, "Side of the decoder's kernels, odd; 0: the plugin's.")
    save_every: int = setting(
        500, "Updates after which the state to resume from is saved.", least=1, group="Files"
    )
    checkpoint_every: int = setting(
        0, "Updates after which a checkpoint for use is kept, beside the last; 0: none."
    )

    def __post_init__(self) -> None:
        problems = out_of_range(self)
        if self.decoder_width % DECODER_GROUPS:
            problems.append(f"decoder_width must be a multiple of 16, not {self.decoder_width}")
        if self.decoder_kernel and self.decoder_kernel % 2 == 0:
            problems.append(f"decoder_kernel must be odd, not {self.decoder_kernel}")
        if 0 < self.sample_rate < 1000:  # noqa: PLR2004 - FISHER's lowest
            problems.append(f"sample_rate must be 0 or at least 1000 Hz, not {self.sample_rate}")
        if self.decay_end < self.decay_start:
            problems.append(
                f"decay_end must be at least decay_start: {self.decay_end:g} is below "
                f"{self.decay_start:g}"
            )
        if self.warmup >= self.updates:
            problems.append(
                f"warmup must be below updates, not {self.warmup} of {self.updates}; the published "
                f"share is warmup = {self.updates * 2 // 15}"
            )
        refuse(problems)
