"""A backbone without weights: statistics of the log-mel spectrogram."""

from dcase_asd_spectral.backbone import Spectral

__all__ = ["Spectral"]
