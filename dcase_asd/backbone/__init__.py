"""The plugin contract, and what backbones build on."""

from dcase_asd.backbone.contract import (
    CHECKPOINT_FORMAT,
    TO_EMBED,
    Backbone,
    broken_weight,
    in_place_of_weights,
    is_finetuned,
    read_checkpoint,
    read_tensors,
    write_tensors,
)

__all__ = [
    "CHECKPOINT_FORMAT",
    "TO_EMBED",
    "Backbone",
    "broken_weight",
    "in_place_of_weights",
    "is_finetuned",
    "read_checkpoint",
    "read_tensors",
    "write_tensors",
]
