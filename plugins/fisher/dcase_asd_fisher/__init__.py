"""FISHER as a backbone: sub-bands of a spectrogram through one shared transformer."""

from dcase_asd_fisher.backbone import Fisher

__all__ = ["Fisher"]
