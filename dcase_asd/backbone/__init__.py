"""The plugin contract, and what backbones build on."""

from dcase_asd.backbone.contract import (
    TO_EMBED,
    Backbone,
    broken_weight,
    check_choice,
    fill,
    given_options,
)
from dcase_asd.backbone.pooling import masked_mean
from dcase_asd.backbone.saved import (
    CHECKPOINT_FORMAT,
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
    "check_choice",
    "fill",
    "given_options",
    "in_place_of_weights",
    "is_finetuned",
    "masked_mean",
    "read_checkpoint",
    "read_tensors",
    "write_tensors",
]
